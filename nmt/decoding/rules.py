"""Rules of a search: which pieces may not follow, as functions of the pieces so far.

A rule is `(logits [B, K, V], progress) -> logits` with -inf where a piece is barred. The functions
here make one of traced values, so that another value compiles nothing. What is a sentence's own has
a row for each of all Q. Phrases are arrays [Q, P, L], each filled up with `NO_PIECE`, and may be
nothing else.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from nmt.decoding.search import (
    NEVER,
    Progress,
    Rule,
    Select,
    Selected,
    likeliest,
    top_k_sums,
)

NO_PIECE = -1


def minimum_length(min_length: Int[ArrayLike, ""], eos_id: int) -> Rule:
    """Bars the end before `min_length` pieces, the end not counted."""

    def rule(logits: Float[Array, "B K V"], progress: Progress) -> Float[Array, "B K V"]:
        barred = (jnp.arange(logits.shape[-1]) == eos_id) & (_steps(progress) < min_length)
        return jnp.where(barred, NEVER, logits)

    return rule


def no_repeated_ngrams(size: Int[ArrayLike, ""], prefix: Int[Array, "Q P"] | None = None) -> Rule:
    """Bars a piece that with the `size` - 1 before it would occur twice (Paulus et al. 2018).

    Not where a prefix prescribes it: that may repeat what it likes.
    """

    def rule(logits: Float[Array, "B K V"], progress: Progress) -> Float[Array, "B K V"]:
        tokens, step = progress.tokens, _steps(progress)
        places = jnp.arange(tokens.shape[-1])

        def agree(back: Int[Array, ""], same: Bool[Array, "B K T"]) -> Bool[Array, "B K T"]:
            earlier = jnp.roll(tokens, back, axis=-1)  # what stands so far before each place
            last = jnp.take_along_axis(tokens, jnp.maximum(step - back, 0), axis=-1)
            return same & (earlier == last) & (places >= back)

        same = jnp.broadcast_to(places < step, tokens.shape)
        if prefix is not None:
            same &= _due(prefix, progress) == NO_PIECE
        longest = jnp.minimum(size, len(places) + 1)  # than that no n-gram is
        return _bar(logits, tokens, jax.lax.fori_loop(1, longest, agree, same))

    return rule


def forced_prefix(prefix: Int[Array, "Q P"]) -> Rule:
    """Bars all but a sentence's prefix, piece by piece; it is filled up with `NO_PIECE`."""

    def rule(logits: Float[Array, "B K V"], progress: Progress) -> Float[Array, "B K V"]:
        due = _due(prefix, progress)
        barred = (due != NO_PIECE) & (jnp.arange(logits.shape[-1]) != due)
        return jnp.where(barred, NEVER, logits)

    return rule


def _due(prefix: Int[Array, "Q P"], progress: Progress) -> Int[Array, "B 1 1"]:
    """Looks up the piece of its prefix that each sentence has come to; `NO_PIECE` behind it."""
    own, steps = prefix[progress.sentence], progress.step[:, None]
    return jnp.take_along_axis(own, steps, axis=1, mode="fill", fill_value=NO_PIECE)[..., None]


def forbidden_phrases(phrases: Int[Array, "Q P L"]) -> Rule:
    """Bars the last piece of a phrase behind the others of it."""

    def rule(logits: Float[Array, "B K V"], progress: Progress) -> Float[Array, "B K V"]:
        own = phrases[progress.sentence]
        place = (own != NO_PIECE).sum(-1, keepdims=True) - 1  # of the last piece
        last = jnp.take_along_axis(own, jnp.maximum(place, 0), axis=-1)[:, None, :, 0]
        ends = _begun(progress, _runs(progress, own), own.shape[-1])
        due = (ends & (jnp.arange(own.shape[-1]) == place[:, None])).any(-1)
        return _bar(logits, jnp.broadcast_to(last, due.shape), due)

    return rule


