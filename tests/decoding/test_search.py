"""Searches over tables of probabilities, checked by hand, by enumeration and by a slow search."""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt.decoding.search import Hypotheses, beam_search, greedy_search, length_normalization

PAD, BOS, EOS, A, B, C = range(6)
VOCAB = 6
IDS = {"pad_id": PAD, "bos_id": BOS, "eos_id": EOS}

# Scores are float32 sums of at most 8 terms; the oracles add in float64.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}

# A model in which the likeliest first piece begins the second-best sentence:
#
#             .6 ┌──▶ a ──┬── .40 ──▶ end           "a"    .24
#                │        └── .60 ──▶ c ──▶ end     "a c"  .36
#     begin ─────┤
#                │        ┌── .95 ──▶ end           "b"    .38
#             .4 └──▶ b ──┴── .05 ──▶ c ──▶ end     "b c"  .02
#
CHAIN = np.zeros((VOCAB, VOCAB), np.float32)
CHAIN[BOS, [A, B]] = 0.6, 0.4
CHAIN[A, [EOS, C]] = 0.4, 0.6
CHAIN[B, [EOS, C]] = 0.95, 0.05
CHAIN[C, EOS] = CHAIN[EOS, EOS] = CHAIN[PAD, EOS] = 1.0


class Chain(NamedTuple):
    """Logits that depend on the last piece alone; the cache is nothing."""

    @staticmethod
    def decode_step(table, cache, token):
        return jnp.log(table[token]), cache


# Random models: the next piece depends on all pieces so far, through a number that the cache
# carries on. A cache that is not reordered with its hypotheses gives other logits.
NUM_HISTORIES = 997

# One shape for all: each beam size compiles once.
BATCH, WIDTH = 60, 8


def advance(history, token):
    return (history * 31 + token + 1) % NUM_HISTORIES


def decode_step(tables, history, token):
    history = advance(history, token)
    return tables[jnp.arange(len(tables))[:, None], history], history


def reorder(history, parents):
    return jnp.take_along_axis(history, parents, axis=1)


def random_tables(seed: int, end: float = 0.0) -> np.ndarray:
    """Logits [B, histories, V]; the larger `end`, the shorter the sentences."""
    tables = np.random.default_rng(seed).normal(0, 1.5, (BATCH, NUM_HISTORIES, VOCAB))
    tables[..., EOS] += end
    return tables.astype(np.float32)


@partial(jax.jit, static_argnames=("beam_size", "max_length"))
def search(tables, max_lengths, length_penalty, beam_size, max_length=WIDTH) -> Hypotheses:
    arguments = {
        "constants": tables,
        "cache": jnp.zeros((len(tables), 1), jnp.int32),
        "max_lengths": max_lengths,
        "max_length": max_length,
        "length_penalty": length_penalty,
        **IDS,
    }
    if beam_size is None:
        return greedy_search(decode_step, **arguments)
    return beam_search(decode_step, reorder, beam_size=beam_size, **arguments)


def run(tables, max_lengths, *, alpha=0.0, beam_size=None) -> Hypotheses:
    max_lengths = np.broadcast_to(np.asarray(max_lengths, np.int32), len(tables))
    return jax.device_get(search(tables, max_lengths, alpha, beam_size))


def normalized(log_prob: float, length: int, alpha: float) -> float:
    return log_prob / ((5 + length) / 6) ** alpha


def log_prob(table: np.ndarray, tokens) -> float:
    """Log-probability of a whole sequence under a random model."""
    history, total, previous = 0, 0.0, BOS
    for token in tokens:
        history = advance(history, previous)
        logits = table[history].astype(np.float64)
        total += logits[token] - np.log(np.exp(logits).sum())
        previous = token
    return total


def enumerate_all(table: np.ndarray, max_length: int, alpha: float) -> list[tuple[float, tuple]]:
    """Scores every sequence there is, best first."""
    pieces = [A, B, C]
    sequences = [
        (*body, EOS)
        for length in range(max_length)
        for body in itertools.product(pieces, repeat=length)
    ]
    scored = [(normalized(log_prob(table, y), len(y), alpha), y) for y in sequences]
    return sorted(scored, reverse=True)


def slow_beam(table, max_length: int, alpha: float, beam_size: int) -> list[tuple[float, tuple]]:
    """The beam search without batches, caches or early stopping."""
    live, finished = [()], []
    for step in range(1, max_length + 1):
        allowed = [EOS] if step == max_length else [EOS, A, B, C]
        candidates = [(log_prob(table, (*y, v)), (*y, v)) for y in live for v in allowed]
        candidates = sorted(candidates, reverse=True)[: beam_size - len(finished)]
        live = [y for _, y in candidates if y[-1] != EOS]
        finished += [(normalized(s, step, alpha), y) for s, y in candidates if y[-1] == EOS]
    return sorted(finished, reverse=True)


