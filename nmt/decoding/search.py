"""Greedy and beam search over any `decode_step`: no model, no text, pure functions of arrays."""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

Constants: TypeAlias = Any
Cache: TypeAlias = Any
State: TypeAlias = Any
"""What a model or a search makes is of its own type."""

Begin = Callable[[Int[Array, " C"]], tuple[Constants, Cache]]
"""(numbers of sentences) -> what their steps share, and a cache of any content."""

DecodeStep = Callable[
    [Constants, Cache, Int[Array, "B K"], Int[Array, " B"]], tuple[Float[Array, "B K V"], Cache]
]
"""(constants, cache, last pieces, how many precede them) -> logits of the next, cache.

Where none precede a sentence begins, whatever the cache holds there.
"""

Reorder = Callable[[Cache, Int[Array, "B K"]], Cache]
"""(cache, parents) -> the cache with hypothesis k in the place of its parent."""


class Progress(NamedTuple):
    """How far each row of a search has come."""

    sentence: Int[Array, " B"]  # the number of the one that it translates
    step: Int[Array, " B"]  # pieces so far
    tokens: Int[Array, "B K T"]  # these pieces


Rule = Callable[[Float[Array, "B K V"], Progress], Float[Array, "B K V"]]
"""(logits, progress) -> logits, -inf where a piece may not follow."""

Choose = Callable[[Float[Array, "B K V"], Progress], Int[Array, "B K"]]
"""(logits, progress) -> the next piece of each hypothesis."""

Selected = tuple[Float[Array, "B K"], Int[Array, "B K"], Int[Array, "B K"]]
"""Sums of log-probabilities, best first; their hypotheses' parents; their last tokens."""

Select = Callable[[Float[Array, "B K V"], Float[Array, "B K"], Progress], Selected]
"""(logits, what makes sums of them, progress) -> what fills the beam."""

NEVER = -jnp.inf

BLOCK = 128
"""About as many values as `top_k_sums` takes the maximum of first."""

REFILL = 8
"""As soon as one of so many rows is free, free rows are given new sentences."""


class Hypotheses(NamedTuple):
    """The outputs of a search.

    `tokens` end in the end id and are filled up with the padding id; `lengths` count the end id. A
    place that no hypothesis took has length 0 and score -inf.
    """

    tokens: Int[Array, "B K T"]
    log_probs: Float[Array, "B K T"]  # of each token, given those before it; 0 behind the end
    scores: Float[Array, "B K"]  # the sums of `log_probs` under the length normalisation
    lengths: Int[Array, "B K"]


class GreedyState(NamedTuple):
    """What a step of `greedy_search` hands to the next."""

    progress: Progress
    token: Int[Array, "B K"]
    live: Bool[Array, "B K"]
    log_probs: Float[Array, "B K T"]


class BeamState(NamedTuple):
    """What a step of `beam_search` hands to the next."""

    progress: Progress
    token: Int[Array, "B K"]
    log_probs: Float[Array, "B K T"]
    sums: Float[Array, "B K"]  # -inf where a place in the beam is not live
    finished: Hypotheses
    num_finished: Int[Array, " B"]


def length_normalization(
    lengths: Int[Array, "..."], alpha: Float[ArrayLike, ""], offset: Float[ArrayLike, ""] = 5.0
) -> Float[Array, "..."]:
    """Computes ((c + |Y|) / (c + 1))^α, by which a hypothesis' log-probability is divided.

    The offset c = 5 is GNMT's length penalty (Wu et al. 2016, equation 14); c = 0 with α = 1 is
    the average over the pieces; α = 0 is the sum.
    """
    return jnp.power((offset + lengths) / (offset + 1), alpha)


def likeliest(logits: Float[Array, "B K V"], progress: Progress) -> Int[Array, "B K"]:
    """Chooses the likeliest piece, the first of equals."""
    del progress
    rows = logits.reshape(-1, 1, logits.shape[-1])
    return top_k_sums(rows, jnp.zeros(rows.shape[:2]), 1)[1].reshape(logits.shape[:2])


