"""From the pieces of a vocabulary to words: what attention says of words."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

WORD_START = "▁"


def words(pieces: Sequence[str]) -> list[str]:
    """Joins pieces to words; a piece that begins with "▁" begins a word."""
    numbers = word_numbers(pieces)
    joined = [""] * (int(numbers[-1]) + 1 if len(pieces) else 0)
    for number, piece in zip(numbers.tolist(), pieces, strict=True):
        joined[number] += piece.removeprefix(WORD_START)
    return joined


def word_numbers(pieces: Sequence[str]) -> Int[np.ndarray, " P"]:
    """Numbers the word that each piece belongs to, from 0."""
    starts = [number > 0 and piece.startswith(WORD_START) for number, piece in enumerate(pieces)]
    return np.cumsum(starts)


def merge_words(
    weights: Float[np.ndarray, "T S"], source: Sequence[str], target: Sequence[str]
) -> Float[np.ndarray, "T2 S2"]:
    """Merges the attention of pieces to that of words.

    A word is attended to as much as all its pieces together, and attends as its pieces do on
    average: the rows still sum to 1.

    Args:
      weights: of T target pieces over S source pieces.
      source: S pieces.
      target: T pieces.
    """
    source_words, target_words = word_numbers(source), word_numbers(target)
    to_source = np.equal.outer(source_words, np.arange(source_words.max() + 1))
    to_target = np.equal.outer(np.arange(target_words.max() + 1), target_words)
    return (to_target / to_target.sum(1, keepdims=True)) @ weights @ to_source
