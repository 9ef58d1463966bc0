"""Attention as pure functions: masks, positions, scores and their weighted sums.

What the Transformer uses comes first: arrays are `[..., length, heads, width]`. Recurrent decoders
have one head, and no axis for it. A mask is True where a query may attend to a key. Nothing here
knows of parameters: the module can be lifted into a notebook alone.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def segment_mask(
    query_segments: Int[Array, "B T"], key_segments: Int[Array, "B S"]
) -> Bool[Array, "B 1 T S"]:
    """Lets a query attend to the keys of its own segment.

    Rows of a batch hold several sentences, numbered from 1; segment 0 is padding, to which nothing
    attends. A padding query attends to nothing at all, so its output is meaningless but finite.
    """
    same = query_segments[:, :, None] == key_segments[:, None, :]
    return (same & (key_segments != 0)[:, None, :])[:, None]


def causal_mask(length: int) -> Bool[Array, "1 1 T T"]:
    """Lets position t attend to positions 0 to t (Vaswani et al. 2017, section 3.2.3)."""
    return jnp.tri(length, dtype=bool)[None, None]


def sinusoidal_positions(positions: Int[Array, "..."], emb_dim: int) -> Float[Array, "... D"]:
    """Encodes positions as sines and cosines (Vaswani et al. 2017, section 3.5).

    PE(pos, 2i) = sin(pos / 10000^(2i/D)) and PE(pos, 2i+1) = cos(pos / 10000^(2i/D)).
    """
    frequencies = 10_000.0 ** (-jnp.arange(0, emb_dim, 2, dtype=jnp.float32) / emb_dim)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*positions.shape, emb_dim)


def attention_scores(
    query: Float[Array, "*B T N H"], key: Float[Array, "*B S N H"]
) -> Float[Array, "*B N T S"]:
    """Computes Q Kᵀ / √H in float32 (Vaswani et al. 2017, section 3.2.1).

    Args:
      query: one vector a target position and head.
      key: one vector a source position and head.
    """
    scale = query.shape[-1] ** -0.5
    return jnp.einsum(
        "...tnh,...snh->...nts", query * scale, key, preferred_element_type=jnp.float32
    )


def attention_weights(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S N H"],
    mask: Bool[Array, "*#B 1 #T S"],
) -> Float[Array, "*B N T S"]:
    """Computes softmax(Q Kᵀ / √H) in float32 (Vaswani et al. 2017, equation 1).

    Args:
      query: as in `attention_scores`.
      key: as in `attention_scores`.
      mask: True where a query may attend. A query that may attend nowhere spreads its weight
        evenly, so that nothing becomes NaN.

    Returns:
      Weights that sum to 1 over the last axis.
    """
    return masked_softmax(attention_scores(query, key), mask)


def masked_softmax(
    scores: Float[Array, "*B S"], mask: Bool[Array, "*#B S"]
) -> Float[Array, "*B S"]:
    """Computes the softmax of the scores where the mask is True; elsewhere weights are 0.

    Where it is True nowhere all weights are the same, so that nothing becomes NaN.
    """
    return jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min), axis=-1)


def attend(
    weights: Float[Array, "*B N T S"], value: Float[Array, "*B S N H"]
) -> Float[Array, "*B T N H"]:
    """Sums the values under the weights: each row of the result is a context."""
    contexts = jnp.matmul(weights.astype(value.dtype), jnp.swapaxes(value, -3, -2))
    return jnp.swapaxes(contexts, -3, -2)


class Part(NamedTuple):
    """What attention to some of the keys gives; `join_parts` joins it with that to others."""

    largest: Float[Array, "*B N T 1"]  # of the scores
    total: Float[Array, "*B N T 1"]  # of exp(score - largest)
    contexts: Float[Array, "*B N T H"]  # sums of the values under these


def attend_to_part(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S N H"],
    value: Float[Array, "*B S N H2"],
    mask: Bool[Array, "*#B 1 #T S"],
) -> Part:
    """Attends to some of the keys, in float32.

    Args:
      query: as in `attention_scores`.
      key: as in `attention_scores`; there may be none.
      value: as in `attend`.
      mask: as in `attention_weights`.
    """
    least = jnp.finfo(jnp.float32).min
    scores = jnp.where(mask, attention_scores(query, key), least)
    largest = scores.max(-1, keepdims=True, initial=least)
    weights = jnp.exp(scores - largest)
    contexts = jnp.matmul(
        weights.astype(value.dtype),
        jnp.swapaxes(value, -3, -2),
        preferred_element_type=jnp.float32,
    )
    return Part(largest, weights.sum(-1, keepdims=True), contexts)


def no_part(like: Part) -> Part:
    """Returns what attention to no key gives, and, once joined, to keys that are all masked."""
    least = jnp.finfo(jnp.float32).min
    return Part(jnp.full_like(like.largest, least), *jax.tree.map(jnp.zeros_like, like[1:]))


def join_parts(parts: Sequence[Part]) -> Float[Array, "*B T N H"]:
    """Makes contexts of the parts, as if all keys had been in one (Milakov and Gimelshein 2018).

    A part in which a query may attend nowhere changes no bit of its context, so that `no_part` may
    stand in its place: beside a score in another, exp(-∞) = 0 is its factor. At least one part has
    to have a key that the query may attend to. See https://arxiv.org/abs/1805.02867, section 3.1.
    """
    largest = reduce(jnp.maximum, [part.largest for part in parts])
    factors = [jnp.exp(part.largest - largest) for part in parts]
    total = sum(part.total * factor for part, factor in zip(parts, factors, strict=True))
    contexts = [
        part.contexts * (factor / total) for part, factor in zip(parts, factors, strict=True)
    ]
    return jnp.swapaxes(reduce(jnp.add, contexts), -3, -2)


# Of recurrent decoders.


def additive_scores(
    query: Float[Array, "*B T A"], key: Float[Array, "*B S A"], vector: Float[Array, " A"]
) -> Float[Array, "*B T S"]:
    """Computes e_ts = vᵀ tanh(q_t + k_s) (Bahdanau et al. 2015, appendix A.1.2).

    It is the score "concat" of Luong et al. 2015, section 3.1: W [h_t; h_s] is the sum of two
    products.

    Args:
      query: W_a s_{t-1}, the projected states of the decoder.
      key: U_a h_s, the projected annotations.
      vector: v_a.
    """
    hidden = jnp.tanh(query[..., :, None, :] + key[..., None, :, :])
    # Not a product with a vector: on CPU, what a row gets of that depends on its place among them.
    return jnp.sum(hidden * vector, axis=-1, dtype=jnp.float32)


def dot_scores(
    query: Float[Array, "*B T A"], key: Float[Array, "*B S A"]
) -> Float[Array, "*B T S"]:
    """Computes e_ts = q_tᵀ k_s (Luong et al. 2015, section 3.1, "dot").

    With keys W_a h_s it is the bilinear score, there called "general".
    """
    return jnp.einsum("...ta,...sa->...ts", query, key, preferred_element_type=jnp.float32)


def window_mask(
    centre: Float[Array, "*B T"], length: int, half_width: int
) -> Bool[Array, "*B T S"]:
    """Lets a query attend to at most `half_width` places from its centre (Luong 2015, section 3.2).

    Args:
      centre: p_t, a place in the source, counted from 0; it need not be a whole number.
      length: S, places there are.
      half_width: D.
    """
    return jnp.abs(jnp.arange(length) - centre[..., None]) <= half_width


def window_weights(
    centre: Float[Array, "*B T"], length: int, half_width: int
) -> Float[Array, "*B T S"]:
    """Computes exp(-(s - p_t)² / 2σ²) with σ = D / 2 (Luong et al. 2015, equation 10).

    Args:
      centre: as in `window_mask`.
      length: as in `window_mask`.
      half_width: D.
    """
    distance = jnp.arange(length) - centre[..., None]
    return jnp.exp(-2 * (distance / half_width) ** 2)