def required_phrases(
    phrases: Int[Array, "Q P L"], eos_id: int, word_edges: Bool[ArrayLike, "V 2"]
) -> tuple[Rule, Select]:
    """Makes a rule and a selection by which every output contains every phrase.

    The rule bars the end while a phrase is missing. The selection adds to the best continuations
    those that go on with a missing phrase, and the best of each hypothesis; groups them all by how
    many required pieces they hold, and takes the best of each group in turn, beginning with the
    group that holds most: dynamic beam allocation (Post and Vilar 2018,
    https://aclanthology.org/N18-1119). Phrases may overlap.

    Args:
      phrases: of each sentence.
      eos_id: ends a hypothesis.
      word_edges: whether the first and the last character of each piece are of a word. A phrase is
        missing where its last word goes on.
    """
    first, last = jnp.asarray(word_edges).T

    def told(progress: Progress) -> tuple[Array, Array, Array]:
        """Looks up phrases [B, P, L], their lengths [B, 1, P], and which end in a word."""
        own = phrases[progress.sentence]
        lengths = (own != NO_PIECE).sum(-1, keepdims=True)
        closing = jnp.take_along_axis(own, jnp.maximum(lengths - 1, 0), axis=-1)
        in_word = (last[closing] & (lengths > 0))[:, None, :, 0]
        return own, lengths[:, None, :, 0], in_word

    def found(
        progress: Progress,
    ) -> tuple[Bool[Array, "B K P"], Bool[Array, "B K P"], Bool[Array, "B K P L"]]:
        """Tells which phrases the tokens have left behind, end in, and end in the first n of."""
        own, lengths, in_word = told(progress)
        runs = _runs(progress, own)
        behind = jnp.arange(runs.shape[-1]) + lengths[..., None]
        joins = jax.vmap(lambda x, place: x[:, place])(first[progress.tokens], behind[:, 0])
        whole = (runs == lengths[..., None]) & ~(in_word[..., None] & joins)
        ends = _begun(progress, runs, own.shape[-1] + 1)
        at_end = (ends & (jnp.arange(ends.shape[-1]) == lengths[..., None])).any(-1)
        return (whole & (behind < _steps(progress)[..., None])).any(-1), at_end, ends[..., :-1]

    def rule(logits: Float[Array, "B K V"], progress: Progress) -> Float[Array, "B K V"]:
        passed, at_end, _ = found(progress)
        missing = (~(passed | at_end)).any(-1, keepdims=True)
        barred = missing & (jnp.arange(logits.shape[-1]) == eos_id)
        return jnp.where(barred, NEVER, logits)

    def select(
        logits: Float[Array, "B K V"], offsets: Float[Array, "B K"], progress: Progress
    ) -> Selected:
        own, lengths, in_word = told(progress)
        batch, beam_size, vocab_size = logits.shape
        passed, at_end, ends = found(progress)
        counts = jnp.arange(own.shape[-1])
        _, best = top_k_sums(logits, offsets, beam_size)
        longest = jnp.where(ends, counts, 0).max(-1, keepdims=True)
        wanted = jnp.where(counts == longest, own[:, None], 0).sum(-1)
        loses = (in_word & at_end & ~passed).any(-1, keepdims=True) & first
        keeps = likeliest(jnp.where(loses, NEVER, logits), progress)[..., None]
        onward = jnp.concatenate([jnp.maximum(wanted, 0), keeps], axis=-1)
        onward = onward + jnp.arange(beam_size)[:, None] * vocab_size
        useful = jnp.concatenate([~(passed | at_end), jnp.ones_like(keeps, bool)], axis=-1)
        index = jnp.concatenate([best, onward.reshape(batch, -1)], axis=1)
        offered = jnp.concatenate([jnp.ones_like(best, bool), useful.reshape(batch, -1)], axis=1)
        offered = offered & ~_came_before(index, offered)
        parents, token = index // vocab_size, index % vocab_size
        sums = jnp.take_along_axis(logits.reshape(batch, -1), index, axis=1)
        sums = sums + jnp.take_along_axis(offsets, parents, axis=1)
        sums = jnp.where(offered, sums, NEVER)

        passed, at_end, ends = (
            jax.vmap(lambda x, p: x[p])(x, parents) for x in (passed, at_end, ends)
        )
        goes_on = ends & (own[:, None] == token[..., None, None])
        held = jnp.where(goes_on, counts + 1, 0).max(-1)
        whole = passed | (at_end & ~(in_word & first[token][..., None]))
        group = jnp.where(whole, lengths, held).sum(-1)
        order = jnp.lexsort((-group, _rank(sums, group), sums == NEVER))[:, :beam_size]
        sums, parents, token = (
            jnp.take_along_axis(x, order, axis=1) for x in (sums, parents, token)
        )
        return sums, parents, token

    return rule, select


def _came_before(index: Int[Array, "B C"], offered: Bool[Array, "B C"]) -> Bool[Array, "B C"]:
    """Tells which continuations are the same as one that is offered before them."""
    before = jnp.tri(index.shape[1], k=-1, dtype=bool) & offered[:, None]
    return ((index[:, :, None] == index[:, None]) & before).any(-1)


def _rank(sums: Float[Array, "B C"], group: Int[Array, "B C"]) -> Int[Array, "B C"]:
    """Counts how many of its own group come before each: larger sums, of equals the first."""
    earlier = jnp.tri(sums.shape[1], k=-1, dtype=bool)
    mine, others = sums[:, :, None], sums[:, None]
    before = (others > mine) | ((others == mine) & earlier)
    return (before & (group[:, :, None] == group[:, None])).sum(-1)


def _steps(progress: Progress) -> Int[Array, "B 1 1"]:
    return progress.step[:, None, None]


def _runs(progress: Progress, phrases: Int[Array, "B P L"]) -> Int[Array, "B K P T"]:
    """Counts how many of a phrase's first pieces stand from each place on."""
    tokens, step = progress.tokens, _steps(progress)[..., None]
    places = jnp.arange(tokens.shape[-1])
    same = jnp.ones((), bool)
    runs = jnp.zeros((), jnp.int32)
    for number in range(phrases.shape[-1]):
        here = jnp.roll(tokens, -number, axis=-1)[:, :, None]
        same = same & (here == phrases[:, None, :, number, None]) & (places + number < step)
        runs = runs + same
    return runs


def _begun(
    progress: Progress, runs: Int[Array, "B K P T"], length: int
) -> Bool[Array, "B K P {length}"]:
    """Tells for each n < `length` whether the tokens end in the first n pieces of a phrase."""
    counts = jnp.arange(length)
    # Where that is before the first token, no run is as long.
    places = jnp.maximum(_steps(progress)[..., None] - counts, 0)
    places = jnp.broadcast_to(places, (*runs.shape[:-1], length))
    return jnp.take_along_axis(runs, places, axis=-1) == counts


def _bar(
    logits: Float[Array, "B K V"], ids: Int[Array, "B K P"], barred: Bool[Array, "B K P"]
) -> Float[Array, "B K V"]:
    """Bars some ids of each hypothesis, and those only where it is told."""
    rows, columns = jnp.ogrid[: logits.shape[0], : logits.shape[1]]
    ids = jnp.where(barred, ids, logits.shape[-1])
    return logits.at[rows[..., None], columns[..., None], ids].set(NEVER, mode="drop")
