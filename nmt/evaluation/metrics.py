"""Measures of translations against references: sacreBLEU's, with its signatures and its tests."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

from nmt.config import InputError

LENGTHS = (10, 20, 30, 40, 50)
"""Words of a source at which `bleu_by_length` begins another bin."""


class Measure(NamedTuple):
    """A measure of a corpus in percent: cased, of detokenised text."""

    name: str
    score: float
    signature: str


class Comparison(NamedTuple):
    """How likely a system would differ so much from another if both were as good."""

    test: str
    name: str  # of the measure
    p_value: float
    signature: str


class Bin(NamedTuple):
    """The sentences whose sources have at least `start` words, and fewer than `stop`."""

    start: int
    stop: int | None
    num_sentences: int
    bleu: float

    @property
    def label(self) -> str:
        """Names the lengths: "10-19", "50+"."""
        return f"{self.start}+" if self.stop is None else f"{self.start}-{self.stop - 1}"


def metrics(language: str = "") -> dict[str, Any]:
    """Makes BLEU (Papineni et al. 2002; Post 2018), chrF2 (Popović 2015), TER (Snover et al. 2006).

    Args:
      language: of the text, as a code: Chinese, Japanese and Korean (zh or zh-CN, ja, ko) have
        tokenizers of their own.

    Raises:
      InputError: the language's tokenizer is not installed.
    """
    language = re.split("[-_]", language)[0].lower()
    asian = language in ("zh", "ja", "ko")
    try:
        bleu = BLEU(trg_lang=language)
    except (ImportError, RuntimeError) as error:
        raise InputError(f"BLEU of {language!r}: {error}") from None
    ter = TER(normalized=asian, asian_support=asian, case_sensitive=True)
    return {"BLEU": bleu, "chrF2": CHRF(), "TER": ter}


def corpus_scores(
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str = "",
    names: Sequence[str] = ("BLEU", "chrF2"),
) -> list[Measure]:
    """Measures a corpus.

    Args:
      hypotheses: translations, detokenised.
      references: as many.
      language: as in `metrics`.
      names: of the measures, as in `metrics`.

    Raises:
      InputError: the language's tokenizer is not installed.
    """
    chosen = metrics(language)
    found = []
    for name in names:
        score = chosen[name].corpus_score(list(hypotheses), [list(references)]).score
        found.append(Measure(name, score, f"{name}|{chosen[name].get_signature()}"))
    return found


def compare(
    hypotheses: Sequence[str],
    baseline: Sequence[str],
    references: Sequence[str],
    language: str = "",
) -> list[Comparison]:
    """Tests whether a system and a baseline differ.

    By paired bootstrap resampling (Koehn 2004; 1,000 samples) and by approximate randomisation
    (Riezler and Maxwell 2005; 10,000 trials), both sacreBLEU's.

    Args:
      hypotheses: as in `corpus_scores`.
      baseline: as many translations, of another system.
      references: as in `corpus_scores`.
      language: as in `metrics`.

    Returns:
      A comparison for each test and measure. Its probability is 1 where both systems have the same
      score, for which sacreBLEU, that counts what differs by more, gives the least there is.
    """
    systems: list[tuple[str, Sequence[str]]] = [("baseline", baseline), ("system", hypotheses)]
    found = []
    for test, kind in (("paired bootstrap", "bs"), ("approximate randomisation", "ar")):
        paired = PairedTest(systems, metrics(language), [list(references)], kind)
        signatures, results = paired()
        for name, signature in signatures.items():
            of_baseline, of_system = cast("list[Any]", results[name])
            p_value = 1.0 if of_system.score == of_baseline.score else of_system.p_value
            found.append(Comparison(test, name, float(p_value), f"{name}|{signature}"))
    return found


def bleu_by_length(
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str = "",
) -> list[Bin]:
    """Measures BLEU of short and long sentences apart: bins of `LENGTHS` words of the source.

    Args:
      sources: as many as hypotheses.
      hypotheses: as in `corpus_scores`.
      references: as in `corpus_scores`.
      language: as in `metrics`.

    Returns:
      The bins that have a sentence.
    """
    lengths = [len(source.split()) for source in sources]
    bins = []
    for start, stop in zip((0, *LENGTHS), (*LENGTHS, None), strict=True):
        numbers = [n for n, x in enumerate(lengths) if start <= x and (stop is None or x < stop)]
        if numbers:
            own, gold = ([lines[n] for n in numbers] for lines in (hypotheses, references))
            (bleu,) = corpus_scores(own, gold, language, ["BLEU"])
            bins.append(Bin(start, stop, len(numbers), bleu.score))
    return bins


UTILITIES: Mapping[str, Callable[[], Any]] = {
    "bleu": lambda: BLEU(effective_order=True),
    "chrf": CHRF,
}
"""Measures of single sentences, which minimum Bayes risk can use."""


def sentence_scores(utility: str, hypotheses: Sequence[str]) -> list[list[float]]:
    """Measures each sentence with each one as its reference, in percent.

    Args:
      utility: a key of `UTILITIES`.
      hypotheses: sentences.

    Raises:
      ValueError: the utility is none.
    """
    if utility not in UTILITIES:
        raise ValueError(f"utility is {utility!r}; expected one of {tuple(UTILITIES)}")
    metric = UTILITIES[utility]()
    return [
        [metric.sentence_score(hypothesis, [reference]).score for reference in hypotheses]
        for hypothesis in hypotheses
    ]
