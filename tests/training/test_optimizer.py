"""Schedules against the paper's formula; AdamW against NumPy; clipping by the global norm."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nmt.config import Config, DataConfig, OptimizerConfig, TrainingConfig, TransformerConfig
from nmt.training.optimizer import make_optimizer, make_schedule


def make_config(num_steps: int = 100_000, **fields) -> Config:
    return Config(
        data=DataConfig("de", "en"),
        training=TrainingConfig(num_steps=num_steps, batch_tokens=1280),
        model=TransformerConfig(emb_dim=512),
        optimizer=OptimizerConfig(**fields),
    )


def test_default_rate_is_the_papers():
    # lrate = d_model^-0.5 · min(step_num^-0.5, step_num · warmup_steps^-1.5), equation 3.
    schedule = make_schedule(make_config())
    for step in (1, 2, 100, 3999, 4000, 4001, 8000, 100_000):
        expected = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
        np.testing.assert_allclose(schedule(step - 1), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["inverse_sqrt", "linear"])
def test_rate_peaks_where_the_warm_up_ends(kind):
    config = make_config(100, learning_rate=0.02, warmup_steps=10, schedule=kind)
    rates = np.array([make_schedule(config)(count) for count in range(100)])
    assert rates.argmax() == 9
    np.testing.assert_allclose(rates.max(), 0.02, rtol=1e-6)
    np.testing.assert_allclose(rates[:10], 0.02 * np.arange(1, 11) / 10, rtol=1e-5)
    assert (np.diff(rates[9:]) < 0).all()
    assert (rates > 0).all()


def test_linear_rate_falls_in_a_line_to_zero_after_the_last_step():
    config = make_config(100, learning_rate=0.02, warmup_steps=10, schedule="linear")
    schedule = make_schedule(config)
    rates = np.array([schedule(count) for count in range(9, 101)])
    np.testing.assert_allclose(rates, np.linspace(0.02, 0, 92), atol=1e-8)


def test_constant_rate_stays_at_its_peak():
    config = make_config(100, learning_rate=0.02, warmup_steps=10, schedule="constant")
    rates = np.array([make_schedule(config)(count) for count in range(100)])
    np.testing.assert_allclose(rates, 0.02 * np.minimum(np.arange(1, 101) / 10, 1), rtol=1e-5)


def test_warm_up_of_all_steps_is_possible():
    for kind in ("inverse_sqrt", "linear", "constant"):
        config = make_config(10, learning_rate=1.0, warmup_steps=10, schedule=kind)
        rates = [float(make_schedule(config)(count)) for count in range(10)]
        np.testing.assert_allclose(rates, np.arange(1, 11) / 10, rtol=1e-6)


def test_schedule_takes_traced_counts():
    schedule = make_schedule(make_config())
    np.testing.assert_allclose(jax.jit(schedule)(jnp.int32(41)), schedule(41), rtol=1e-6)


def updates(config: Config, gradients: list, start: float = 0.0) -> list:
    """The change of a parameter tree in each of some steps, all its values the same at first."""
    optimizer = make_optimizer(config)
    params = jax.tree.map(lambda x: jnp.full_like(x, start), gradients[0])
    state, changes = optimizer.init(params), []
    for gradient in gradients:
        change, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, change)
        changes.append(change)
    return changes


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_updates_are_adams_with_the_decay_outside_of_the_moments(decay):
    config = make_config(
        warmup_steps=1, learning_rate=0.1, beta1=0.8, beta2=0.9, epsilon=1e-3, weight_decay=decay
    )
    gradients = [np.array([0.5, -2.0]), np.array([1.0, 1.0])]
    found = updates(config, [jnp.asarray(g, jnp.float32) for g in gradients], start=3.0)
    mean = square = np.zeros(2)
    params = np.full(2, 3.0)
    for step, (gradient, change) in enumerate(zip(gradients, found, strict=True), 1):
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.9 * square + 0.1 * gradient**2
        corrected = mean / (1 - 0.8**step), square / (1 - 0.9**step)
        rate = 0.1 * step**-0.5
        adam = corrected[0] / (np.sqrt(corrected[1]) + 1e-3)
        expected = -rate * (adam + decay * params)
        np.testing.assert_allclose(change, expected, rtol=1e-4)
        params = params + expected


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_updates_are_adadeltas_with_the_decay_outside(decay):
    config = make_config(
        algorithm="adadelta",
        schedule="constant",
        warmup_steps=1,
        learning_rate=1.0,
        beta2=0.95,
        epsilon=1e-6,
        weight_decay=decay,
    )
    gradients = [np.array([0.5, -2.0]), np.array([1.0, 1.0]), np.array([-0.1, 0.3])]
    found = updates(config, [jnp.asarray(g, jnp.float32) for g in gradients], start=3.0)
    squares = changes = np.zeros(2)
    params = np.full(2, 3.0)
    for gradient, change in zip(gradients, found, strict=True):  # Zeiler 2012, algorithm 1
        squares = 0.95 * squares + 0.05 * gradient**2
        expected = -np.sqrt(changes + 1e-6) / np.sqrt(squares + 1e-6) * gradient
        changes = 0.95 * changes + 0.05 * expected**2
        np.testing.assert_allclose(change, expected - decay * params, rtol=1e-4)
        params = params + expected - decay * params


def test_gradients_are_clipped_by_their_global_norm():
    # Adam of a first step forgets the scale, so its second step is looked at.
    long = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}  # of norm 5
    short = {"a": jnp.array([0.1, 0.2]), "b": jnp.array([[0.1]])}
    scaled = jax.tree.map(lambda x: x / 5, long)
    clipping, free = (
        make_config(warmup_steps=1, learning_rate=0.1, clip_norm=norm) for norm in (1.0, None)
    )
    clipped, as_scaled = updates(clipping, [long, short]), updates(free, [scaled, short])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), clipped, as_scaled)
    unclipped = updates(free, [long, short])
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, unclipped[1], clipped[1]))) > 1e-3
