"""The alignment error rate, by hand."""

import pytest

from nmt.evaluation.alignment import alignment_error_rate


@pytest.mark.parametrize(
    ("found", "sure", "possible", "expected"),
    [
        ([(0, 0)], [(0, 0)], [], 0.0),
        ([(0, 1)], [(0, 0)], [], 1.0),
        ([], [(0, 0)], [], 1.0),
        ([], [], [(0, 0)], 0.0),
        # A holds one sure link and one possible one: (1 + 2) / (2 + 2).
        ([(0, 0), (1, 1)], [(0, 0), (2, 2)], [(1, 1)], 1 / 4),
        # A possible link costs nothing, a wrong one does: (1 + 2) / (3 + 1).
        ([(0, 0), (1, 1), (5, 5)], [(0, 0)], [(1, 1), (3, 3)], 1 / 4),
    ],
)
def test_by_hand(found, sure, possible, expected):
    assert alignment_error_rate([found], [sure], [possible]) == pytest.approx(expected)


def test_links_of_all_sentences_count_together():
    found, sure = [[(0, 0)], [(0, 0), (1, 1), (2, 2)]], [[(0, 1)], [(0, 0), (1, 1), (2, 2)]]
    assert alignment_error_rate(found, sure) == pytest.approx(1 - 6 / 8)
