import pytest

from nmt.evaluation.metrics import corpus_scores

REFERENCES = ["The cat sat on the mat today.", "A second sentence, longer than the first one was."]


def test_a_perfect_translation_scores_a_hundred():
    scores = corpus_scores(REFERENCES, REFERENCES)
    assert (scores.bleu, scores.chrf) == pytest.approx((100, 100))


def test_case_counts_and_the_signature_says_so():
    lowered = [line.lower() for line in REFERENCES]
    scores = corpus_scores(lowered, REFERENCES)
    assert scores.bleu < 100
    assert scores.signature.startswith("BLEU|nrefs:1|case:mixed|")
    assert " chrF2|nrefs:1|case:mixed|" in scores.signature


def test_hypotheses_are_not_mistaken_for_references():
    # chrF2 weighs recall twice: half of each reference is little, the whole of more is much.
    short = [" ".join(line.split()[:4]) for line in REFERENCES]
    assert corpus_scores(short, REFERENCES).chrf < 60 < corpus_scores(REFERENCES, short).chrf


def test_empty_translations_are_worth_nothing():
    assert corpus_scores(["", ""], REFERENCES)[:2] == (0, 0)
