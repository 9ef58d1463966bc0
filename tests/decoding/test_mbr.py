"""Minimum Bayes risk, by hand."""

import math

import pytest

from nmt.decoding.mbr import minimum_bayes_risk
from nmt.decoding.translation import Translation
from nmt.evaluation.metrics import sentence_scores


def hypotheses(*texts_and_log_probs) -> Translation:
    best, *others = (
        Translation(text, log_prob, tuple(text), (log_prob / 2, log_prob / 2))
        for text, log_prob in texts_and_log_probs
    )
    return best._replace(alternatives=tuple(others))


def texts(translation: Translation) -> list[str]:
    return [x.text for x in (translation, *translation.alternatives)]


@pytest.mark.parametrize("utility", ["chrf", "bleu"])
def test_the_one_that_agrees_with_most_comes_first(utility):
    many = hypotheses(
        ("nothing of that kind at all", -1),
        ("the big dog ran over a hill", -2),
        ("the dog ran over the hill", -3),
        ("the dog runs over the hill", -4),
    )
    found = minimum_bayes_risk(many._replace(overlong=True), utility, sampled=True)
    assert found.overlong
    assert texts(found)[0] == "the dog ran over the hill"
    assert texts(found)[-1] == "nothing of that kind at all"
    assert sorted(texts(found)) == sorted(texts(many))
    assert found.score == -3
    assert all(x.alternatives == () for x in found.alternatives)


def test_samples_count_the_same_and_a_beam_by_its_probability():
    one = ("a cat sleeps", math.log(0.9))
    two, three = ("the dog runs", math.log(0.06)), ("the dog runs!", math.log(0.04))
    assert texts(minimum_bayes_risk(hypotheses(one, two, three), sampled=True))[0] != one[0]
    assert texts(minimum_bayes_risk(hypotheses(one, two, three), sampled=False))[0] == one[0]


def test_expected_utility_by_hand():
    many = hypotheses(("aa bb", math.log(0.5)), ("aa bc", math.log(0.3)), ("aa bc", math.log(0.2)))
    scores = sentence_scores("chrf", ["aa bb", "aa bc"])
    assert scores[0][0] == scores[1][1] == pytest.approx(100)
    expected = [0.5 * row[0] + 0.5 * row[1] for row in scores]  # the two equal ones together
    assert expected[0] == pytest.approx(expected[1])
    assert texts(minimum_bayes_risk(many, sampled=False))[0] == "aa bb"  # the first of equals
    # As samples two of three say "aa bc".
    assert texts(minimum_bayes_risk(many, sampled=True)) == ["aa bc", "aa bc", "aa bb"]


def test_the_others_are_the_references():
    # Half of a reference is worth less than a reference and as much again: chrF2 prefers recall.
    many = hypotheses(("aa bb cc dd", -1.0), ("aa bb", -1.0), ("aa bb ee ff", -1.0))
    lines = [x.text for x in (many, *many.alternatives)]
    expected = [sum(row) for row in sentence_scores("chrf", lines)]
    swapped = [sum(column) for column in zip(*sentence_scores("chrf", lines), strict=True)]
    found = texts(minimum_bayes_risk(many, sampled=True))
    assert found == sorted(lines, key=lambda line: -expected[lines.index(line)])
    assert found != sorted(lines, key=lambda line: -swapped[lines.index(line)])


def test_one_hypothesis_stays():
    one = hypotheses(("", -1.0))
    assert minimum_bayes_risk(one, sampled=False) == one


def test_a_utility_that_is_none_is_named():
    with pytest.raises(ValueError, match="utility is 'ter'; expected one of "):
        minimum_bayes_risk(hypotheses(("", -1.0)), "ter", sampled=False)
