"""SentencePiece: train, save, encode, decode, and the special ids.

SentencePiece (Kudo and Richardson 2018) with the unigram model (Kudo 2018) and byte fallback, so
that every text has ids and no id sequence is without text.
"""

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import sentencepiece

from nmt.config import InputError, TokenizerConfig

_SPECIAL: dict[str, Any] = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
NUM_BEST = 16
"""Segmentations that sampling draws from: l in Kudo 2018, who takes 64 in four times the time."""

MOST_LINES = 2_000_000
"""Lines a side that a vocabulary is trained on: of more, as many are taken at even distances."""

COVERAGE = 0.99999
"""Share of the characters of a text that become pieces; those that are rarer become bytes."""

FREQUENT = 10
"""Occurrences of a word that may become a piece whatever stands behind it."""

LONGEST_LINE = 4096
"""Characters of the longest line that a vocabulary is trained on: longer ones are no sentences."""

_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_EDGES = re.compile(r"^\W+|\W+$")  # punctuation around a word


def clean(text: str) -> str:
    """Replaces what is not text by spaces: control characters, line separators, byte-order marks.

    What cleaned text becomes is one line. Lone surrogates, which UTF-8 cannot hold, become U+FFFD.
    """
    return _SURROGATES.sub("\ufffd", _NOT_TEXT.sub(" ", text))


