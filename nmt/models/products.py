"""Products of rows with weights, which lie as [F, D]: what is summed over comes last."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, Num

from nmt.models.quantization import quantize

Weights = tuple[Num[Array, "_ _"], Float[Array, " _"] | None]
"""A matrix [F, D], and the scales of its rows where it is one of integers."""

FEW_ROWS = 64
"""Products of up to so many rows are laid out, on CPU, so that the weight is the left factor."""


def multiply(
    x: Float[Array, "*B D"], weight: Num[Array, "F D"], scale: Float[Array, " F"] | None
) -> Float[Array, "*B F"]:
    """Multiplies by a weight, or by one of integers that has scales."""
    if scale is None:
        return project(x, weight)
    return multiply_int8(x, weight, scale).astype(x.dtype)


@jax.custom_vjp
def project(x: Float[Array, "*B D"], weight: Float[Array, "F D"]) -> Float[Array, "*B F"]:
    """Computes x Wᵀ in the type of x, summing in float32.

    So are its gradients: JAX's own rule would multiply in float32 what is not. In return `jax.jvp`
    and `jax.jacfwd` do not pass through; `jax.grad` and `jax.jacrev` do.
    """
    return product(x, weight).astype(x.dtype)


def _project_forward(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return project(x, weight), (x, weight)


def _project_backward(
    saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, weight = saved
    rows = gradient.reshape(-1, gradient.shape[-1]), x.reshape(-1, x.shape[-1])
    return gradient @ weight, jnp.einsum("nf,nd->fd", *rows)


project.defvjp(_project_forward, _project_backward)


def multiply_int8(
    x: Float[Array, "*B D"], integers: Int8[Array, "F D"], scale: Float[Array, " F"]
) -> Float[Array, "*B F"]:
    """Computes x Wᵀ with both rounded to 8 bits, and sums of 32 bits.

    Each row of x has a scale of its own, so no row depends on another. No gradient passes through.

    Args:
      x: rows.
      integers: of `quantize`.
      scale: of `quantize`.
    """
    rows, scales = quantize(jax.lax.stop_gradient(x).astype(jnp.float32), (-1,))
    return product(rows, integers).astype(jnp.float32) * scales[..., None] * scale


def product(x: Num[Array, "*B D"], weight: Num[Array, "F D"]) -> Num[Array, "*B F"]:
    """Computes x Wᵀ of floats, summing in float32, or of 8-bit integers, in int32.

    Args:
      x: rows.
      weight: of the same type.

    Raises:
      ValueError: the types differ.
    """
    if x.dtype != weight.dtype:
        raise ValueError(f"rows of {x.dtype}; expected {weight.dtype}, as the weight is")
    num_rows = math.prod(x.shape[:-1])
    rows = x.reshape(num_rows, x.shape[-1])
    if weight.dtype == jnp.int8:
        if num_rows == 1:  # XLA on CPU multiplies two rows of integers many times faster
            rows = jnp.repeat(rows, 2, axis=0)
        y = jnp.einsum("bd,fd->bf", rows, weight, preferred_element_type=jnp.int32)[:num_rows]
    elif num_rows > FEW_ROWS:
        y = _rows_first(rows, weight)
    else:
        y = jax.lax.platform_dependent(rows, weight, cpu=_weight_first, default=_rows_first)
    return y.reshape(*x.shape[:-1], len(weight))


def _rows_first(rows: Float[Array, "B D"], weight: Float[Array, "F D"]) -> Float[Array, "B F"]:
    return jnp.einsum("bd,fd->bf", rows, weight, preferred_element_type=jnp.float32)


def _weight_first(rows: Float[Array, "B D"], weight: Float[Array, "F D"]) -> Float[Array, "B F"]:
    """Makes the weight the left factor.

    The library of XLA on CPU copies the right factor before it multiplies, and reads the left one
    as it lies: with few rows the copy of a weight is most of the work. Before a barrier XLA keeps
    the order.
    """
    y = jnp.einsum("fd,bd->fb", weight, rows, preferred_element_type=jnp.float32)
    return jax.lax.optimization_barrier(y).T
