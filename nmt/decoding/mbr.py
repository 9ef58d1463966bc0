"""Minimum Bayes risk: of many translations, the one that agrees most with the others."""

import numpy as np

from nmt.decoding.translation import Translation
from nmt.evaluation.metrics import sentence_scores


def minimum_bayes_risk(
    translation: Translation, utility: str = "chrf", *, sampled: bool
) -> Translation:
    """Reorders a translation and its alternatives by expected utility (Kumar and Byrne 2004).

    The expectation is over the same hypotheses (Eikema and Aziz 2020): samples count the same each,
    those of a beam by their probability, normalised over the beam.

    Args:
      translation: of n best, or of samples.
      utility: "chrf" or "bleu", of a sentence.
      sampled: whether the hypotheses are samples.

    Returns:
      The hypothesis of most utility, the others behind it, best first; of equals the first. Their
      scores stay those of the model. An alignment or attention, which is of the first hypothesis
      alone, is left out if that is another now.
    """
    hypotheses = [translation, *translation.alternatives]
    log_probs = np.array([sum(hypothesis.token_log_probs) for hypothesis in hypotheses])
    weights = np.ones(len(log_probs)) if sampled else np.exp(log_probs - log_probs.max())
    # The same text is measured once.
    texts = list(dict.fromkeys(hypothesis.text for hypothesis in hypotheses))
    places = [texts.index(hypothesis.text) for hypothesis in hypotheses]
    scores = np.array(sentence_scores(utility, texts))[np.ix_(places, places)]
    order = np.argsort(-(scores @ weights), kind="stable")
    best, *others = (hypotheses[n]._replace(alternatives=()) for n in order)
    return best._replace(alternatives=tuple(others), overlong=translation.overlong)
