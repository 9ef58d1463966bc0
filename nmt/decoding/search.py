"""Greedy and beam search over any `decode_step`: no model, no text, pure functions of arrays."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

Cache = Any
Reorder = Callable[[Cache, Int[Array, "B K"]], Cache]
Grow = Callable[[Cache, int], Cache]

Rule = Callable[[Float[Array, "B K V"], Int[Array, "B K T"], Int[Array, ""]], Float[Array, "B K V"]]
"""(logits, tokens so far, their number) -> logits, -inf where a piece may not follow."""

Choose = Callable[[Float[Array, "B K V"], Int[Array, ""]], Int[Array, "B K"]]
"""(logits, number of pieces so far) -> the next piece of each hypothesis."""

Selected = tuple[Float[Array, "B K"], Int[Array, "B K"], Int[Array, "B K"]]
"""Sums of log-probabilities, best first; their hypotheses' parents; their last tokens."""

Select = Callable[
    [Float[Array, "B K V"], Float[Array, "B K"], Int[Array, "B K T"], Int[Array, ""]], Selected
]
"""(logits, what makes sums of them, tokens so far, their number) -> what fills the beam."""

NEVER = -jnp.inf

BLOCK = 128
"""About as many values as `top_k_sums` takes the maximum of first."""


class Hypotheses(NamedTuple):
    """The outputs of a search.

    `tokens` end in the end id and are filled up with the padding id; `lengths` count the end id. A
    place that no hypothesis took has length 0 and score -inf.
    """

    tokens: Int[Array, "B K T"]
    log_probs: Float[Array, "B K T"]  # of each token, given those before it; 0 behind the end
    scores: Float[Array, "B K"]  # the sums of `log_probs` under the length normalisation
    lengths: Int[Array, "B K"]


def length_normalization(
    lengths: Int[Array, "..."], alpha: Float[ArrayLike, ""], offset: Float[ArrayLike, ""] = 5.0
) -> Float[Array, "..."]:
    """Computes ((c + |Y|) / (c + 1))^α, by which a hypothesis' log-probability is divided.

    The offset c = 5 is GNMT's length penalty (Wu et al. 2016, equation 14); c = 0 with α = 1 is
    the average over the pieces; α = 0 is the sum.
    """
    return jnp.power((offset + lengths) / (offset + 1), alpha)


def likeliest(logits: Float[Array, "B K V"], step: Int[Array, ""]) -> Int[Array, "B K"]:
    """Chooses the likeliest piece, the first of equals."""
    del step
    rows = logits.reshape(-1, 1, logits.shape[-1])
    return top_k_sums(rows, jnp.zeros(rows.shape[:2]), 1)[1].reshape(logits.shape[:2])


def keep(cache: Cache, length: int) -> Cache:
    """Grows a cache that has room for any length."""
    del length
    return cache


