"""What models of both families are made of: projections and the output layer.

The output layer is handed on as the product that it is; its logits are computed where they are
used.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Num

from nmt.models.products import Weights, multiply, multiply_int8, product


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
            return multiply_int8(self.states, self.table, self.scale)
        return product(self.states, jnp.asarray(self.table, self.states.dtype))


def output(states: Float[Array, "B T D"], embedding: nn.Embed) -> Output:
    """Makes an output layer of an embedding table, or of the copy of it in integers."""
    table = embedding.embedding
    if embedding.has_variable("params", "scale"):
        own = embedding.variables["params"]
        return Output(states, own["int8"], own["scale"])
    return Output(states, table)


class Projection(nn.Module):
    """x Wᵀ or x Wᵀ + b, over one or several axes.

    The weight lies as embedding tables do, what is summed over last. One that
    `nmt.models.quantization` made has a scale beside it, and multiplies as integers.
    """

    summed: tuple[int, ...]  # the last axes of x, and of the weight
    features: tuple[int, ...]  # the axes that take their place; the first of the weight
    dtype: str
    use_bias: bool = False
    weight_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()  # of [D, F]
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    def setup(self) -> None:
        def turned(key: jax.Array) -> jax.Array:
            drawn = self.weight_init(key, (math.prod(self.summed), math.prod(self.features)))
            return drawn.T.reshape(*self.features, *self.summed)

        self.weight = self.param("weight", turned)
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
        """Returns the weight as a matrix, and the scales of its rows if it has such."""
        weight = self.weight.reshape(math.prod(self.features), -1)
        if self.scale is None:
            return jnp.asarray(weight, self.dtype), None
        return weight, self.scale.reshape(-1)