class Tokenizer:
    """One vocabulary for both languages, or one each.

    Attributes:
      source: the SentencePiece processor of the source language.
      target: that of the target language; the same object when the vocabulary is shared.
      pad_id: fills rows.
      bos_id: begins the decoder's input.
      eos_id: ends every encoded sentence.
      unk_id: stands for what the vocabulary lacks; with byte fallback, never produced.
    """

    def __init__(self, models: Sequence[bytes]) -> None:
        """Takes one serialised SentencePiece model, or two: source and target."""
        try:
            processors = [sentencepiece.SentencePieceProcessor(model_proto=m) for m in models]
        except RuntimeError as error:
            raise InputError(f"not a SentencePiece model: {error}") from None
        self._models = tuple(models)
        self.source, self.target = processors[0], processors[-1]
        ids = [{name: getattr(p, name)() for name in _SPECIAL} for p in processors]
        if min(ids[0].values()) < 0 or ids[0] != ids[-1]:
            raise InputError(f"special ids {ids}: expected four, the same on both sides")
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = ids[0].values()

    @property
    def shared(self) -> bool:
        """Whether both languages have one vocabulary."""
        return self.source is self.target

    @property
    def vocab_sizes(self) -> tuple[int, int]:
        """Pieces of the source and of the target vocabulary, special ids counted."""
        return self.source.get_piece_size(), self.target.get_piece_size()

    def encode_source(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes source sentences, each ended by the end id."""
        return self._encode(self.source, texts)

    def encode_target(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes target sentences, each ended by the end id."""
        return self._encode(self.target, texts)

    def sample_source(self, text: str, alpha: float, uniform: float) -> list[int]:
        """Draws one segmentation of a source sentence, ended by the end id.

        The `NUM_BEST` likeliest segmentations are drawn from with probability ∝ P(x)^α (Kudo 2018,
        section 3.2). SentencePiece's own sampling has a generator that differs between processes;
        this is a function of its arguments.

        Args:
          text: a sentence.
          alpha: smoothness; the smaller, the more even the draw.
          uniform: a number in [0, 1) that decides.
        """
        return self._sample(self.source, text, alpha, uniform)

    def sample_target(self, text: str, alpha: float, uniform: float) -> list[int]:
        """Draws one segmentation of a target sentence; see `sample_source`."""
        return self._sample(self.target, text, alpha, uniform)

    def decode(self, ids: Iterable[int]) -> str:
        """Turns target ids into one line of text; special ids vanish."""
        return clean(self.target.decode(list(map(int, ids)))).strip()

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Looks up target pieces."""
        return self.target.piece_to_id(list(pieces))

    def source_starts(self, text: str) -> list[int]:
        """Returns where each piece of a source sentence begins, in bytes of its cleaned text."""
        return _starts(self.source.encode(clean(text), return_type="proto"))

    def target_starts(self, text: str) -> list[int]:
        """Returns where each piece of a target sentence begins, in bytes of its cleaned text."""
        return _starts(self.target.encode(clean(text), return_type="proto"))

    def decoded_starts(self, ids: Sequence[int]) -> tuple[str, list[int]]:
        """Returns the text of target ids, not yet cleaned, and where in it each piece begins."""
        decoded = self.target.decode(list(ids), return_type="proto")
        return decoded.text, _starts(decoded)

    def to_bytes(self) -> bytes:
        """Serialises: a shared vocabulary as SentencePiece's own file, two as a zip of such."""
        if self.shared:
            return self._models[0]
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for side, model in zip(("source", "target"), self._models, strict=True):
                archive.writestr(zipfile.ZipInfo(f"{side}.model"), model)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Tokenizer":
        """Reads what `to_bytes` wrote.

        Raises:
          InputError: the bytes are not SentencePiece models.
        """
        if not data.startswith(b"PK"):
            return cls([data])
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [archive.getinfo(f"{side}.model") for side in ("source", "target")]
                if any(member.file_size > len(data) for member in members):
                    raise ValueError("larger inside than outside")
                models = [archive.read(member) for member in members]
        except Exception as error:  # of many kinds, for a zip may be damaged in many ways
            raise InputError(f"not a zip of source.model and target.model: {error}") from None
        return cls(models)

    def _encode(
        self, processor: sentencepiece.SentencePieceProcessor, texts: Sequence[str]
    ) -> list[list[int]]:
        cleaned = [clean(text) for text in texts]
        if len(texts) == 1:  # threads would take ten times as long as the text
            return [[*processor.encode(cleaned[0]), self.eos_id]]
        return [[*ids, self.eos_id] for ids in processor.encode(cleaned, num_threads=-1)]

    def _sample(
        self,
        processor: sentencepiece.SentencePieceProcessor,
        text: str,
        alpha: float,
        uniform: float,
    ) -> list[int]:
        best = processor.nbest_encode(clean(text), nbest_size=NUM_BEST, out_type="proto")
        scores = np.array([segmentation.score for segmentation in best.nbests])
        cumulated = np.cumsum(np.exp(alpha * (scores - scores[0])))
        drawn = best.nbests[int(np.searchsorted(cumulated, uniform * cumulated[-1], side="right"))]
        return [*(piece.id for piece in drawn.pieces), self.eos_id]


def _starts(text: Any) -> list[int]:
    return [piece.begin for piece in text.pieces]


def train(config: TokenizerConfig, source: Sequence[str], target: Sequence[str]) -> Tokenizer:
    """Trains the vocabulary, or the two vocabularies, of a training corpus.

    Data that cannot fill `vocab_size` gets a smaller vocabulary.

    Raises:
      InputError: `vocab_size` is too small for the characters of the data.
    """
    sides = [side[:: -(-len(side) // MOST_LINES) or 1] for side in (source, target)]
    if config.shared:
        return Tokenizer([_train(config, chain(*sides))])
    return Tokenizer([_train(config, side) for side in sides])


def _train(config: TokenizerConfig, texts: Iterable[str]) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_sentences(texts),
            model_writer=model,
            vocab_size=config.vocab_size,
            hard_vocab_limit=False,
            byte_fallback=True,
            character_coverage=COVERAGE,
            max_sentence_length=2**30,  # the default leaves longer lines out without a word
            minloglevel=2,
            **_SPECIAL,
        )
    except RuntimeError as error:
        needed = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
        if needed is None:
            reason = str(error).rpartition("] ")[2].strip() or "no usable text"
            raise InputError(f"no vocabulary can be trained on this data: {reason}") from None
        raise InputError(
            f"tokenizer.vocab_size is {config.vocab_size}; the special ids, bytes and characters "
            f"of this training data alone take {needed[1]}: give a larger one"
        ) from None
    return model.getvalue()


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    """Yields cleaned texts, and each frequent word twice more: alone, and before a comma.

    SentencePiece's candidates for pieces are strings that occur in two different words, where a
    word is whatever stands between spaces (its issue 967). "that", if there is only "that" and no
    "that,", is none, nor is "Yesterday" if there is only "Yesterday,": they would be cut up however
    frequent they are.
    """
    words: Counter[str] = Counter()
    for text in texts:
        if len(text) <= LONGEST_LINE:
            cleaned = clean(text)
            words.update(_EDGES.sub("", word) for word in cleaned.split())
            yield cleaned
    yield from (f"{word} {word}," for word, count in words.items() if count >= FREQUENT and word)
