"""Word alignments from cross-attention.

A target word is aligned to the source word that its pieces look at most. Which layer and which
heads say so best differs between models: where gold alignments exist they are chosen by the error
on dev, and kept in the run's folder.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from nmt.config import InputError, ModelConfig, digest
from nmt.data.tokenizer import clean
from nmt.evaluation.alignment import alignment_error_rate

Link = tuple[int, int]
"""A source word and a target word, counted from 0."""

Span = tuple[int, int]
"""The characters of a word: from the first to behind the last."""

ALIGNER = "alignment.json"
"""What a run's folder calls its `Aligner`."""


class Aligner(NamedTuple):
    """Which attention says what words are aligned."""

    layer: int
    head: int | None  # None is the mean of the layer's heads

    @classmethod
    def default(cls, config: ModelConfig) -> "Aligner | None":
        """Returns the mean of the heads of the layer before the last (Garg et al. 2019).

        https://aclanthology.org/D19-1453, section 4. None where there is no cross-attention.
        """
        num_layers, _ = config.num_cross_attentions
        return cls(max(0, num_layers - 2), None) if num_layers else None

    @classmethod
    def all(cls, num_layers: int, num_heads: int) -> Iterator["Aligner"]:
        """Yields all there are of a model."""
        for layer in range(num_layers):
            for head in (None, *range(num_heads)):
                yield cls(layer, head)

    def weights(self, attention: Float[np.ndarray, "L N T S"]) -> Float[np.ndarray, "T S"]:
        """Takes its own of the weights of all layers and heads."""
        heads = attention[self.layer]
        return heads.mean(0) if self.head is None else heads[self.head]


def to_json(aligner: Aligner) -> str:
    """Writes an aligner for a run's folder, with a digest: a changed digit may be another's."""
    return json.dumps({**aligner._asdict(), "sha256": digest(aligner)}) + "\n"


def read_aligner(workdir: Path, config: ModelConfig) -> Aligner | None:
    """Reads the aligner of a run, which is the default where none was chosen.

    Raises:
      InputError: the file is damaged, or was edited.
    """
    path = workdir / ALIGNER
    if not path.exists():
        return Aligner.default(config)
    try:
        fields = json.loads(path.read_text())
        found, written = Aligner(fields["layer"], fields["head"]), fields["sha256"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: {error}; expected layer, head and sha256") from None
    if written != digest(found):
        raise InputError(
            f"{path} is damaged, or was edited: it differs from its digest; delete it to align by "
            "the default"
        )
    # By how they are written, for True == 1.0 == 1.
    if repr(found) not in map(repr, Aligner.all(*config.num_cross_attentions)):
        layers, heads = config.num_cross_attentions
        raise InputError(f"{path}: {found} is not among {layers} layers of {heads} heads")
    return found


def whitespace_words(text: str) -> list[Span]:
    """Finds the words of a text: what stands between spaces, as Pharaoh's format counts them."""
    return [match.span() for match in re.finditer(r"\S+", clean(text))]


def owners(text: str, starts: Sequence[int], words: Sequence[Span]) -> Int[np.ndarray, " P"]:
    """Finds the word that each piece belongs to: the first one that ends behind its beginning.

    Args:
      text: in which the pieces lie.
      starts: where each piece begins, in bytes: at the space before a word, if it begins one.
      words: in order.

    Returns:
      Numbers of words; that of a piece behind all words is `len(words)`.
    """
    byte_of = np.cumsum([0, *(len(character.encode()) for character in text)])
    ends = byte_of[[end for _, end in words]]
    return np.searchsorted(ends, np.asarray(starts), side="right")


def merge_words(
    weights: Float[np.ndarray, "*B T S"],
    source: Int[np.ndarray, " S"],
    target: Int[np.ndarray, " T"],
) -> Float[np.ndarray, "*B T2 S2"]:
    """Merges the attention of pieces to that of words.

    A word is attended to as much as all its pieces together, and attends as its pieces do on
    average: rows that sum to 1 still do. A word without a piece has zeros.

    Args:
      weights: of T target pieces over S source pieces.
      source: the word of each source piece; the largest number is that of what is no word.
      target: the word of each target piece, likewise.
    """
    to_source = np.equal.outer(source, np.arange(source.max(initial=-1) + 1))
    to_target = np.equal.outer(np.arange(target.max(initial=-1) + 1), target)
    return (to_target / np.maximum(to_target.sum(1, keepdims=True), 1)) @ weights @ to_source


class PieceAttention(NamedTuple):
    """Where the pieces of a sentence's translation look, and the words that they belong to."""

    weights: Float[np.ndarray, "L N T S"]  # the end of both sides included
    source: Int[np.ndarray, " S-1"]
    target: Int[np.ndarray, " T-1"]
    num_words: tuple[int, int]


def align(attention: PieceAttention, aligner: Aligner) -> tuple[Link, ...]:
    """Aligns each target word to the source word that it looks at most, the end left out.

    A word that shares all its pieces with the word before it has no link.
    """
    weights = aligner.weights(attention.weights)[:-1, :-1]
    merged = merge_words(weights, attention.source, attention.target)
    merged = merged[: attention.num_words[1], : attention.num_words[0]]
    if not merged.size:
        return ()
    pairs = zip(merged.argmax(1).tolist(), range(len(merged)), strict=True)
    return tuple(sorted(pair for pair in pairs if merged[pair[1], pair[0]] > 0))


def choose_aligner(
    attentions: Sequence[PieceAttention],
    sure: Sequence[Collection[Link]],
    possible: Sequence[Collection[Link]],
) -> Aligner:
    """Chooses the aligner of least alignment error rate, the first of equals."""
    num_layers, num_heads = attentions[0].weights.shape[:2]
    return min(
        Aligner.all(num_layers, num_heads),
        key=lambda aligner: error_rate(attentions, aligner, sure, possible),
    )


def error_rate(
    attentions: Sequence[PieceAttention],
    aligner: Aligner,
    sure: Sequence[Collection[Link]],
    possible: Sequence[Collection[Link]] | None = None,
) -> float:
    """Computes the alignment error rate of what an aligner says; see `alignment_error_rate`."""
    found = [align(attention, aligner) for attention in attentions]
    return alignment_error_rate(found, sure, possible)


def pharaoh(alignment: Sequence[Link]) -> str:
    """Writes an alignment as `0-0 1-2`: source word, target word."""
    return " ".join(f"{source}-{target}" for source, target in alignment)


def parse_pharaoh(line: str) -> tuple[set[Link], set[Link]]:
    """Reads the sure links (`0-0`) and the possible ones (`0p0`) of a line.

    Raises:
      ValueError: a link is neither.
    """
    sure: set[Link] = set()
    possible: set[Link] = set()
    for field in line.split():
        match = re.fullmatch(r"(\d{1,9})([-p])(\d{1,9})", field)
        if not match:
            raise ValueError(f"{field[:40]!r} is no link; expected 0-0, or 0p0 for a possible one")
        (sure if match[2] == "-" else possible).add((int(match[1]), int(match[3])))
    return sure, possible