def listed(found: Hypotheses, sentence: int) -> list[tuple[float, tuple]]:
    """The hypotheses of a sentence as the oracles list them; checks what surrounds them."""
    result = []
    for tokens, score, length in zip(*(x[sentence] for x in found), strict=True):
        assert (tokens[length:] == PAD).all()
        if length:
            result.append((score, tuple(tokens[:length].tolist())))
        else:
            assert score == -np.inf
    return result


def assert_same(found: list[tuple[float, tuple]], expected: list[tuple[float, tuple]]) -> None:
    assert [y for _, y in found] == [y for _, y in expected]
    np.testing.assert_allclose([s for s, _ in found], [s for s, _ in expected], **CLOSE)


# The chain above.


def search_chain(alpha: float, beam_size: int) -> list[tuple[float, tuple]]:
    found = beam_search(
        Chain.decode_step,
        lambda cache, parents: cache,
        jnp.asarray(CHAIN),
        (),
        jnp.array([4]),
        beam_size=beam_size,
        max_length=4,
        length_penalty=alpha,
        **IDS,
    )
    return listed(jax.device_get(found), 0)


def test_greedy_takes_the_likeliest_first_piece():
    found = greedy_search(
        Chain.decode_step, jnp.asarray(CHAIN), (), jnp.array([4]), max_length=4, **IDS
    )
    assert_same(listed(jax.device_get(found), 0), [(np.log(0.36), (A, C, EOS))])


def test_beam_of_two_finds_the_likeliest_sentence_and_stops():
    # "a c" (.36) is live when "b" (.38) ends: it can not get likelier, so it is dropped.
    assert_same(search_chain(0.0, 2), [(np.log(0.38), (B, EOS))])


def test_length_penalty_prefers_the_longer_sentence():
    expected = [(np.log(0.36) / (8 / 6), (A, C, EOS)), (np.log(0.38) / (7 / 6), (B, EOS))]
    assert_same(search_chain(1.0, 2), expected)


def test_wide_beam_lists_the_whole_chain():
    # All there is fits in a beam of 4, and with α = 2 the longest sentence could still win.
    probabilities = {(A, C, EOS): 0.36, (B, EOS): 0.38, (A, EOS): 0.24, (B, C, EOS): 0.02}
    expected = sorted(((normalized(np.log(p), len(y), 2.0), y) for y, p in probabilities.items()))
    assert_same(search_chain(2.0, 4), expected[::-1])


# Random models.


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_beam_as_wide_as_the_space_equals_enumeration(alpha):
    # Ends are so rare that nothing finished is decisive before the last step: all 40 sequences of
    # up to 4 pieces come back, in order.
    max_length = 4
    tables = random_tables(1, end=-40.0)
    found = run(tables, max_length, alpha=alpha, beam_size=40)
    for sentence, table in enumerate(tables):
        expected = enumerate_all(table, max_length, alpha)
        assert len(expected) == 40
        assert_same(listed(found, sentence), expected)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_wide_beam_that_stops_early_holds_all_that_had_ended_by_then(alpha):
    tables = random_tables(2, end=1.0)
    found = run(tables, 4, alpha=alpha, beam_size=40)
    longest = found.lengths.max(1)
    assert (longest < 4).any()
    for sentence, table in enumerate(tables):
        everything = enumerate_all(table, 4, alpha)
        ended = [(s, y) for s, y in everything if len(y) <= longest[sentence]]
        assert_same(listed(found, sentence), ended)
        assert everything[0] == ended[0]


@pytest.mark.parametrize(
    ("beam_size", "max_length", "alpha", "end"),
    [(2, 7, 0.0, 0.0), (3, 8, 1.0, -1.0), (3, 6, 2.0, 1.0), (5, 8, 0.6, -3.0)],
)
def test_stopping_early_never_loses_the_best_hypothesis(beam_size, max_length, alpha, end):
    tables = random_tables(3, end=end)
    found = run(tables, max_length, alpha=alpha, beam_size=beam_size)
    for sentence, table in enumerate(tables):
        expected = slow_beam(table, max_length, alpha, beam_size)
        hypotheses = listed(found, sentence)
        assert_same(hypotheses[:1], expected[:1])
        # What stands behind the best had ended by then, in order.
        sequences = [y for _, y in hypotheses]
        assert sequences == [y for _, y in expected if y in sequences]


def test_reorder_is_applied():
    # Without it hypotheses go on from each other's histories, and the scores are not the model's.
    tables = random_tables(4, end=-2.0)
    found = run(tables, 6, beam_size=3)
    for sentence, table in enumerate(tables):
        for score, tokens in listed(found, sentence):
            np.testing.assert_allclose(score, log_prob(table, tokens), **CLOSE)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
