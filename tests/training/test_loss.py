"""Label-smoothed cross-entropy against NumPy, and as a sum that can be split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from nmt.training.loss import Sums, cross_entropy

B, T, V = 3, 5, 7


def random_inputs(seed: int = 0):
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.normal(0, 3, (B, T, V)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, V, (B, T)), jnp.int32)
    mask = jnp.asarray(rng.random((B, T)) < 0.7)
    return logits, labels, mask


def numpy_loss(logits, labels, mask, smoothing: float) -> float:
    total = 0.0
    for b, t in zip(*np.nonzero(mask), strict=True):
        x = np.asarray(logits[b, t], np.float64)
        log_p = x - np.log(np.exp(x).sum())
        q = np.full(V, smoothing / V)
        q[labels[b, t]] += 1 - smoothing
        total -= q @ log_p
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_loss_equals_a_loop_in_numpy(smoothing):
    logits, labels, mask = random_inputs()
    sums = cross_entropy(logits, labels, mask, smoothing)
    np.testing.assert_allclose(sums.loss, numpy_loss(logits, labels, mask, smoothing), rtol=1e-5)
    assert int(sums.num_tokens) == mask.sum()
    assert int(sums.num_correct) == ((logits.argmax(-1) == labels) & mask).sum()


def test_correct_is_counted_where_the_label_is_likeliest():
    logits = 5.0 * jax.nn.one_hot(jnp.array([1, 2, 3, 4]), V)
    labels, mask = jnp.array([1, 2, 3, 5]), jnp.array([True, True, False, True])
    assert int(cross_entropy(logits, labels, mask).num_correct) == 2


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_is_that_of_the_loss(smoothing):
    logits, labels, mask = random_inputs()
    loss = jax.jit(lambda x: cross_entropy(x, labels, mask, smoothing).loss)
    check_grads(loss, (logits,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-2)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_is_probabilities_less_the_smoothed_labels(smoothing):
    logits, labels, mask = random_inputs()
    grads = jax.grad(lambda x: cross_entropy(x, labels, mask, smoothing).loss)(logits)
    q = (1 - smoothing) * jax.nn.one_hot(labels, V) + smoothing / V
    expected = jnp.where(mask[..., None], jax.nn.softmax(logits) - q, 0.0)
    np.testing.assert_allclose(grads, expected, atol=1e-6)


def test_what_does_not_count_changes_nothing():
    logits, labels, mask = random_inputs()
    other_logits = jnp.where(mask[..., None], logits, -50.0 + 100 * random_inputs(1)[0])
    other_labels = jnp.where(mask, labels, 0)
    before = cross_entropy(logits, labels, mask, 0.1)
    after = cross_entropy(other_logits, other_labels, mask, 0.1)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    grads = jax.grad(lambda x: cross_entropy(x, other_labels, mask, 0.1).loss)(other_logits)
    assert (grads[~mask] == 0).all()
    assert np.isfinite(grads).all()


def test_nothing_that_counts_is_a_loss_of_zero():
    logits, labels, mask = random_inputs()
    sums = cross_entropy(logits, labels, jnp.zeros_like(mask), 0.1)
    assert jax.device_get(sums) == Sums(0.0, 0, 0)


def test_sums_add_over_splits():
    logits, labels, mask = random_inputs()
    whole = cross_entropy(logits, labels, mask, 0.1)
    parts = [cross_entropy(*(x[n] for x in (logits, labels, mask)), 0.1) for n in range(B)]
    total = jax.tree.map(lambda *x: sum(x), *parts)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), whole, total)


def test_large_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4, 0.0]])
    sums = cross_entropy(logits, jnp.array([1]), jnp.array([True]))
    np.testing.assert_allclose(sums.loss, 2e4)
