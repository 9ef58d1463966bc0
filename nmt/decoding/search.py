"""Greedy and beam search over any `decode_step`: no model, no text, pure functions of arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

Cache = Any
DecodeStep = Callable[[Cache, Int[Array, "B K"]], tuple[Float[Array, "B K V"], Cache]]
Reorder = Callable[[Cache, Int[Array, "B K"]], Cache]

NEVER = -jnp.inf


class Hypotheses(NamedTuple):
    """The outputs of a search, best first.

    `tokens` end in the end id and are filled up with the padding id; `lengths` count the end id. A
    place that no hypothesis took has length 0 and score -inf.
    """

    tokens: Int[Array, "B K T"]
    scores: Float[Array, "B K"]
    lengths: Int[Array, "B K"]


def length_normalization(
    lengths: Int[Array, "..."], alpha: Float[ArrayLike, ""], offset: Float[ArrayLike, ""] = 5.0
) -> Float[Array, "..."]:
    """Computes ((c + |Y|) / (c + 1))^α, by which a hypothesis' log-probability is divided.

    The offset c = 5 is GNMT's length penalty (Wu et al. 2016, equation 14); c = 0 with α = 1 is
    the average over the pieces; α = 0 is the sum.
    """
    return jnp.power((offset + lengths) / (offset + 1), alpha)


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
    length_penalty: Float[ArrayLike, ""] = 0.0,
) -> Hypotheses:
    """Takes the likeliest piece at each step.

    Args:
      decode_step: (constants, cache, token [B, K]) -> (logits [B, K, V], cache).
      constants: what all steps share, passed on to `decode_step`.
      cache: as `start` made it, one hypothesis a sentence.
      max_lengths: pieces after which each sentence must end, the end id counted.
      max_length: width of the output; at least the largest of `max_lengths`.
      pad_id: fills the output; never chosen.
      bos_id: begins every hypothesis; never chosen, not part of the output.
      eos_id: ends a hypothesis.
      length_penalty: α of `length_normalization`, for the score.

    Returns:
      One hypothesis a sentence.
    """
    batch = max_lengths.shape[0]

    class State(NamedTuple):
        step: Int[Array, ""]
        cache: Cache
        token: Int[Array, "B 1"]
        tokens: Int[Array, "B T"]
        sums: Float[Array, " B"]
        lengths: Int[Array, " B"]  # 0 while the sentence goes on

    def take_step(state: State) -> State:
        logits, cache = decode_step(constants, state.cache, state.token)
        last = state.step + 1 >= max_lengths
        log_probs = _log_probs(logits, last, pad_id, bos_id, eos_id)[:, 0]
        live = state.lengths == 0
        token = jnp.where(live, log_probs.argmax(-1).astype(jnp.int32), pad_id)
        return State(
            state.step + 1,
            cache,
            token[:, None],
            state.tokens.at[:, state.step].set(token),
            state.sums + jnp.where(live, log_probs.max(-1), 0.0),
            jnp.where(live & (token == eos_id), state.step + 1, state.lengths),
        )

    final = jax.lax.while_loop(
        lambda state: (state.step < max_length) & (state.lengths == 0).any(),
        take_step,
        State(
            jnp.int32(0),
            cache,
            jnp.full((batch, 1), bos_id, jnp.int32),
            jnp.full((batch, max_length), pad_id, jnp.int32),
            jnp.zeros(batch),
            jnp.zeros(batch, jnp.int32),
        ),
    )
    scores = final.sums / length_normalization(final.lengths, length_penalty)
    return Hypotheses(final.tokens[:, None], scores[:, None], final.lengths[:, None])


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
    length_penalty: Float[ArrayLike, ""] = 0.0,
) -> Hypotheses:
    """Keeps the `beam_size` likeliest hypotheses at each step.

    A finished hypothesis keeps its place in the beam, so that fewer go on (as in the search of
    Bahdanau et al. 2015); a beam of 1 is greedy search. A sentence stops as soon as nothing that
    is live can still beat its best finished hypothesis: log-probabilities only fall, so the sum so
    far under the largest normalisation bounds what can come of it.

    Args:
      decode_step: as in `greedy_search`.
      reorder: (cache, parents [B, K]) -> the cache with hypothesis k in the place of its parent.
      constants: as in `greedy_search`.
      cache: as in `greedy_search`.
      max_lengths: as in `greedy_search`.
      beam_size: K, at most the size of the vocabulary.
      max_length: as in `greedy_search`.
      pad_id: as in `greedy_search`.
      bos_id: as in `greedy_search`.
      eos_id: as in `greedy_search`.
      length_penalty: α of `length_normalization`; finished hypotheses are compared by their
        normalised score.

    Returns:
      K hypotheses a sentence, best first. Behind the best stand those that had finished by then.
    """
    batch = max_lengths.shape[0]
    shape = (batch, beam_size)

    class State(NamedTuple):
        step: Int[Array, ""]
        cache: Cache
        token: Int[Array, "B K"]
        tokens: Int[Array, "B K T"]
        sums: Float[Array, "B K"]  # -inf where a place in the beam is not live
        finished: Hypotheses
        num_finished: Int[Array, " B"]

    def take_step(state: State) -> State:
        logits, cache = decode_step(constants, state.cache, state.token)
        vocab_size = logits.shape[-1]
        last = state.step + 1 >= max_lengths
        candidates = state.sums[..., None] + _log_probs(logits, last, pad_id, bos_id, eos_id)
        sums, index = jax.lax.top_k(candidates.reshape(batch, -1), beam_size)
        parents, token = index // vocab_size, index % vocab_size
        tokens = jnp.take_along_axis(state.tokens, parents[..., None], axis=1)
        tokens = tokens.at[:, :, state.step].set(token)

        # Candidates come best first: the places that finished hypotheses hold cut off the worst.
        places = (beam_size - state.num_finished)[:, None]
        kept = (jnp.arange(beam_size) < places) & (sums > NEVER)
        ended = kept & (token == eos_id)
        live = kept & ~ended
        finished = _store(
            state.finished,
            Hypotheses(
                tokens,
                sums / length_normalization(state.step + 1, length_penalty),
                jnp.full(shape, state.step + 1),
            ),
            jnp.where(ended, state.num_finished[:, None] + jnp.cumsum(ended, 1) - 1, beam_size),
        )
        sums = jnp.where(live, sums, NEVER)
        reachable = sums.max(1) / length_normalization(max_lengths, length_penalty)
        decided = finished.scores.max(1) >= reachable
        return State(
            state.step + 1,
            reorder(cache, parents),
            token,
            tokens,
            jnp.where(decided[:, None], NEVER, sums),
            finished,
            state.num_finished + ended.sum(1),
        )

    tokens = jnp.full((*shape, max_length), pad_id, jnp.int32)
    final = jax.lax.while_loop(
        lambda state: (state.step < max_length) & (state.sums > NEVER).any(),
        take_step,
        State(
            jnp.int32(0),
            reorder(cache, jnp.zeros(shape, jnp.int32)),
            jnp.full(shape, bos_id, jnp.int32),
            tokens,
            jnp.full(shape, NEVER).at[:, 0].set(0.0),  # all places hold the same: one may go on
            Hypotheses(tokens, jnp.full(shape, NEVER), jnp.zeros(shape, jnp.int32)),
            jnp.zeros(batch, jnp.int32),
        ),
    )
    order = jnp.argsort(-final.finished.scores, axis=1)
    return jax.tree.map(lambda x: jax.vmap(lambda x, o: x[o])(x, order), final.finished)


def _log_probs(
    logits: Float[Array, "B K V"], last: Bool[Array, " B"], pad_id: int, bos_id: int, eos_id: int
) -> Float[Array, "B K V"]:
    """Normalises logits; padding and begin can not be chosen, and only the end where it is due.

    Nothing is renormalised for that: the scores stay those of the model.
    """
    ids = jnp.arange(logits.shape[-1])
    barred = (ids == pad_id) | (ids == bos_id) | (last[:, None, None] & (ids != eos_id))
    log_probs = logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    return jnp.where(barred, NEVER, log_probs)


def _store(store: Hypotheses, new: Hypotheses, places: Int[Array, "B K"]) -> Hypotheses:
    """Writes hypothesis k of a sentence to `places[:, k]`; one out of range is not written."""
    rows = jnp.arange(places.shape[0])[:, None]
    return jax.tree.map(lambda old, x: old.at[rows, places].set(x, mode="drop"), store, new)