def greedy_search(
    begin: Begin,
    decode_step: DecodeStep,
    max_lengths: Int[Array, " Q"],
    *,
    max_length: int,
    pad_id: int,
    bos_id: int,
    eos_id: int,
    unk_id: int | None = None,
    num_rows: int | None = None,
    choose: Choose = likeliest,
    num_hypotheses: int = 1,
    rules: Sequence[Rule] = (),
    length_penalty: Float[ArrayLike, ""] = 0.0,
    length_offset: Float[ArrayLike, ""] = 5.0,
) -> Hypotheses:
    """Takes the likeliest piece at each step, or the one that another `choose` takes.

    Args:
      begin: makes the constants of sentences 0 to Q - 1, of some at a time; and a cache of K
        hypotheses a sentence if `num_hypotheses` is K.
      decode_step: computes logits from them.
      max_lengths: pieces after which each sentence must end, the end id counted; 0 where none is.
      max_length: width of the output; at least the largest of `max_lengths`.
      pad_id: fills the output; never chosen.
      bos_id: begins every hypothesis; never chosen, not part of the output.
      eos_id: ends a hypothesis.
      unk_id: never chosen either.
      num_rows: sentences that are searched at once; None is all. A row whose sentence is done is
        given the next one.
      choose: takes the next piece of each hypothesis: sampling is another choice.
      num_hypotheses: K, of which each goes its own way.
      rules: bar pieces; the scores stay those of the model.
      length_penalty: α of `length_normalization`, for the score.
      length_offset: c of `length_normalization`.

    Returns:
      K hypotheses a sentence.
    """

    def start(sentence: Int[Array, " B"]) -> GreedyState:
        shape = (len(sentence), num_hypotheses)
        tokens = jnp.full((*shape, max_length), pad_id, jnp.int32)
        return GreedyState(
            Progress(sentence, jnp.zeros_like(sentence), tokens),
            jnp.full(shape, bos_id, jnp.int32),
            jnp.broadcast_to((_of(max_lengths, sentence) > 0)[:, None], shape),
            jnp.zeros((*shape, max_length)),
        )

    def take_step(
        constants: Constants, cache: Cache, state: GreedyState
    ) -> tuple[Cache, GreedyState]:
        progress = state.progress
        logits, cache = decode_step(constants, cache, state.token, progress.step)
        logits, total = _bar(logits, rules, progress, (pad_id, bos_id, unk_id))
        token = choose(logits, progress)
        last = progress.step + 1 >= _of(max_lengths, progress.sentence)
        token = jnp.where(last[:, None], eos_id, token)
        chosen = jnp.take_along_axis(logits, token[..., None], axis=-1)[..., 0] - total
        here = state.live[..., None] & _next_place(progress)
        live = state.live & (token != eos_id) & (chosen > NEVER)
        progress = progress._replace(
            step=jnp.where(live.any(1), progress.step + 1, 0),
            tokens=jnp.where(here, token[..., None], progress.tokens),
        )
        log_probs = jnp.where(here, chosen[..., None], state.log_probs)
        return cache, GreedyState(progress, token, live, log_probs)

    def read(state: GreedyState) -> Hypotheses:
        tokens, sums = state.progress.tokens, state.log_probs.sum(-1)
        ended = (tokens == eos_id).any(-1) & (sums > NEVER)  # -inf where all pieces were barred
        lengths = jnp.where(ended, (tokens != pad_id).sum(-1), 0)
        scores = sums / length_normalization(lengths, length_penalty, length_offset)
        found = Hypotheses(tokens, state.log_probs, scores, lengths)
        nothing = _nothing(tokens.shape, pad_id)
        return jax.tree.map(lambda x, none: _where(ended, x, none), found, nothing)

    return _search(begin, start, take_step, lambda s: s.live.any(1), read, max_lengths, num_rows)


