"""Measures of translations against references: sacreBLEU's, with its signatures."""

from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics import BLEU, CHRF

from nmt.config import InputError


class Scores(NamedTuple):
    """Corpus measures in percent: cased, of detokenised text."""

    bleu: float
    chrf: float
    signature: str


def corpus_scores(
    hypotheses: Sequence[str], references: Sequence[str], language: str = ""
) -> Scores:
    """Computes BLEU (Papineni et al. 2002; Post 2018) and chrF2 (Popović 2015) of a corpus.

    Args:
      hypotheses: translations, detokenised.
      references: as many.
      language: of both, as a code: Chinese, Japanese and Korean have tokenizers of their own.

    Raises:
      InputError: the language's tokenizer is not installed.
    """
    try:
        metrics = BLEU(trg_lang=language), CHRF()
    except (ImportError, RuntimeError) as error:
        raise InputError(f"BLEU of {language!r}: {error}") from None
    scores = [metric.corpus_score(list(hypotheses), [list(references)]) for metric in metrics]
    signatures = [
        f"{score.name}|{metric.get_signature()}"
        for score, metric in zip(scores, metrics, strict=True)
    ]
    return Scores(scores[0].score, scores[1].score, " ".join(signatures))
