"""Weights as 8-bit integers, for decoding."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8


@partial(jax.jit, static_argnums=1)  # as one program, not five for each shape of a weight
def quantize(
    weights: Float[Array, "..."], axes: tuple[int, ...]
) -> tuple[Int8[Array, "..."], Float[Array, "..."]]:
    """Rounds weights to integers in [-127, 127] times a scale: w ≈ scale · q.

    Args:
      weights: of any shape.
      axes: those that a product sums over; there is a scale for each place of the others.

    Returns:
      The integers, and the scales without these axes. Weights that are zero have the scale zero.
    """
    scale = jnp.abs(weights).max(axes, keepdims=True) / 127
    integers = jnp.round(weights / jnp.where(scale > 0, scale, 1)).astype(jnp.int8)
    return integers, scale.squeeze(axes)


def quantize_params(params: Any) -> Any:
    """Quantises the weights of a model, and a copy of the table of its output layer.

    Embeddings, biases and layer normalisation stay as they are.

    Args:
      params: of a model, as Flax lays them out.

    Returns:
      Parameters in which a `scale` stands beside each `weight`, and beside the table of the output
      layer.
    """
    table_name = "output_embedding" if "output_embedding" in params else "target_embedding"

    def walk(tree: Any, name: str) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        if "weight" in tree:
            # What attention has seen is summed over heads and their width.
            axes = (-2, -1) if name == "output" else (-1,)
            weight, scale = quantize(jnp.asarray(tree["weight"]), axes)
            return {**tree, "weight": weight, "scale": scale}
        if name == table_name:
            table, scale = quantize(jnp.asarray(tree["embedding"]), (1,))
            return {**tree, "int8": table, "scale": scale}
        return {name: walk(branch, name) for name, branch in tree.items()}

    return walk(params, "")


def cast_params(params: Any, dtype: Any) -> Any:
    """Casts all matrices; what has one axis, biases and layer normalisation, stays as it is."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if x.ndim > 1 else x, params)
