"""Label-smoothed cross-entropy against NumPy, and as a sum that can be split."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from nmt.training.loss import Sums, chunked_cross_entropy, cross_entropy

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


# In parts, from the factors of the logits.


def random_factors(length: int, dtype=jnp.float32):
    rng = np.random.default_rng(length)
    states = jnp.asarray(rng.normal(0, 1, (B, length, 4)), dtype)
    table = jnp.asarray(rng.normal(0, 1, (V, 4)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, V, (B, length)), jnp.int32)
    return states, table, labels, jnp.asarray(rng.random((B, length)) < 0.7)


def whole_cross_entropy(states, table, *rest) -> Sums:
    return cross_entropy(jnp.einsum("btd,vd->btv", states.astype(jnp.float32), table), *rest)


@pytest.mark.parametrize("length", [5, 12, 16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_parts_equal_the_whole(length, smoothing):
    states, table, labels, mask = random_factors(length)

    def times_three(loss, states, table):  # what follows the loss must reach its gradients
        sums = loss(states, table, labels, mask, smoothing)
        return 3.0 * sums.loss, sums

    def with_gradients(loss):
        function = partial(times_three, loss)
        return jax.value_and_grad(function, argnums=(0, 1), has_aux=True)(states, table)

    expected, found = map(with_gradients, (whole_cross_entropy, chunked_cross_entropy))
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, found, expected)
    jax.tree.map(close, times_three(chunked_cross_entropy, states, table), expected[0])


def test_parts_in_bfloat16_round_the_gradients_of_the_logits_and_nothing_else():
    states, table, labels, mask = random_factors(16, jnp.bfloat16)
    table = table.astype(jnp.bfloat16).astype(jnp.float32)
    loss, pull = jax.vjp(lambda *x: chunked_cross_entropy(*x, labels, mask).loss, states, table)
    of_states, of_table = pull(jnp.float32(1))
    assert (of_states.dtype, of_table.dtype) == (jnp.bfloat16, jnp.float32)
    states = states.astype(jnp.float32)
    logits = jnp.einsum("btd,vd->btv", states, table)
    expected, gradient = jax.value_and_grad(lambda x: cross_entropy(x, labels, mask).loss)(logits)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # Rounding to 8 bits changes a number by no more than its 2^-8 (and sums differ by 1e-5).
    error = jnp.abs(of_table - jnp.einsum("btv,btd->vd", gradient, states))
    bound = 2**-8 * jnp.einsum("btv,btd->vd", jnp.abs(gradient), jnp.abs(states))
    assert (error < bound + 1e-5).all()
    # The sum over the vocabulary is rounded once more.
    error = jnp.abs(of_states - jnp.einsum("btv,vd->btd", gradient, table))
    bound = 2**-7 * jnp.einsum("btv,vd->btd", jnp.abs(gradient), jnp.abs(table))
    assert (error < bound + 1e-5).all()


def test_no_gradient_is_computed_where_none_is_asked_for():
    states, table, labels, mask = random_factors(16)

    def loss(states, table):
        return chunked_cross_entropy(states, table, labels, mask).loss

    costs = [
        jax.jit(function).lower(states, table).compile().cost_analysis()["flops"]
        for function in (loss, jax.grad(loss, (0, 1)))
    ]
    assert costs[0] < 0.6 * costs[1]


@pytest.mark.parametrize("gradients", [False, True])
def test_the_logits_of_all_positions_are_never_held_at_once(gradients):
    length, vocab_size = 64, 1000
    states, labels = jnp.zeros((B, length, 4)), jnp.zeros((B, length), jnp.int32)

    def memory(loss) -> int:
        def function(states, table):
            return loss(states, table, labels, labels == 0).loss

        function = jax.jit(jax.grad(function, (0, 1)) if gradients else function)
        compiled = function.lower(states, jnp.zeros((vocab_size, 4))).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert memory(chunked_cross_entropy) < memory(whole_cross_entropy) / 3