def beam_search(
    begin: Begin,
    decode_step: DecodeStep,
    reorder: Reorder,
    max_lengths: Int[Array, " Q"],
    *,
    beam_size: int,
    max_length: int,
    pad_id: int,
    bos_id: int,
    eos_id: int,
    unk_id: int | None = None,
    num_rows: int | None = None,
    num_best: Int[ArrayLike, ""] = 1,
    select: Select | None = None,
    rules: Sequence[Rule] = (),
    length_penalty: Float[ArrayLike, ""] = 0.0,
    length_offset: Float[ArrayLike, ""] = 5.0,
) -> Hypotheses:
    """Keeps the `beam_size` likeliest hypotheses at each step.

    A finished hypothesis keeps its place in the beam, so that fewer go on (as in the search of
    Bahdanau et al. 2015); a beam of 1 is greedy search. A sentence stops as soon as nothing that
    is live can still come among its `num_best` best finished hypotheses: log-probabilities only
    fall, so the sum so far under the largest normalisation bounds what can come of it.

    Args:
      begin: as in `greedy_search`, with K = `beam_size`.
      decode_step: as in `greedy_search`.
      reorder: moves hypotheses in the cache.
      max_lengths: as in `greedy_search`.
      beam_size: K, at most the size of the vocabulary.
      max_length: as in `greedy_search`.
      pad_id: as in `greedy_search`.
      bos_id: as in `greedy_search`.
      eos_id: as in `greedy_search`.
      unk_id: as in `greedy_search`.
      num_rows: as in `greedy_search`.
      num_best: how many of the hypotheses that come first must be the best that can be reached.
      select: what fills the beam; None is the largest sums.
      rules: as in `greedy_search`.
      length_penalty: α ≥ 0 of `length_normalization`; finished hypotheses are compared by their
        normalised score.
      length_offset: c of `length_normalization`.

    Returns:
      K hypotheses a sentence, best first. Behind the `num_best` stand those that had finished by
      then.
    """
    select = select or _largest

    def normalized(sums: Float[Array, "B K"], lengths: Int[Array, "B 1"]) -> Float[Array, "B K"]:
        return sums / length_normalization(lengths, length_penalty, length_offset)

    def start(sentence: Int[Array, " B"]) -> BeamState:
        shape = (len(sentence), beam_size)
        nothing = _nothing((*shape, max_length), pad_id)
        # All places hold the same: one may go on.
        first = (_of(max_lengths, sentence) > 0)[:, None] & (jnp.arange(beam_size) == 0)
        return BeamState(
            Progress(sentence, jnp.zeros_like(sentence), nothing.tokens),
            jnp.full(shape, bos_id, jnp.int32),
            nothing.log_probs,
            jnp.where(first, 0.0, NEVER),
            nothing,
            jnp.zeros_like(sentence),
        )

    def take_step(constants: Constants, cache: Cache, state: BeamState) -> tuple[Cache, BeamState]:
        progress = state.progress
        logits, cache = decode_step(constants, cache, state.token, progress.step)
        logits, total = _bar(logits, rules, progress, (pad_id, bos_id, unk_id))
        offsets = state.sums - total
        selected = select(logits, offsets, progress)
        ends = _ends(logits[..., eos_id] + offsets, eos_id)
        lengths, longest = progress.step[:, None] + 1, _of(max_lengths, progress.sentence)[:, None]
        sums, parents, token = (
            jnp.where(lengths >= longest, *x) for x in zip(ends, selected, strict=True)
        )
        tokens, old, old_sums = (
            jax.vmap(lambda x, p: x[p])(x, parents)
            for x in (progress.tokens, state.log_probs, state.sums)
        )
        here, log_prob = _next_place(progress), jnp.where(sums > NEVER, sums - old_sums, 0.0)
        tokens = jnp.where(here, token[..., None], tokens)
        log_probs = jnp.where(here, log_prob[..., None], old)

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
                normalized(sums, lengths),
                jnp.broadcast_to(lengths, token.shape),
            ),
            jnp.where(ended, state.num_finished[:, None] + jnp.cumsum(ended, 1) - 1, beam_size),
        )
        sums = jnp.where(kept & ~ended, sums, NEVER)
        reachable = normalized(sums, longest).max(1)
        decided = jnp.sort(finished.scores, 1)[:, beam_size - num_best] >= reachable
        sums = jnp.where(decided[:, None], NEVER, sums)
        step = jnp.where((sums > NEVER).any(1), progress.step + 1, 0)
        return reorder(cache, parents), BeamState(
            progress._replace(step=step, tokens=tokens),
            token,
            log_probs,
            sums,
            finished,
            state.num_finished + ended.sum(1),
        )

    def read(state: BeamState) -> Hypotheses:
        order = jnp.argsort(-state.finished.scores, axis=1)
        return jax.tree.map(lambda x: jax.vmap(lambda x, o: x[o])(x, order), state.finished)

    def is_live(state: BeamState) -> Bool[Array, " B"]:
        return (state.sums > NEVER).any(1)

    return _search(begin, start, take_step, is_live, read, max_lengths, num_rows)