def greedy_search(
    decode_step: Callable[..., Any],
    constants: Any,
    cache: Cache,
    max_lengths: Int[Array, " B"],
    *,
    max_length: int,
    pad_id: int,
    bos_id: int,
    eos_id: int,
    choose: Choose = likeliest,
    num_hypotheses: int = 1,
    rules: Sequence[Rule] = (),
    length_penalty: Float[ArrayLike, ""] = 0.0,
    length_offset: Float[ArrayLike, ""] = 5.0,
    rooms: Sequence[int] = (),
    grow: Grow = keep,
) -> Hypotheses:
    """Takes the likeliest piece at each step, or the one that another `choose` takes.

    Args:
      decode_step: (constants, cache, token [B, K]) -> (logits [B, K, V], cache).
      constants: what all steps share, passed on to `decode_step`.
      cache: as `start` made it; of K hypotheses a sentence if `num_hypotheses` is K.
      max_lengths: pieces after which each sentence must end, the end id counted.
      max_length: width of the output; at least the largest of `max_lengths`.
      pad_id: fills the output; never chosen.
      bos_id: begins every hypothesis; never chosen, not part of the output.
      eos_id: ends a hypothesis.
      choose: takes the next piece of each hypothesis: sampling is another choice.
      num_hypotheses: K, of which each goes its own way.
      rules: bar pieces; the scores stay those of the model.
      length_penalty: α of `length_normalization`, for the score.
      length_offset: c of `length_normalization`.
      rooms: lengths, ascending, below `max_length`: till there a cache of that length does, so that
        a short output pays for no long one. Each costs the compilation of a loop.
      grow: (cache, length) -> the cache with room for `length` pieces.

    Returns:
      K hypotheses a sentence, in the order of the cache.
    """
    shape = (max_lengths.shape[0], num_hypotheses)

    class State(NamedTuple):
        step: Int[Array, ""]
        cache: Cache
        token: Int[Array, "B K"]
        live: Bool[Array, "B K"]
        tokens: Int[Array, "B K T"]
        log_probs: Float[Array, "B K T"]

    def take_step(state: State) -> State:
        logits, cache = decode_step(constants, state.cache, state.token)
        total = jax.nn.logsumexp(logits, axis=-1)
        logits = _bar(logits, rules, state.tokens, state.step, pad_id, bos_id)
        token = choose(logits, state.step)
        token = jnp.where((state.step + 1 >= max_lengths)[:, None], eos_id, token)
        token = jnp.where(state.live, token, pad_id)
        chosen = jnp.take_along_axis(logits, token[..., None], axis=-1)[..., 0] - total
        return State(
            state.step + 1,
            cache,
            token,
            state.live & (token != eos_id) & (chosen > NEVER),
            state.tokens.at[:, :, state.step].set(token),
            state.log_probs.at[:, :, state.step].set(jnp.where(state.live, chosen, 0.0)),
        )

    state = State(
        jnp.int32(0),
        cache,
        jnp.full(shape, bos_id, jnp.int32),
        jnp.ones(shape, bool),
        jnp.full((*shape, max_length), pad_id, jnp.int32),
        jnp.zeros((*shape, max_length)),
    )
    stages = (*rooms, max_length)
    state = _take_steps(take_step, lambda state: state.live.any(), state, stages, grow)
    sums = state.log_probs.sum(-1)  # -inf where all pieces were barred
    ended = (state.tokens == eos_id).any(-1) & (sums > NEVER)
    lengths = jnp.where(ended, (state.tokens != pad_id).sum(-1), 0)
    found = Hypotheses(
        state.tokens,
        state.log_probs,
        sums / length_normalization(lengths, length_penalty, length_offset),
        lengths,
    )
    nothing = _nothing((*shape, max_length), pad_id)
    return jax.tree.map(lambda x, none: _where(ended, x, none), found, nothing)


