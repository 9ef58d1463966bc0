"""Searches over tables of probabilities, checked by hand, by enumeration and by a slow search."""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_models import (
    BATCH,
    BOS,
    CLOSE,
    EOS,
    IDS,
    PAD,
    VOCAB,
    WIDTH,
    A,
    B,
    C,
    assert_same,
    beginning,
    decode_step,
    enumerate_all,
    listed,
    log_probs,
    normalized,
    random_tables,
    reorder,
)

from nmt.decoding.search import (
    Hypotheses,
    beam_search,
    greedy_search,
    length_normalization,
    top_k_sums,
)

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
    def begin(sentences):
        return (), ()

    @staticmethod
    def decode_step(constants, cache, token, step):
        return jnp.log(jnp.asarray(CHAIN)[token]), cache


@partial(jax.jit, static_argnames=("beam_size", "max_length", "num_rows"))
def search(
    tables,
    max_lengths,
    length_penalty,
    beam_size,
    max_length=WIDTH,
    offset=5.0,
    num_best=1,
    num_rows=None,
) -> Hypotheses:
    arguments = {
        "begin": beginning(tables, beam_size or 1),
        "max_lengths": max_lengths,
        "max_length": max_length,
        "num_rows": num_rows,
        "length_penalty": length_penalty,
        "length_offset": offset,
        **IDS,
    }
    if beam_size is None:
        return greedy_search(decode_step=decode_step, **arguments)
    return beam_search(
        decode_step=decode_step,
        reorder=reorder,
        beam_size=beam_size,
        num_best=num_best,
        **arguments,
    )


def run(tables, max_lengths, *, alpha=0.0, beam_size=None, **options) -> Hypotheses:
    max_lengths = np.broadcast_to(np.asarray(max_lengths, np.int32), len(tables))
    return jax.device_get(search(tables, max_lengths, alpha, beam_size, **options))


def slow_beam(table, max_length: int, alpha: float, beam_size: int) -> list[tuple[float, tuple]]:
    """The beam search without batches, caches or early stopping."""
    live, finished = [()], []
    for step in range(1, max_length + 1):
        allowed = [EOS] if step == max_length else [EOS, A, B, C]
        candidates = [(sum(log_probs(table, (*y, v))), (*y, v)) for y in live for v in allowed]
        candidates = sorted(candidates, reverse=True)[: beam_size - len(finished)]
        live = [y for _, y in candidates if y[-1] != EOS]
        finished += [(normalized(s, step, alpha), y) for s, y in candidates if y[-1] == EOS]
    return sorted(finished, reverse=True)


# The chain above.


def search_chain(alpha: float, beam_size: int) -> list[tuple[float, tuple]]:
    found = beam_search(
        Chain.begin,
        Chain.decode_step,
        lambda cache, parents: cache,
        jnp.array([4]),
        beam_size=beam_size,
        max_length=4,
        length_penalty=alpha,
        **IDS,
    )
    return listed(jax.device_get(found), 0)


def test_greedy_takes_the_likeliest_first_piece():
    found = greedy_search(Chain.begin, Chain.decode_step, jnp.array([4]), max_length=4, **IDS)
    assert_same(listed(jax.device_get(found), 0), [(np.log(0.36), (A, C, EOS))])


def test_the_unknown_piece_is_never_chosen():
    # Of the likeliest way the first piece is "a": the best that is left begins with another.
    found = greedy_search(
        Chain.begin, Chain.decode_step, jnp.array([4]), max_length=4, unk_id=A, **IDS
    )
    assert_same(listed(jax.device_get(found), 0), [(np.log(0.38), (B, EOS))])


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


@pytest.mark.parametrize("num_best", [2, 5])
@pytest.mark.parametrize(("alpha", "end"), [(0.0, 1.0), (1.0, 0.0), (0.6, -1.0)])
def test_stopping_early_never_loses_one_of_the_n_best(num_best, alpha, end):
    tables = random_tables(3, end=end)
    found = run(tables, 7, alpha=alpha, beam_size=5, num_best=num_best)
    stopped = 0
    for sentence, table in enumerate(tables):
        expected = slow_beam(table, 7, alpha, 5)
        hypotheses = listed(found, sentence)
        assert_same(hypotheses[:num_best], expected[:num_best])
        stopped += len(hypotheses) < len(expected)
    assert stopped or num_best == 5


