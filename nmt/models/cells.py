"""Recurrent cells as pure functions, and how they run over a sequence.

What a cell reads has been projected before: all steps at once, outside of the recurrence.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from nmt.models.products import Weights, multiply

NUM_GATES = {"gru": 3, "lstm": 4}
"""Projections that a cell reads, side by side."""

NUM_PARTS = {"gru": 1, "lstm": 2}
"""What a cell's state is made of, side by side: h; h and c."""


def recur(state: Float[Array, "*B D"], weights: Weights) -> Float[Array, "*B F"]:
    """Multiplies a state, in the type of the weights; the result is float32 again."""
    matrix, scale = weights
    x = state.astype(matrix.dtype) if scale is None else state
    return multiply(x, matrix, scale).astype(jnp.float32)


def gru(
    inputs: Float[Array, "*B _"], state: Float[Array, "*B H"], gates: Weights, candidate: Weights
) -> Float[Array, "*B H"]:
    """Takes a step of the gated unit (Bahdanau et al. 2015, appendix A.1.1).

    z = σ(x_z + h U_z), r = σ(x_r + h U_r), h' = (1 - z) ∘ h + z ∘ tanh(x_h + (r ∘ h) U).

    Args:
      inputs: x_z, x_r and x_h side by side: projected already, biases included.
      state: h.
      gates: U_z and U_r side by side.
      candidate: U.
    """
    x_gates, x_candidate = jnp.split(inputs, [2 * state.shape[-1]], axis=-1)
    update, reset = jnp.split(jax.nn.sigmoid(x_gates + recur(state, gates)), 2, axis=-1)
    proposed = jnp.tanh(x_candidate + recur(reset * state, candidate))
    return (1 - update) * state + update * proposed


def lstm(
    inputs: Float[Array, "*B _"], state: Float[Array, "*B _"], gates: Weights
) -> Float[Array, "*B _"]:
    """Takes a step of long short-term memory (Hochreiter and Schmidhuber 1997).

    With a forget gate (Gers et al. 2000) and without peepholes (else Graves 2013, section 2):
    i, f, o = σ(x + h U), c' = f ∘ c + i ∘ tanh(x_c + h U_c), h' = o ∘ tanh(c').

    Args:
      inputs: x_i, x_f, x_o and x_c side by side: projected already, biases included.
      state: h and c side by side.
      gates: U_i, U_f, U_o and U_c side by side.
    """
    h, c = jnp.split(state, 2, axis=-1)
    x_gates, x_cell = jnp.split(inputs + recur(h, gates), [3 * h.shape[-1]], axis=-1)
    enter, keep, leave = jnp.split(jax.nn.sigmoid(x_gates), 3, axis=-1)
    c = keep * c + enter * jnp.tanh(x_cell)
    return jnp.concatenate([leave * jnp.tanh(c), c], axis=-1)


def read(
    cell: Callable[[jax.Array, jax.Array], jax.Array],
    inputs: Float[Array, "B S G"],
    mask: Bool[Array, "B S"],
    state: Float[Array, "B H"],
    backward: bool,
) -> tuple[Float[Array, "B S H"], Float[Array, "B H"]]:
    """Runs a cell over sequences; where the mask is False its state stays as it is.

    Args:
      cell: (inputs, state) -> state.
      inputs: projected already.
      mask: False at padding, which comes last.
      state: before the first step.
      backward: from the last place to the first.

    Returns:
      The state after each step, and after all.
    """

    def step(state: jax.Array, place: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, present = place
        state = jnp.where(present[:, None], cell(x, state), state)
        return state, state

    places = jnp.moveaxis(inputs, 1, 0), mask.T
    final, states = jax.lax.scan(step, state, places, reverse=backward)
    return jnp.moveaxis(states, 0, 1), final
