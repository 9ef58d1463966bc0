"""Attention against NumPy, and masks and positions against what the paper writes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt.models.attention import (
    attend,
    attend_to_part,
    attention_weights,
    causal_mask,
    join_parts,
    no_part,
    segment_mask,
    sinusoidal_positions,
)

B, T, S, N, KEY_DIM, VALUE_DIM = 3, 5, 7, 2, 4, 6


def random_inputs(seed: int = 0):
    rng = np.random.default_rng(seed)
    query, key, value = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((B, T, N, KEY_DIM), (B, S, N, KEY_DIM), (B, S, N, VALUE_DIM))
    )
    mask = rng.random((B, 1, T, S)) < 0.6
    mask[..., 0] = True  # nobody is left without a key
    return jnp.asarray(query), jnp.asarray(key), jnp.asarray(value), jnp.asarray(mask)


def numpy_attention(query, key, value, mask):
    """One query and one head at a time, over the keys it may see."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    weights = np.zeros((B, N, T, S))
    contexts = np.zeros((B, T, N, VALUE_DIM))
    for b, n, t in np.ndindex(B, N, T):
        seen = np.flatnonzero(mask[b, 0, t])
        scores = np.exp(key[b, seen, n] @ query[b, t, n] / np.sqrt(KEY_DIM))
        weights[b, n, t, seen] = scores / scores.sum()
        contexts[b, t, n] = weights[b, n, t] @ value[b, :, n]
    return weights, contexts


def test_attention_equals_a_loop_in_numpy():
    query, key, value, mask = random_inputs()
    weights = attention_weights(query, key, mask)
    expected_weights, expected_contexts = numpy_attention(query, key, value, mask)
    np.testing.assert_allclose(weights, expected_weights, atol=1e-6)
    np.testing.assert_allclose(attend(weights, value), expected_contexts, atol=1e-6)
    assert (np.asarray(weights)[~np.broadcast_to(mask, weights.shape)] == 0).all()


def test_more_leading_axes_change_nothing():
    query, key, value, mask = random_inputs()
    more = attention_weights(query[None, None], key[None, None], mask[None, None])
    np.testing.assert_allclose(more[0, 0], attention_weights(query, key, mask), atol=1e-6)
    assert attend(more, value[None, None]).shape == (1, 1, B, T, N, VALUE_DIM)


def test_a_query_that_may_attend_nowhere_gets_the_mean_and_finite_gradients():
    query, key, value, mask = random_inputs()
    mask = mask.at[1, 0, 2].set(False)

    def contexts(query, key, value):
        return attend(attention_weights(query, key, mask), value)

    np.testing.assert_allclose(contexts(query, key, value)[1, 2], value[1].mean(0), atol=1e-6)
    grads = jax.grad(lambda *x: (contexts(*x) ** 2).sum(), argnums=(0, 1, 2))(query, key, value)
    assert all(np.isfinite(x).all() for x in grads)
    assert (grads[0][1, 2] == 0).all()


def test_large_scores_stay_finite():
    query, key, _, mask = random_inputs()
    weights = attention_weights(query * 1e4, key * 1e4, mask)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)


def test_softmax_of_bfloat16_is_float32():
    query, key, value, mask = random_inputs()
    low = [x.astype(jnp.bfloat16) for x in (query, key, value)]
    weights = attention_weights(*low[:2], mask)
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)
    assert attend(weights, low[2]).dtype == jnp.bfloat16


def test_segment_mask_literally():
    mask = segment_mask(jnp.array([[1, 1, 2, 0]]), jnp.array([[1, 2, 2, 3, 0]]))
    expected = [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(mask, np.array([[expected]], bool))
    assert mask.dtype == bool


def test_causal_mask_literally():
    expected = [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    np.testing.assert_array_equal(causal_mask(3), np.array([[expected]], bool))
    assert causal_mask(3).dtype == bool


def test_both_masks_together_literally():
    segments = jnp.array([[1, 1, 2, 2, 0], [1, 1, 1, 0, 0]])
    first = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]
    second = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    mask = segment_mask(segments, segments) & causal_mask(5)
    np.testing.assert_array_equal(mask, np.array([[first], [second]], bool))


@pytest.mark.parametrize("emb_dim", [2, 6, 512])
def test_positions_are_the_papers_sines_and_cosines(emb_dim):
    positions = np.array([[0, 1, 2], [7, 100, 255]])
    encoded = sinusoidal_positions(jnp.asarray(positions), emb_dim)
    assert encoded.shape == (2, 3, emb_dim)
    for i in range(emb_dim // 2):
        angle = positions / 10_000 ** (2 * i / emb_dim)
        # Angles are float32: up to 255 radians, of 24 bits.
        np.testing.assert_allclose(encoded[..., 2 * i], np.sin(angle), atol=5e-5)
        np.testing.assert_allclose(encoded[..., 2 * i + 1], np.cos(angle), atol=5e-5)


def test_attention_in_parts_is_attention_to_all_of_them():
    rng = np.random.default_rng(3)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    lengths = 5, 0, 7  # a part may be empty
    query = draw(2, 3, 4, 8)
    keys, values = ([draw(2, s, 4, width) for s in lengths] for width in (8, 6))
    masks = [jnp.asarray(rng.random((2, 1, 3, s)) < 0.6) for s in lengths]
    masks[0] = masks[0].at[..., 0].set(True)
    masks[2] = masks[2].at[1].set(False)
    parts = [attend_to_part(query, *part) for part in zip(keys, values, masks, strict=True)]
    found = join_parts(parts)
    key, value = jnp.concatenate(keys, 1), jnp.concatenate(values, 1)
    expected = attend(attention_weights(query, key, jnp.concatenate(masks, -1)), value)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    # Without the parts to which nothing attends it is the same to the bit.
    for others in ([], [no_part(parts[0])], [no_part(parts[0])] * 2):
        alone = join_parts([parts[0], *others])
        np.testing.assert_array_equal(found[1], alone[1])
