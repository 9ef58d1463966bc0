import pytest
from sacrebleu.metrics import BLEU, CHRF

from nmt.evaluation.metrics import Bin, bleu_by_length, compare, corpus_scores, sentence_scores

REFERENCES = ["The cat sat on the mat today.", "A second sentence, longer than the first one was."]


def test_a_perfect_translation_scores_a_hundred():
    scores = corpus_scores(REFERENCES, REFERENCES, names=["BLEU", "chrF2", "TER"])
    assert [x.score for x in scores] == pytest.approx([100, 100, 0])


def test_case_counts_and_the_signature_says_so():
    lowered = [line.lower() for line in REFERENCES]
    bleu, chrf, ter = corpus_scores(lowered, REFERENCES, names=["BLEU", "chrF2", "TER"])
    assert bleu.score < 100
    assert ter.score > 0
    assert bleu.signature.startswith("BLEU|nrefs:1|case:mixed|")
    assert chrf.signature.startswith("chrF2|nrefs:1|case:mixed|")
    assert ter.signature.startswith("TER|nrefs:1|case:mixed|")


def test_hypotheses_are_not_mistaken_for_references():
    # chrF2 weighs recall twice: half of each reference is little, the whole of more is much.
    short = [" ".join(line.split()[:4]) for line in REFERENCES]
    (low,), (high,) = (
        corpus_scores(*lines, names=["chrF2"])
        for lines in ((short, REFERENCES), (REFERENCES, short))
    )
    assert low.score < 60 < high.score


def test_empty_translations_are_worth_nothing():
    assert [x.score for x in corpus_scores(["", ""], REFERENCES)] == [0, 0]


def test_a_worse_system_is_told_from_chance():
    references = [f"the {n} small brown dogs run over {n} green hills" for n in range(60)]
    worse = [line.replace("small brown", "big") for line in references]
    found = {(x.test, x.name): x for x in compare(worse, references, references)}
    names = {name for _, name in found}
    assert names == {"BLEU", "chrF2", "TER"}
    assert {test for test, _ in found} == {"paired bootstrap", "approximate randomisation"}
    assert len(found) == 6
    assert all(x.p_value < 0.01 for x in found.values())
    assert "|bs:1000|" in found["paired bootstrap", "BLEU"].signature
    assert "|ar:10000|" in found["approximate randomisation", "BLEU"].signature
    assert all(x.p_value == 1 for x in compare(worse, worse, references))
    # Other lines of the same score: sacreBLEU would tell them apart.
    spaced = [line + " " for line in worse]
    assert all(x.p_value == 1 for x in compare(worse, spaced, references))
    # Two systems that are as bad, each in every second sentence.
    pairs = list(zip(references, worse, strict=True))
    one = [pair[number % 2] for number, pair in enumerate(pairs)]
    other = [pair[1 - number % 2] for number, pair in enumerate(pairs)]
    assert all(x.p_value > 0.1 for x in compare(one, other, references))


@pytest.mark.parametrize(
    ("utility", "metric"), [("chrf", CHRF()), ("bleu", BLEU(effective_order=True))]
)
def test_sentences_are_measured_against_each_other(utility, metric):
    lines = ["the cat sat on the mat", "the cat"]
    scores = sentence_scores(utility, lines)
    for row, hypothesis in zip(scores, lines, strict=True):
        assert row == [metric.sentence_score(hypothesis, [line]).score for line in lines]
    assert scores[0][1] != pytest.approx(scores[1][0], abs=1)


def test_bins_are_of_the_words_of_the_source():
    sources = ["a " * 9, "a " * 10, "a " * 19, "a " * 60]
    lines = ["one two three four five six", "no", "one two three four five", "one two three four"]
    references = [lines[0], "what is this here", *lines[2:]]
    found = bleu_by_length(sources, lines, references)
    assert [x[:3] for x in found] == [(0, 10, 1), (10, 20, 2), (50, None, 1)]
    assert found[0].bleu == pytest.approx(100)
    assert found[2] == Bin(50, None, 1, pytest.approx(100))
    own = corpus_scores(lines[1:3], references[1:3], names=["BLEU"])[0]
    assert found[1].bleu == pytest.approx(own.score)
    assert 0 < own.score < 100


@pytest.mark.parametrize("language", ["zh-CN", "zh_Hans", "ZH"])
def test_a_language_is_known_with_its_region_or_script(language):
    given = ["我们走吧。"], ["我们走了。"]
    assert corpus_scores(*given, language) == corpus_scores(*given, "zh")
    bleu, ter = corpus_scores(*given, language, ["BLEU", "TER"])
    assert "tok:zh" in bleu.signature
    assert "norm:yes|" in ter.signature
    assert "asian:yes|" in ter.signature
