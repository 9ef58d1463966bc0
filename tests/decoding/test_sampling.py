"""Draws against the distributions they are from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_models import (
    BATCH,
    CLOSE,
    IDS,
    PAD,
    beginning,
    decode_step,
    listed,
    log_probs,
    random_tables,
)

from nmt.decoding.sampling import inverse_cumulative, sampler, sentence_keys, truncated
from nmt.decoding.search import Progress, greedy_search


def truncated_by_sorting(values: np.ndarray, weights: np.ndarray, amount: float) -> np.ndarray:
    order = np.argsort(-values, kind="stable")
    enough = np.cumsum(weights[order]) >= amount
    last = values[order[enough.argmax()]] if enough.any() else -np.inf
    return np.where(values >= last, values, -np.inf)


@pytest.mark.parametrize("k", [1, 2, 7, 300, 1000])
def test_truncation_keeps_the_k_largest_and_their_equals(k):
    values = np.random.default_rng(k).normal(0, 3, (5, 300)).astype(np.float32)
    values[1] = values[1].round()  # many equals
    values[2, ::2] = -np.inf
    values[3] = 0.0
    values[3, 5] = -0.0
    found = truncated(jnp.asarray(values), jnp.ones(values.shape), jnp.float32(k))
    for row, kept in zip(values, np.asarray(found), strict=True):
        np.testing.assert_array_equal(kept, truncated_by_sorting(row, np.ones_like(row), k))


@pytest.mark.parametrize("p", [1e-6, 0.3, 0.9, 0.999])
def test_truncation_keeps_the_fewest_that_weigh_enough(p):
    values = np.random.default_rng(7).normal(0, 3, (20, 300)).astype(np.float32)
    weights = np.asarray(jax.nn.softmax(values))
    found = truncated(jnp.asarray(values), jnp.asarray(weights), jnp.float32(p))
    for row, weight, kept in zip(values, weights, np.asarray(found), strict=True):
        np.testing.assert_array_equal(kept, truncated_by_sorting(row, weight, p))


def test_inverse_cumulative_is_the_sorted_search():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(300, 0.05), 2000).astype(np.float32)
    probabilities[:, ::3] = 0.0
    probabilities[0] = np.eye(300)[299]
    uniform = random.random(2000).astype(np.float32)
    uniform[:2] = np.nextafter(np.float32(1), np.float32(0))
    found = np.asarray(inverse_cumulative(jnp.asarray(probabilities), jnp.asarray(uniform)))
    rows = np.arange(2000)
    assert (probabilities[rows, found] > 0).all()
    cumulated = np.cumsum(probabilities.astype(np.float64), axis=1)
    point = uniform * cumulated[:, -1]
    # To within what float32 sums of 300 terms may be off.
    assert (cumulated[rows, found] > point - 1e-5).all()
    assert (cumulated[rows, found] - probabilities[rows, found] < point + 1e-5).all()


def draws(logits: np.ndarray, number: int, **options) -> np.ndarray:
    """How often each piece is drawn, of `number`."""
    keys = jax.random.split(jax.random.key(0), (1, number))
    log_probs = jnp.broadcast_to(jax.nn.log_softmax(logits), (1, number, len(logits)))
    step = jnp.full(1, 3)
    progress = Progress(jnp.zeros_like(step), step, jnp.zeros((1, number, 4), jnp.int32))
    chosen = jax.jit(sampler(keys, **options))(log_probs, progress)
    return np.bincount(np.asarray(chosen)[0], minlength=len(logits))


LOGITS = np.log(np.array([0.4, 0.3, 0.2, 0.06, 0.04], np.float32))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.4, 0.3, 0.2, 0.06, 0.04]),
        ({"temperature": 0.5}, np.array([16, 9, 4, 0.36, 0.16]) / 29.52),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0, 0]),
        ({"top_p": 0.75}, [4 / 9, 3 / 9, 2 / 9, 0, 0]),
        # Of the first three's 0.9, the first two have 0.78.
        ({"top_k": 3, "top_p": 0.75}, [4 / 7, 3 / 7, 0, 0, 0]),
        ({"temperature": 1e-3}, [1, 0, 0, 0, 0]),
    ],
)
def test_pieces_are_drawn_as_often_as_they_should(options, expected):
    number = 20_000
    found = draws(LOGITS, number, **options)
    expected = np.asarray(expected) * number
    assert (found[expected == 0] == 0).all()
    # Chi-squared with at most 4 degrees of freedom: above 23.5 once in 10,000.
    positive = expected > 0
    assert ((found - expected)[positive] ** 2 / expected[positive]).sum() < 23.5


def sample(tables, seed: int, num_hypotheses: int = 3, **options):
    keys = jax.random.split(jax.random.key(seed), (BATCH, num_hypotheses))
    return jax.device_get(
        greedy_search(
            beginning(tables, num_hypotheses),
            decode_step,
            jnp.full(BATCH, 8),
            max_length=8,
            choose=sampler(keys, **options),
            num_hypotheses=num_hypotheses,
            **IDS,
        )
    )


def test_samples_are_scored_by_the_model_and_differ():
    tables = random_tables(3)
    found = sample(jnp.asarray(tables), 0, temperature=2.0, top_k=3)
    different = 0
    for sentence, table in enumerate(tables):
        hypotheses = listed(found, sentence)
        assert len(hypotheses) == 3
        different += len({tokens for _, tokens in hypotheses}) == 3
        for number, (score, tokens) in enumerate(hypotheses):
            expected = log_probs(table, tokens)
            np.testing.assert_allclose(score, sum(expected), **CLOSE)
            pieces = found.log_probs[sentence, number, : len(tokens)]
            np.testing.assert_allclose(pieces, expected, **CLOSE)
    assert different > BATCH / 2
    assert (found.tokens[found.lengths == 1][:, 1:] == PAD).all()


def test_same_keys_draw_the_same_and_others_others():
    tables = jnp.asarray(random_tables(4))
    first, again, other = (sample(tables, seed).tokens for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(-1).mean() > 0.5


def test_keys_are_of_the_sentence_and_the_seed_alone():
    def keys(seed: int, *sentences: list[int]) -> list[list[int]]:
        width = max(map(len, sentences)) + seed  # that of the shape says nothing
        ids = [sentence + [-1] * (width - len(sentence)) for sentence in sentences]
        made = jax.random.key_data(sentence_keys(seed, jnp.array(ids), 2))
        return made.reshape(len(sentences), -1).tolist()

    one, two = keys(0, [5, 3], [3, 5])
    assert (
        len({*map(tuple, (one, two, *keys(0, [5], [5, 3, 3], [5, 3, 0]), *keys(1, [5, 3])))}) == 6
    )
    assert keys(0, [7, 7, 7, 7], [3, 5], [5, 3])[1:] == [two, one]


def test_sharpest_sampling_is_greedy():
    tables = jnp.asarray(random_tables(5))
    greedy = greedy_search(
        beginning(tables, 1),
        decode_step,
        jnp.full(BATCH, 8),
        max_length=8,
        **IDS,
    )
    # Some are 0 in float32.
    temperatures = [{"temperature": t} for t in (1e-4, 1e-38, 1e-300)]
    for options in (*temperatures, {"top_k": 1}, {"top_p": 1e-6}, {"top_p": 1e-300}):
        found = sample(tables, 6, 1, **options)
        np.testing.assert_array_equal(found.tokens, greedy.tokens)
