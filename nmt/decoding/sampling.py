"""Sampling: the distribution that is drawn from, and one draw from it.

Everything is per hypothesis and exact for traced values of temperature, k and p; no sort of the
vocabulary is needed, for a threshold is found by halving the interval that holds it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Key

from nmt.decoding.search import BLOCK, NEVER, Choose, Progress

LEAST = jnp.finfo(jnp.float32).tiny
"""What temperature and p are at least: less is 0 as float32 computes."""


def sampler(
    keys: Key[Array, "Q K"],
    temperature: Float[ArrayLike, ""] = 1.0,
    top_k: Int[ArrayLike, ""] | None = None,
    top_p: Float[ArrayLike, ""] | None = None,
) -> Choose:
    """Makes a `choose` that draws from softmax(logits / temperature), perhaps truncated.

    Args:
      keys: one a hypothesis of each of all sentences; a step folds its number in.
      temperature: above 0; below 1 sharpens, above 1 flattens.
      top_k: draws from the k likeliest pieces (Fan et al. 2018) and those equal to the last.
      top_p: draws from the fewest pieces that together have at least this probability
        (Holtzman et al. 2020), after `top_k`; and those equal to the last.
    """

    def choose(logits: Float[Array, "B K V"], progress: Progress) -> Int[Array, "B K"]:
        # However small, the likeliest keeps its place: neither 0 / 0 nor the largest is infinite.
        scaled = (logits - logits.max(-1, keepdims=True)) / jnp.maximum(temperature, LEAST)
        if top_k is not None:
            scaled = truncated(scaled, jnp.ones_like(scaled), jnp.float32(top_k))
        probabilities = jax.nn.softmax(scaled)
        if top_p is not None:
            kept = truncated(scaled, probabilities, jnp.maximum(top_p, LEAST))
            probabilities = jax.nn.softmax(kept)
        of_row = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        own = jax.vmap(of_row)(keys[progress.sentence], progress.step)
        uniform = jax.vmap(jax.vmap(jax.random.uniform))(own)
        return inverse_cumulative(probabilities, uniform)

    return choose


def sentence_keys(
    seed: Int[ArrayLike, ""], ids: Int[Array, "B S"], num_samples: int
) -> Key[Array, "B K"]:
    """Makes the keys of a sentence's samples of the seed and the sentence itself.

    So they are the same in whatever company and order sentences come. An id of -1 is none.
    """

    def fold(keys: Key[Array, " B"], column: Int[Array, " B"]) -> tuple[Key[Array, " B"], None]:
        folded = jax.vmap(jax.random.fold_in)(keys, jnp.maximum(column, 0))
        return jnp.where(column < 0, keys, folded), None

    keys = jnp.broadcast_to(jax.random.key(seed), ids.shape[:1])
    keys, _ = jax.lax.scan(fold, keys, ids.T)
    return jax.vmap(lambda key: jax.random.split(key, num_samples))(keys)


def truncated(
    values: Float[Array, "*B V"], weights: Float[Array, "*B V"], amount: Float[Array, ""]
) -> Float[Array, "*B V"]:
    """Replaces by -inf all but the largest values, as few as weigh `amount` or more together.

    Values equal to the smallest of them stay too. If all weigh less, all stay.
    """
    # Floats in their order as integers, of which no interval needs more than 32 halvings.
    values = jnp.where(values == 0, 0.0, values)  # no -0.0, which would come before 0.0
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)
    ordered = jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)

    def halve(
        _: Int[ArrayLike, ""], bounds: tuple[Int[Array, "*B 1"], ...]
    ) -> tuple[Int[Array, "*B 1"], ...]:
        low, high = bounds
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        mass = jnp.where(ordered >= middle, weights, 0.0).sum(-1, keepdims=True)
        enough = mass >= amount
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    shape = (*values.shape[:-1], 1)
    limits = jnp.iinfo(jnp.int32)
    start = jnp.full(shape, limits.min), jnp.full(shape, limits.max)
    threshold, _ = jax.lax.fori_loop(0, 32, halve, start)
    return jnp.where(ordered >= threshold, values, NEVER)


def inverse_cumulative(
    probabilities: Float[Array, "*B V"], uniform: Float[Array, "*B"]
) -> Int[Array, "*B"]:
    """Finds the piece at which the cumulated probabilities pass `uniform` in [0, 1).

    First the block of pieces, then the piece in it. A piece without probability is never found.
    """
    size = probabilities.shape[-1]
    width = [(0, 0)] * (probabilities.ndim - 1) + [(0, -size % BLOCK)]
    blocks = jnp.pad(probabilities, width).reshape(*probabilities.shape[:-1], -1, BLOCK)
    totals = blocks.sum(-1)
    block, rest = _pass(totals, uniform * totals.sum(-1))
    inner = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)[..., 0, :]
    return block * BLOCK + _pass(inner, rest)[0]


def _pass(
    masses: Float[Array, "*B M"], point: Float[Array, "*B"]
) -> tuple[Int[Array, "*B"], Float[Array, "*B"]]:
    """Finds where cumulated masses pass a point, and how far the point lies behind that place."""
    cumulated = jnp.cumsum(masses, axis=-1)
    # Rounding may lift the point to the end: what is found there is the last that has a mass.
    point = jnp.minimum(point, jnp.nextafter(cumulated[..., -1], 0.0))
    place = (cumulated > point[..., None]).argmax(-1).astype(jnp.int32)
    before = jnp.take_along_axis(cumulated - masses, place[..., None], axis=-1)[..., 0]
    return place, point - before
