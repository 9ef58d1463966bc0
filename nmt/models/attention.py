"""Attention as pure functions: masks, positions, scores and their weighted sums.

Arrays are `[..., length, heads, width]`; a mask is True where a query may attend to a key. Nothing
here knows of parameters: the module can be lifted into a notebook alone.
"""

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


def attention_weights(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S N H"],
    mask: Bool[Array, "*#B 1 #T S"],
) -> Float[Array, "*B N T S"]:
    """Computes softmax(Q Kᵀ / √H) in float32 (Vaswani et al. 2017, equation 1).

    Args:
      query: one vector a target position and head.
      key: one vector a source position and head.
      mask: True where a query may attend. A query that may attend nowhere spreads its weight
        evenly, so that nothing becomes NaN.

    Returns:
      Weights that sum to 1 over the last axis.
    """
    scale = query.shape[-1] ** -0.5
    scores = jnp.einsum(
        "...tnh,...snh->...nts", query * scale, key, preferred_element_type=jnp.float32
    )
    return jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min), axis=-1)


def attend(
    weights: Float[Array, "*B N T S"], value: Float[Array, "*B S N H"]
) -> Float[Array, "*B T N H"]:
    """Sums the values under the weights: each row of the result is a context."""
    contexts = jnp.matmul(weights.astype(value.dtype), jnp.swapaxes(value, -3, -2))
    return jnp.swapaxes(contexts, -3, -2)