def beam_search(
    decode_step: Callable[..., Any],
    reorder: Reorder,
    constants: Any,
    cache: Cache,
    max_lengths: Int[Array, " B"],
    *,
    beam_size: int,
    max_length: int,
    pad_id: int,
    bos_id: int,
    eos_id: int,
    num_best: Int[ArrayLike, ""] = 1,
    select: Select | None = None,
    rules: Sequence[Rule] = (),
    length_penalty: Float[ArrayLike, ""] = 0.0,
    length_offset: Float[ArrayLike, ""] = 5.0,
    rooms: Sequence[int] = (),
    grow: Grow = keep,
) -> Hypotheses:
    """Keeps the `beam_size` likeliest hypotheses at each step.

    A finished hypothesis keeps its place in the beam, so that fewer go on (as in the search of
    Bahdanau et al. 2015); a beam of 1 is greedy search. A sentence stops as soon as nothing that
    is live can still come among its `num_best` best finished hypotheses: log-probabilities only
    fall, so the sum so far under the largest normalisation bounds what can come of it.

    Args:
      decode_step: as in `greedy_search`.
      reorder: (cache, parents [B, K]) -> the cache with hypothesis k in the place of its parent.
      constants: as in `greedy_search`.
      cache: as in `greedy_search`, of one hypothesis a sentence.
      max_lengths: as in `greedy_search`.
      beam_size: K, at most the size of the vocabulary.
      max_length: as in `greedy_search`.
      pad_id: as in `greedy_search`.
      bos_id: as in `greedy_search`.
      eos_id: as in `greedy_search`.
      num_best: how many of the hypotheses that come first must be the best that can be reached.
      select: what fills the beam; None is the largest sums.
      rules: as in `greedy_search`.
      length_penalty: α ≥ 0 of `length_normalization`; finished hypotheses are compared by their
        normalised score.
      length_offset: c of `length_normalization`.
      rooms: as in `greedy_search`.
      grow: as in `greedy_search`.

    Returns:
      K hypotheses a sentence, best first. Behind the `num_best` stand those that had finished by
      then.
    """
    shape = (max_lengths.shape[0], beam_size)
    select = select or _largest

    class State(NamedTuple):
        step: Int[Array, ""]
        cache: Cache
        token: Int[Array, "B K"]
        tokens: Int[Array, "B K T"]
        log_probs: Float[Array, "B K T"]
        sums: Float[Array, "B K"]  # -inf where a place in the beam is not live
        finished: Hypotheses
        num_finished: Int[Array, " B"]

    def normalized(sums: Float[Array, "B K"], lengths: Int[Array, "..."]) -> Float[Array, "B K"]:
        return sums / length_normalization(lengths, length_penalty, length_offset)

    def take_step(state: State) -> State:
        logits, cache = decode_step(constants, state.cache, state.token)
        total = jax.nn.logsumexp(logits, axis=-1)
        logits = _bar(logits, rules, state.tokens, state.step, pad_id, bos_id)
        offsets = state.sums - total
        selected = select(logits, offsets, state.tokens, state.step)
        ends = _ends(logits[..., eos_id] + offsets, eos_id)
        last = (state.step + 1 >= max_lengths)[:, None]
        sums, parents, token = (jnp.where(last, *x) for x in zip(ends, selected, strict=True))
        tokens, old, old_sums = (
            jax.vmap(lambda x, p: x[p])(x, parents)
            for x in (state.tokens, state.log_probs, state.sums)
        )
        tokens = tokens.at[:, :, state.step].set(token)
        log_prob = jnp.where(sums > NEVER, sums - old_sums, 0.0)
        log_probs = old.at[:, :, state.step].set(log_prob)

        # What was selected comes best first: the places that finished hypotheses hold cut off the
        # worst.
        places = (beam_size - state.num_finished)[:, None]
        kept = (jnp.arange(beam_size) < places) & (sums > NEVER)
        ended = kept & (token == eos_id)
        finished = _store(
            state.finished,
            Hypotheses(
                tokens,
                log_probs,
                normalized(sums, state.step + 1),
                jnp.full(shape, state.step + 1),
            ),
            jnp.where(ended, state.num_finished[:, None] + jnp.cumsum(ended, 1) - 1, beam_size),
        )
        sums = jnp.where(kept & ~ended, sums, NEVER)
        reachable = normalized(sums, max_lengths[:, None]).max(1)
        decided = jnp.sort(finished.scores, 1)[:, beam_size - num_best] >= reachable
        return State(
            state.step + 1,
            reorder(cache, parents),
            token,
            tokens,
            log_probs,
            jnp.where(decided[:, None], NEVER, sums),
            finished,
            state.num_finished + ended.sum(1),
        )

    nothing = _nothing((*shape, max_length), pad_id)
    state = State(
        jnp.int32(0),
        reorder(cache, jnp.zeros(shape, jnp.int32)),
        jnp.full(shape, bos_id, jnp.int32),
        nothing.tokens,
        nothing.log_probs,
        jnp.full(shape, NEVER).at[:, 0].set(0.0),  # all places hold the same: one may go on
        nothing,
        jnp.zeros(shape[0], jnp.int32),
    )
    stages = (*rooms, max_length)
    state = _take_steps(take_step, lambda state: (state.sums > NEVER).any(), state, stages, grow)
    order = jnp.argsort(-state.finished.scores, axis=1)
    return jax.tree.map(lambda x: jax.vmap(lambda x, o: x[o])(x, order), state.finished)


def _take_steps(
    take_step: Callable[[Any], Any],
    is_live: Callable[[Any], Bool[Array, ""]],
    state: Any,
    lengths: Sequence[int],
    grow: Grow,
) -> Any:
    """Takes steps while anything is live, in one loop for each length of the cache.

    Where nothing is live any more no cache grows. What is returned has none.
    """
    length, *longer = lengths

    def goes_on(state: Any) -> Bool[Array, ""]:
        return (state.step < length) & is_live(state)

    state = jax.lax.while_loop(goes_on, take_step, state)

    def take_more(state: Any) -> Any:
        state = state._replace(cache=grow(state.cache, longer[0]))
        return _take_steps(take_step, is_live, state, longer, grow)

    def stop(state: Any) -> Any:
        return state._replace(cache=None)

    return jax.lax.cond(is_live(state), take_more, stop, state) if longer else stop(state)


