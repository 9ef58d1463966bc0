"""Where a model looks while it translates."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from nmt.decoding.alignment import merge_words, whitespace_words
from nmt.decoding.translator import Translator


class WordAttention(NamedTuple):
    """The attention of a translation's words to the words of its source."""

    weights: Float[np.ndarray, "T S"]  # rows sum to 1
    source: list[str]
    target: list[str]


def cross_attention(translator: Translator, sentence: str) -> WordAttention:
    """Translates a sentence and returns where each word looked: the mean over layers and heads.

    The weights come from one teacher-forced pass over the translation. The end of the sentence
    counts as a word on both sides.
    """
    (translation,) = translator.translate([sentence], attention=True)
    looks = translation.attention
    assert looks is not None
    end = translator.tokenizer.target.id_to_piece(translator.tokenizer.eos_id)
    owners = (np.append(own, n) for own, n in zip(looks[1:3], looks.num_words, strict=True))
    texts = sentence, translation.text
    source, target = (
        [*(text[slice(*span)] for span in whitespace_words(text)), end] for text in texts
    )
    return WordAttention(merge_words(looks.weights.mean((0, 1)), *owners), source, target)
