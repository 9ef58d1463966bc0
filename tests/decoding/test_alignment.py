"""Pieces to words, by hand."""

import numpy as np
import pytest

from nmt.decoding.alignment import merge_words, word_numbers, words


@pytest.mark.parametrize(
    ("pieces", "joined", "numbers"),
    [
        (["▁a"], ["a"], [0]),
        (["▁un", "believ", "able", "▁", "!"], ["unbelievable", "!"], [0, 0, 0, 1, 1]),
        (["a", "b", "▁c"], ["ab", "c"], [0, 0, 1]),
        (["▁Hund", "▁läuft", "."], ["Hund", "läuft."], [0, 1, 1]),
    ],
)
def test_a_piece_with_a_mark_begins_a_word(pieces, joined, numbers):
    assert words(pieces) == joined
    assert word_numbers(pieces).tolist() == numbers


def test_weights_add_over_source_pieces_and_average_over_target_pieces():
    weights = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]])
    merged = merge_words(weights, ["▁a", "b", "▁c"], ["▁x", "y", "▁z"])
    # Rows: the mean of the first two, and the third; columns: the sum of the first two, the third.
    np.testing.assert_allclose(merged, [[0.45, 0.55], [1.0, 0.0]])


def test_rows_still_sum_to_one():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(6), 5)
    source, target = ["▁a", "b", "▁c", "▁d", "e", "f"], ["▁u", "▁v", "w", "x", "▁y"]
    merged = merge_words(weights, source, target)
    assert merged.shape == (len(words(target)), len(words(source))) == (3, 3)
    np.testing.assert_allclose(merged.sum(1), 1.0)
    np.testing.assert_allclose(merge_words(weights[:, :1], ["▁a"], target).shape, (3, 1))
