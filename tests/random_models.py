"""Models of a few pieces, and searches over them that are slow and plain."""

import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from nmt.decoding.search import Hypotheses

PAD, BOS, EOS, A, B, C = range(6)
VOCAB = 6
IDS = {"pad_id": PAD, "bos_id": BOS, "eos_id": EOS}

# Scores are float32 sums of at most 8 terms; the oracles add in float64.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}

# The next piece depends on all pieces so far, through a number that the cache carries on. A cache
# that is not reordered with its hypotheses gives other logits.
NUM_HISTORIES = 997

# One shape for all: each beam size compiles once.
BATCH, WIDTH = 60, 8


def advance(history, token):
    return (history * 31 + token + 1) % NUM_HISTORIES


def beginning(tables, num_hypotheses):
    """Begins sentences of these tables; the cache holds nothing of use."""

    def begin(sentences):
        return tables[sentences], jnp.full((len(sentences), num_hypotheses), 7)

    return begin


def decode_step(tables, history, token, step):
    history = advance(jnp.where(step == 0, 0, history.T).T, token)
    return tables[jnp.arange(len(tables))[:, None], history], history


def reorder(history, parents):
    return jnp.take_along_axis(history, parents, axis=1)


def random_tables(seed: int, end: float = 0.0) -> np.ndarray:
    """Logits [B, histories, V]; the larger `end`, the shorter the sentences."""
    tables = np.random.default_rng(seed).normal(0, 1.5, (BATCH, NUM_HISTORIES, VOCAB))
    tables[..., EOS] += end
    return tables.astype(np.float32)


def normalized(log_prob: float, length: int, alpha: float, offset: float = 5.0) -> float:
    return log_prob / ((offset + length) / (offset + 1)) ** alpha


def log_probs(table: np.ndarray, tokens) -> list[float]:
    """Log-probability of each piece of a whole sequence under a random model."""
    history, result, previous = 0, [], BOS
    for token in tokens:
        history = advance(history, previous)
        logits = table[history].astype(np.float64)
        result.append(logits[token] - np.log(np.exp(logits).sum()))
        previous = token
    return result


def enumerate_all(
    table: np.ndarray,
    max_length: int,
    alpha: float,
    allowed: Callable[[tuple], bool] = lambda sequence: True,
    offset: float = 5.0,
) -> list[tuple[float, tuple]]:
    """Scores every sequence there is that is allowed, best first."""
    pieces = [A, B, C]
    sequences = [
        (*body, EOS)
        for length in range(max_length)
        for body in itertools.product(pieces, repeat=length)
        if allowed(body)
    ]
    scored = [(normalized(sum(log_probs(table, y)), len(y), alpha, offset), y) for y in sequences]
    return sorted(scored, reverse=True)


def listed(found: Hypotheses, sentence: int) -> list[tuple[float, tuple]]:
    """The hypotheses of a sentence as the oracles list them; checks what surrounds them."""
    result = []
    for tokens, pieces, score, length in zip(*(x[sentence] for x in found), strict=True):
        assert (tokens[length:] == PAD).all()
        assert (pieces[length:] == 0).all()
        if length:
            result.append((score, tuple(tokens[:length].tolist())))
        else:
            assert score == -np.inf
    return result


def assert_same(found: list[tuple[float, tuple]], expected: list[tuple[float, tuple]]) -> None:
    assert [y for _, y in found] == [y for _, y in expected]
    np.testing.assert_allclose([s for s, _ in found], [s for s, _ in expected], **CLOSE)