def top_k_sums(
    x: Float[Array, "B K V"], offsets: Float[Array, "B K"], k: int
) -> tuple[Float[Array, "B k"], Int[Array, "B k"]]:
    """Finds the k largest values of `x + offsets` and their places among the K·V of a row.

    As `jax.lax.top_k` does: of equal values the first come first. They lie in the k blocks with the
    largest maxima: one pass over the row finds the maxima, and only k blocks are sorted.
    """
    batch, num_rows, size = x.shape
    # Blocks that divide the row need no filling, which costs as much as all the rest.
    block = next((n for n in range(2 * BLOCK, BLOCK // 4, -1) if size % n == 0), BLOCK)
    num_blocks = -(-size // block)
    if num_rows * num_blocks <= k:
        values, places = jax.lax.top_k((x + offsets[..., None]).reshape(batch, -1), k)
        return values, places
    width = [(0, 0), (0, 0), (0, num_blocks * block - size)]
    maxima = jnp.pad(x, width, constant_values=NEVER).reshape(*x.shape[:2], -1, block).max(-1)
    maxima = (maxima + offsets[..., None]).reshape(batch, -1)
    chosen = jnp.sort(jax.lax.top_k(maxima, k)[1])[..., None]  # so that equals keep their order
    row, column = chosen // num_blocks, chosen % num_blocks * block + jnp.arange(block)
    places = (row * size + jnp.minimum(column, size - 1)).reshape(batch, -1)
    values = jnp.take_along_axis(x.reshape(batch, -1), places, axis=1).reshape(column.shape)
    values = values + jnp.take_along_axis(offsets[..., None], row, axis=1)
    values = jnp.where(column < size, values, NEVER).reshape(batch, -1)
    values, largest = jax.lax.top_k(values, k)
    return values, jnp.take_along_axis(places, largest, axis=1)


def _largest(
    logits: Float[Array, "B K V"],
    offsets: Float[Array, "B K"],
    tokens: Int[Array, "B K T"],
    step: Int[Array, ""],
) -> Selected:
    """Selects the K largest sums."""
    del tokens, step
    values, index = top_k_sums(logits, offsets, logits.shape[1])
    return values, index // logits.shape[-1], index % logits.shape[-1]


def _ends(sums: Float[Array, "B K"], eos_id: int) -> Selected:
    """Selects the end of every hypothesis: nothing else may follow at the largest length."""
    parents = jnp.argsort(-sums, axis=1).astype(jnp.int32)
    return jnp.take_along_axis(sums, parents, axis=1), parents, jnp.full_like(parents, eos_id)


def _bar(
    logits: Float[Array, "B K V"],
    rules: Sequence[Rule],
    tokens: Int[Array, "B K T"],
    step: Int[Array, ""],
    pad_id: int,
    bos_id: int,
) -> Float[Array, "B K V"]:
    """Bars padding, begin, and what the rules bar.

    Nothing is renormalised for that: the scores stay those of the model.
    """
    # In their place: another array of this size would take longer than the top k.
    logits = logits.at[..., pad_id].set(NEVER).at[..., bos_id].set(NEVER)
    for rule in rules:
        logits = rule(logits, tokens, step)
    return logits


def _nothing(shape: tuple[int, int, int], pad_id: int) -> Hypotheses:
    """Returns places that no hypothesis took."""
    return Hypotheses(
        jnp.full(shape, pad_id, jnp.int32),
        jnp.zeros(shape),
        jnp.full(shape[:2], NEVER),
        jnp.zeros(shape[:2], jnp.int32),
    )


def _where(condition: Bool[Array, "B K"], x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.where(condition.reshape(condition.shape + (1,) * (x.ndim - 2)), x, y)


def _store(store: Hypotheses, new: Hypotheses, places: Int[Array, "B K"]) -> Hypotheses:
    """Writes hypothesis k of a sentence to `places[:, k]`; one out of range is not written."""
    rows = jnp.arange(places.shape[0])[:, None]
    return jax.tree.map(lambda old, x: old.at[rows, places].set(x, mode="drop"), store, new)