def test_beam_of_one_equals_greedy(alpha):
    tables = random_tables(5)
    greedy, beam = (run(tables, 8, alpha=alpha, beam_size=size) for size in (None, 1))
    assert len(set(greedy.lengths.ravel())) > 5
    np.testing.assert_array_equal(greedy.tokens, beam.tokens)
    np.testing.assert_array_equal(greedy.lengths, beam.lengths)
    np.testing.assert_allclose(greedy.scores, beam.scores, **CLOSE)


def test_greedy_takes_the_likeliest_piece_at_each_step_and_scores_what_it_takes():
    tables = random_tables(6)
    found = run(tables, 8, alpha=0.6)
    for sentence, table in enumerate(tables):
        assert_same(listed(found, sentence), slow_beam(table, 8, 0.6, 1))


@pytest.mark.parametrize("beam_size", [None, 3])
def test_each_sentence_ends_within_its_own_limit(beam_size):
    limits = np.array([1, 2, 3, 5, 7, 8] * 10)
    found = run(random_tables(7, end=-6.0), limits, beam_size=beam_size)
    assert (found.lengths <= limits[:, None]).all()
    assert (found.lengths[:, 0] == limits).any()
    for sentence, limit in enumerate(limits):
        hypotheses = listed(found, sentence)
        assert all(y.index(EOS) == len(y) - 1 for _, y in hypotheses)
        if limit == 1:
            assert [y for _, y in hypotheses] == [(EOS,)]


@pytest.mark.parametrize("beam_size", [None, 3])
def test_padding_and_begin_are_never_produced_and_scores_stay_the_models(beam_size):
    tables = random_tables(8)
    tables[..., [PAD, BOS]] += 3.0
    found = run(tables, 6, beam_size=beam_size)
    for sentence, table in enumerate(tables):
        for score, tokens in listed(found, sentence):
            assert not {PAD, BOS} & set(tokens)
            np.testing.assert_allclose(score, log_prob(table, tokens), **CLOSE)


@pytest.mark.parametrize("beam_size", [None, 3])
def test_neighbours_change_nothing(beam_size):
    # Sentences of the batch end at different steps, and stay as they were when they ended.
    limits = np.array([2, 8, 4, 8, 6, 8] * 10)
    tables = random_tables(9)
    together = run(tables, limits, alpha=0.6, beam_size=beam_size)
    for sentence in range(8):
        alone = random_tables(9, end=100.0)  # where all others end at once
        alone[sentence] = tables[sentence]
        own = run(alone, limits, alpha=0.6, beam_size=beam_size)
        for x, y in zip(together, own, strict=True):
            np.testing.assert_array_equal(x[sentence], y[sentence])


@pytest.mark.parametrize("beam_size", [None, 3])
def test_width_of_the_output_changes_nothing(beam_size):
    tables, limits = random_tables(10), np.full(BATCH, 4)
    wide = run(tables, limits, alpha=0.6, beam_size=beam_size)
    narrow = jax.device_get(search(tables, limits, 0.6, beam_size, max_length=4))
    assert narrow.tokens.shape[-1] == 4
    np.testing.assert_array_equal(narrow.tokens, wide.tokens[..., :4])
    np.testing.assert_array_equal(narrow.scores, wide.scores)
    assert (wide.tokens[..., 4:] == PAD).all()


@pytest.mark.parametrize("beam_size", [None, 3])
def test_changing_the_length_penalty_compiles_nothing(beam_size):
    traces = []

    def counted(constants, cache, token):
        traces.append(token.shape)
        return decode_step(constants, cache, token)

    @jax.jit
    def searched(tables, alpha):
        arguments = {"max_length": 4, "length_penalty": alpha, **IDS}
        start = jnp.zeros((BATCH, 1), jnp.int32), jnp.full(BATCH, 4)
        if beam_size is None:
            return greedy_search(counted, tables, *start, **arguments)
        return beam_search(counted, reorder, tables, *start, beam_size=beam_size, **arguments)

    tables = random_tables(11, end=-6.0)
    scores = [searched(tables, 0.0).scores]
    before = len(traces)
    scores += [searched(tables, alpha).scores for alpha in (0.6, 1.0)]
    assert len(traces) == before
    assert all((x < y).any() for x, y in itertools.pairwise(scores))


def test_length_normalization_is_what_the_papers_call_it():
    lengths = jnp.array([1, 5, 10])
    np.testing.assert_allclose(
        length_normalization(lengths, 0.6), [1.0, (10 / 6) ** 0.6, (15 / 6) ** 0.6], rtol=1e-6
    )
    np.testing.assert_allclose(length_normalization(lengths, 1.0, 0.0), [1, 5, 10], rtol=1e-6)
    np.testing.assert_allclose(length_normalization(lengths, 0.0), [1, 1, 1])
