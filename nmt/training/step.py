"""One training step, one evaluation step: pure functions, for any number of devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from nmt.config import TrainingConfig
from nmt.data.batching import Batch
from nmt.models.seq2seq import Model, Params, init_params
from nmt.training.loss import Sums, chunked_cross_entropy


class TrainState(NamedTuple):
    """All that a step changes: arrays only."""

    step: Int[Array, ""]
    params: Params
    opt_state: Any
    key: UInt32[Array, "..."]  # data of a key; never split, each step folds its number into it


class Metrics(NamedTuple):
    """What one training step measured, over all devices."""

    sums: Sums
    grad_norm: Float[Array, ""]


TrainStep = Callable[..., tuple[TrainState, Metrics]]


def init_state(
    model: Model, optimizer: optax.GradientTransformation, key: Key[Array, ""]
) -> TrainState:
    """Draws parameters; a function of the key alone."""
    params_key, key = jax.random.split(key)
    params = init_params(model, params_key)
    return TrainState(jnp.int32(0), params, optimizer.init(params), jax.random.key_data(key))


def make_train_step(
    model: Model, optimizer: optax.GradientTransformation, config: TrainingConfig
) -> TrainStep:
    """Makes train_step(state, batch, *, axis_name=None) -> (state, metrics).

    The gradient is that of the mean loss of all target tokens of the batch: sums over
    micro-batches, then over the devices of the axis `axis_name`, divided once by the number of
    tokens. A mean of the devices' means would weigh tokens unequally.
    """

    def loss(params: Params, batch: Batch, key: Key[Array, ""]) -> tuple[jax.Array, Sums]:
        output = apply(model, params, batch, rngs={"dropout": key}, deterministic=False)
        sums = chunked_cross_entropy(
            output.states, output.table, *labels(batch), config.label_smoothing
        )
        return sums.loss, sums

    def train_step(
        state: TrainState, batch: Batch, *, axis_name: str | None = None
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        parts = config.micro_batches

        def add(total: Any, part: tuple[Batch, Int[Array, ""]]) -> tuple[Any, None]:
            rows, number = part
            grads, sums = jax.grad(loss, has_aux=True)(
                state.params, rows, jax.random.fold_in(key, number)
            )
            return jax.tree.map(jnp.add, total, (grads, sums)), None

        zeros = (
            jax.tree.map(jnp.zeros_like, state.params),
            Sums(jnp.float32(0), jnp.int32(0), jnp.int32(0)),
        )
        rows = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
        (grads, sums), _ = jax.lax.scan(add, zeros, (rows, jnp.arange(parts)))
        if axis_name is not None:
            grads, sums = jax.lax.psum((grads, sums), axis_name)
        grads = jax.tree.map(lambda x: x / sums.num_tokens, grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new_state = TrainState(state.step + 1, params, opt_state, state.key)
        return new_state, Metrics(sums, optax.tree.norm(grads))

    return train_step


def make_eval_step(model: Model) -> Callable[..., Sums]:
    """Makes eval_step(params, batch, *, axis_name=None) -> sums, without smoothing or dropout."""

    def eval_step(params: Params, batch: Batch, *, axis_name: str | None = None) -> Sums:
        output = apply(model, params, batch, deterministic=True)
        sums = chunked_cross_entropy(output.states, output.table, *labels(batch))
        return sums if axis_name is None else jax.lax.psum(sums, axis_name)

    return eval_step


def labels(batch: Batch) -> tuple[Int[Array, "B T"], Bool[Array, "B T"]]:
    """Returns the pieces to predict, and where there are any."""
    return jnp.asarray(batch.labels), jnp.asarray(batch.target_segments) != 0


def apply(model: Model, params: Params, batch: Batch, **kwargs: Any) -> Any:
    """Runs a teacher-forced pass over a batch; returns what `model.apply` does: the output."""
    return model.apply(
        {"params": params},
        batch.source,
        batch.source_segments,
        batch.source_positions,
        batch.decoder_input,
        batch.target_segments,
        batch.target_positions,
        **kwargs,
    )
