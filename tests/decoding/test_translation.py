"""A line that is too long becomes several and one again."""

import itertools

import numpy as np
import pytest

from nmt.decoding.translation import NOTHING, UNMET, Translation, joined, split_line, truncate_line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("One two. Three four. Five.", ["One two. ", "Three four. ", "Five."]),
        ("A b? C d! E f… G h i j k", ["A b? C d! ", "E f… ", "G h i j k"]),
        ("one two three four", ["one two ", "three four"]),
        ("onetwothreefour", ["onetwot", "hreefour"]),
        ("One. two three four five", ["One. ", "two three ", "four five"]),  # an end comes first
        ("Eins zwei。 Drei vier。", ["Eins zwei。 ", "Drei vier。"]),
        ("fits. As it is", ["fits. As it is"]),
    ],
)
def test_lines_are_split_at_ends_of_sentences_else_at_spaces_else_anywhere(line, expected):
    size = 14 if line in expected else 12
    assert split_line(line, lambda part: len(part) <= size) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("one two three four", "one two"),
        ("one two thr four", "one two"),
        ("one two th four", "one two th"),  # up to the last place
        ("onetwothreefour", "onetwothre"),
        ("  onetwothreefour", "  onetwoth"),  # not to nothing
        ("one\u2003two. three", "one\u2003two."),
    ],
)
def test_of_a_truncated_line_whole_words_are_kept(line, expected):
    assert truncate_line(line, lambda part: len(part) <= 10) == [expected]


def test_truncating_looks_at_little_more_than_the_line():
    looked_at = []

    def fits(part: str) -> bool:
        looked_at.append(len(part))
        return len(part) <= 20

    line = "many words. " * 10_000
    assert truncate_line(line, fits) == ["many words. many"]
    assert sum(looked_at) < 2 * len(line)


def listed(*found: tuple[str, float], **fields) -> Translation:
    best, *others = (Translation(t, s, (t,), (s, 0.0), **fields) for t, s in found)
    return best._replace(alternatives=tuple(others))


PARTS = [
    listed(("a", -1.0), ("b", -1.1), ("c", -3.0)),
    listed(("d", -2.0), ("e", -2.5), ("f", -2.6)),
    listed(("g", -0.5)),
]
SOURCES = ["One. ", "Two. ", "Three."]


def test_a_line_has_the_best_ways_to_choose_of_each_part():
    line = joined(SOURCES, PARTS)
    ways = itertools.product(*((part, *part.alternatives) for part in PARTS))
    scores = sorted((sum(t.score for t in way) for way in ways), reverse=True)[:3]
    found = [line, *line.alternatives]
    np.testing.assert_allclose([t.score for t in found], scores)
    assert [t.text for t in found] == ["a d g", "b d g", "a e g"]
    assert found[1].tokens == ("b", "d", "g")
    assert found[1].token_log_probs == (-1.1, 0.0, -2.0, 0.0, -0.5, 0.0)
    assert joined(SOURCES[:1], PARTS[:1]) == PARTS[0]


def test_samples_of_a_line_are_made_of_those_of_its_parts_in_turn():
    line = joined(SOURCES[:2], PARTS[:2], sampled=True)
    assert [t.text for t in (line, *line.alternatives)] == ["a d", "b e", "c f"]


@pytest.mark.parametrize("empty", [NOTHING, UNMET])
def test_a_part_without_a_translation_leaves_no_space(empty):
    line = joined(SOURCES, [empty, PARTS[2], empty])
    assert (line.text, line.score) == ("g", -0.5 + 2 * empty.score)


def test_a_line_of_which_a_part_is_cut_is_cut():
    cut = listed(("a", -1.0), cut=True)
    assert joined(SOURCES[:2], [PARTS[0], cut]).cut
    assert not joined(SOURCES, PARTS).cut
