"""What models of both families are made of: products with a gradient of their own, projections.

The output layer is handed on as the product that it is; its logits are computed where they are
used.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Num

from nmt.models.quantization import multiply_int8


class Output(NamedTuple):
    """The logits as the product that they are, so that a loss need not hold them all at once."""

    states: Float[Array, "B T D"]
    table: Num[Array, "V D"]  # the output layer's, a parameter
    scale: Float[Array, " V"] | None = None  # of the rows of a table of integers

    def sentence(self, number: Int[Array, ""]) -> "Output":
        """Returns the output of one row."""
        return self._replace(states=jax.lax.dynamic_index_in_dim(self.states, number))

    @property
    def logits(self) -> Float[Array, "B T V"]:
        """Multiplies by the transposed table, summing in float32."""
        if self.scale is not None:
            return multiply_int8(self.states, self.table, self.scale, axis=1)
        table = self.table.astype(self.states.dtype)
        return jnp.einsum("btd,vd->btv", self.states, table, preferred_element_type=jnp.float32)


def output(states: Float[Array, "B T D"], embedding: nn.Embed) -> Output:
    """Makes an output layer of an embedding table, or of the copy of it in integers."""
    table = embedding.embedding
    if embedding.has_variable("params", "scale"):
        own = embedding.variables["params"]
        return Output(states, own["int8"], own["scale"])
    return Output(states, table)


Weights = tuple[Num[Array, "_ _"], Float[Array, " _"] | None]
"""A matrix, and the scales of its columns where it is one of integers."""


class Projection(nn.Module):
    """x W or x W + b, over one or several axes.

    A kernel that `nmt.models.quantization` made has a scale beside it, and multiplies as integers.
    """

    summed: tuple[int, ...]  # the last axes of x
    features: tuple[int, ...]  # the axes that take their place
    dtype: str
    use_bias: bool = False
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    def setup(self) -> None:
        shape = math.prod(self.summed), math.prod(self.features)
        self.kernel = self.param(
            "kernel", lambda key: self.kernel_init(key, shape).reshape(*self.summed, *self.features)
        )
        if self.use_bias:
            self.bias = self.param("bias", self.bias_init, self.features)
        self.scale: jax.Array | None = self.get_variable("params", "scale")

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Projects the last axes."""
        lead = x.shape[: -len(self.summed)]
        y = multiply(x.reshape(*lead, -1).astype(self.dtype), *self.flat())
        y = y.reshape(*lead, *self.features)
        return y + self.bias.astype(self.dtype) if self.use_bias else y

    def flat(self) -> Weights:
        """Returns the kernel as a matrix, and the scales of its columns if it has such."""
        kernel = self.kernel.reshape(math.prod(self.summed), -1)
        if self.scale is None:
            return jnp.asarray(kernel, self.dtype), None
        return kernel, self.scale.reshape(-1)


def multiply(
    x: Float[Array, "*B D"], kernel: Num[Array, "D F"], scale: Float[Array, " F"] | None
) -> Float[Array, "*B F"]:
    """Multiplies by a kernel, or by one of integers that has scales."""
    if scale is None:
        return project(x, kernel)
    return multiply_int8(x, kernel, scale, axis=0).astype(x.dtype)


@jax.custom_vjp
def project(x: Float[Array, "*B D"], kernel: Float[Array, "D F"]) -> Float[Array, "*B F"]:
    """Multiplies by a kernel, whose gradient is computed as it lies in memory.

    JAX's own rule computes it transposed: on CPU an eighth of a training step goes into that. In
    return `jax.jvp` and `jax.jacfwd` do not pass through; `jax.grad` and `jax.jacrev` do.
    """
    return _sum_in_float32(x, kernel)


def _sum_in_float32(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32).astype(x.dtype)


def _project_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _sum_in_float32(x, kernel), (x, kernel)


def _project_backward(
    saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    rows = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    return gradient @ kernel.T, jnp.einsum("nd,nf->df", *rows)


project.defvjp(_project_forward, _project_backward)