def _search(
    begin: Begin,
    start: Callable[[Int[Array, " C"]], State],
    take_step: Callable[[Constants, Cache, State], tuple[Cache, State]],
    is_live: Callable[[State], Bool[Array, " B"]],
    read: Callable[[State], Hypotheses],
    max_lengths: Int[Array, " Q"],
    num_rows: int | None,
) -> Hypotheses:
    """Takes steps with some rows at once; when enough are free they are given the next sentences.

    Nothing of a row depends on the others, so that when that happens changes no result.
    """
    num_sentences = len(max_lengths)
    num_rows = min(num_rows or num_sentences, num_sentences)
    num_new = num_rows if num_rows == num_sentences else -(-num_rows // REFILL)
    end = jnp.max(jnp.arange(1, num_sentences + 1) * (max_lengths > 0))

    def num_free(state: State) -> Int[Array, ""]:
        return (~is_live(state)).sum()

    def goes_on(carry: tuple[Any, ...]) -> Bool[Array, ""]:
        return carry[0] < end

    def refill(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        number, constants, cache, state, found = carry
        free = jnp.argsort(is_live(state))[:num_new]
        found = put(found, jax.tree.map(lambda x: x[free], state))
        numbers = number + jnp.arange(num_new)
        new = begin(jnp.minimum(numbers, num_sentences - 1))[0], start(numbers)
        constants, state = jax.tree.map(lambda x, y: x.at[free].set(y), (constants, state), new)

        def is_busy(carry: tuple[Cache, State]) -> Bool[Array, ""]:
            free = num_free(carry[1])
            return (free < num_new) | ((number + num_new >= end) & (free < num_rows))

        cache, state = jax.lax.while_loop(
            is_busy, lambda carry: take_step(constants, *carry), (cache, state)
        )
        return number + num_new, constants, cache, state, found

    def put(found: Hypotheses, state: State) -> Hypotheses:
        place = state.progress.sentence
        return jax.tree.map(lambda x, y: x.at[place].set(y, mode="drop"), found, read(state))

    nobody = jnp.full(num_rows, num_sentences)
    constants, cache = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(begin, nobody)
    )
    state = start(nobody)
    found = read(start(jnp.full(num_sentences, num_sentences)))
    carry = jnp.int32(0), constants, cache, state, found
    *_, state, found = jax.lax.while_loop(goes_on, refill, carry)
    return put(found, state)


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
    logits: Float[Array, "B K V"], offsets: Float[Array, "B K"], progress: Progress
) -> Selected:
    """Selects the K largest sums."""
    del progress
    values, index = top_k_sums(logits, offsets, logits.shape[1])
    return values, index // logits.shape[-1], index % logits.shape[-1]


def _ends(sums: Float[Array, "B K"], eos_id: int) -> Selected:
    """Selects the end of every hypothesis: nothing else may follow at the largest length."""
    parents = jnp.argsort(-sums, axis=1).astype(jnp.int32)
    return jnp.take_along_axis(sums, parents, axis=1), parents, jnp.full_like(parents, eos_id)


def _bar(
    logits: Float[Array, "B K V"],
    rules: Sequence[Rule],
    progress: Progress,
    barred: Sequence[int | None],
) -> tuple[Float[Array, "B K V"], Float[Array, "B K"]]:
    """Bars ids, and what the rules bar; sums all in the log domain.

    Nothing is renormalised for what is barred: the scores stay those of the model.
    """
    # All that passes over them reads what is barred, and what the sum misses is added: transposed
    # or scaled, they are made once. Not `at[...].set`, for which XLA on CPU copies them twice.
    ids, places = [n for n in barred if n is not None], jnp.arange(logits.shape[-1])
    never = logits[..., ids]
    logits = jnp.where(reduce(or_, [places == n for n in ids]), NEVER, logits)
    total = jnp.logaddexp(jax.nn.logsumexp(logits, axis=-1), jax.nn.logsumexp(never, axis=-1))
    for rule in rules:
        logits = rule(logits, progress)
    return logits, total


def _of(max_lengths: Int[Array, " Q"], sentence: Int[Array, " B"]) -> Int[Array, " B"]:
    """Looks up the limits of sentences; a number out of range is of none, whose limit is 0."""
    return jnp.take(max_lengths, sentence, mode="fill", fill_value=0)


def _next_place(progress: Progress) -> Bool[Array, "B 1 T"]:
    """Tells where the next pieces are to stand."""
    return jnp.arange(progress.tokens.shape[-1]) == progress.step[:, None, None]


def _nothing(shape: tuple[int, ...], pad_id: int) -> Hypotheses:
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