@pytest.mark.parametrize("beam_size", [None, 3])
def test_log_probs_of_the_pieces_are_the_models_and_sum_to_the_score(beam_size):
    tables = random_tables(12, end=-1.0)
    found = run(tables, 7, alpha=1.0, beam_size=beam_size, offset=0.0)
    for sentence, table in enumerate(tables):
        for number, (score, tokens) in enumerate(listed(found, sentence)):
            pieces = found.log_probs[sentence, number, : len(tokens)]
            np.testing.assert_allclose(pieces, log_probs(table, tokens), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(score, pieces.mean(), **CLOSE)


@pytest.mark.parametrize("num_rows", [1, 3])
@pytest.mark.parametrize(
    ("size", "k"), [(7, 1), (100, 7), (128, 3), (1000, 5), (1001, 9), (384, 3)]
)
def test_top_k_in_two_stages_is_the_plain_one(size, k, num_rows):
    rng = np.random.default_rng(size)
    x = rng.normal(size=(20, num_rows, size)).astype(np.float32)
    offsets = rng.normal(size=(20, num_rows)).astype(np.float32)
    x[5:10], offsets[5:10] = x[5:10].round(), offsets[5:10].round()  # equals: the first come first
    x[10:] = np.where(x[10:] > 1, x[10:], -np.inf)
    offsets[15:, -1] = -np.inf
    found = top_k_sums(jnp.asarray(x), jnp.asarray(offsets), k)
    expected = jax.lax.top_k((x + offsets[..., None]).reshape(20, -1), k)
    for ours, plain in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("num_rows", [1, 5, 16, 59])
@pytest.mark.parametrize("beam_size", [None, 3])
def test_rows_that_are_given_new_sentences_change_nothing(beam_size, num_rows):
    # Of those without a limit there is nothing, be they at the end, at the beginning or between.
    tables = random_tables(7, end=-1.0)
    limits = np.random.default_rng(7).integers(0, 9, BATCH)
    limits[:2] = limits[-7:] = 0
    assert (limits == 0).sum() > 12
    together = run(tables, limits, alpha=0.6, beam_size=beam_size)
    found = run(tables, limits, alpha=0.6, beam_size=beam_size, num_rows=num_rows)
    jax.tree.map(np.testing.assert_array_equal, found, together)
    np.testing.assert_array_equal(found.lengths.max(1) > 0, limits > 0)


@pytest.mark.parametrize("beam_size", [None, 3])
def test_no_row_waits_while_sentences_are_left(beam_size):
    # Every sentence takes all of its steps: 8 rows take about an eighth of them, all together.
    limits = jnp.asarray(np.random.default_rng(8).integers(1, 9, BATCH))
    steps = []

    def counted(constants, cache, token, step):
        jax.debug.callback(lambda step: steps.append(step), step)
        return decode_step(constants, cache, token, step)

    tables = jnp.asarray(random_tables(8, end=-30.0))
    arguments = {"max_length": 8, "num_rows": 8, **IDS}
    begin = beginning(tables, beam_size or 1)
    if beam_size is None:
        found = greedy_search(begin, counted, limits, **arguments)
    else:
        found = beam_search(begin, counted, reorder, limits, beam_size=beam_size, **arguments)
    jax.effects_barrier()
    np.testing.assert_array_equal(found.lengths[:, 0], limits)
    assert len(steps) <= limits.sum() / 8 + 8


def test_reorder_is_applied():
    # Without it hypotheses go on from each other's histories, and the scores are not the model's.
    tables = random_tables(4, end=-2.0)
    found = run(tables, 6, beam_size=3)
    for sentence, table in enumerate(tables):
        for score, tokens in listed(found, sentence):
            np.testing.assert_allclose(score, sum(log_probs(table, tokens)), **CLOSE)


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
            np.testing.assert_allclose(score, sum(log_probs(table, tokens)), **CLOSE)


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

    def counted(constants, cache, token, step):
        traces.append(token.shape)
        return decode_step(constants, cache, token, step)

    @jax.jit
    def searched(tables, alpha):
        arguments = {"max_length": 4, "length_penalty": alpha, **IDS}
        begin, limits = beginning(tables, beam_size or 1), jnp.full(BATCH, 4)
        if beam_size is None:
            return greedy_search(begin, counted, limits, **arguments)
        return beam_search(begin, counted, reorder, limits, beam_size=beam_size, **arguments)

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
