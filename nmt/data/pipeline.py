"""From sentence pairs to training batches: shuffle, tokenize, pack, deal.

The order is one global sequence of rows, a function of (seed, epoch, window) alone: the epoch is
shuffled, a window of pairs is tokenized and packed, its rows are shuffled, and batches are cut from
the rows of window after window, epoch after epoch. So a position is three integers, and is the same
on any number of hosts and devices.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import grain
import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from nmt.config import Config, DataConfig, InputError
from nmt.data.batching import Batch, Ragged, bucket, pack, ragged, select
from nmt.data.corpora import Corpus
from nmt.data.tokenizer import Tokenizer

WINDOW = 8192
"""Pairs shuffled, tokenized and packed together; part of the definition of the order."""


class Position(NamedTuple):
    """Where a batch begins: after `row` rows of a window of an epoch."""

    epoch: int = 0
    window: int = 0
    row: int = 0


class TrainBatches(grain.DatasetIterator[Batch]):
    """Endless batches of packed rows; its state is the position of the next one."""

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, config: Config) -> None:
        super().__init__()
        self._corpus, self._tokenizer, self._config = corpus, tokenizer, config
        self._position = Position()
        self._packed: tuple[tuple[int, int], Batch] | None = None  # the window in use

    def __next__(self) -> Batch:
        parts = []
        missing = self._config.training.batch_tokens // self._config.data.max_target_length
        while True:
            epoch, window, row = self._position
            part = _rows(self._window(epoch, window), slice(row, row + missing))
            parts.append(part)
            missing -= len(part.source)
            if not missing:
                self._position = Position(epoch, window, row + len(part.source))
                return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
            last = (window + 1) * WINDOW >= len(self._corpus.source)
            self._position = Position(epoch + 1) if last else Position(epoch, window + 1)

    def get_state(self) -> dict[str, int]:
        """Returns the position of the next batch."""
        return self._position._asdict()

    def set_state(self, state: dict[str, int]) -> None:
        """Goes to a position."""
        self._position = Position(**state)

    def _window(self, epoch: int, window: int) -> Batch:
        if self._packed is None or self._packed[0] != (epoch, window):
            rows = pack_window(self._corpus, self._tokenizer, self._config, epoch, window)
            self._packed = (epoch, window), rows
        return self._packed[1]


def pack_window(
    corpus: Corpus, tokenizer: Tokenizer, config: Config, epoch: int, window: int
) -> Batch:
    """Returns the rows of a window of an epoch, packed and shuffled."""
    data, alpha, seed = config.data, config.tokenizer.sampling_alpha, config.training.seed
    order = epoch_order(len(corpus.source), seed, epoch)
    texts = take(corpus, order[window * WINDOW : (window + 1) * WINDOW])
    sources, targets = encode(texts, tokenizer)
    index = np.flatnonzero(~np.any(list(unusable(sources, targets, data).values()), axis=0))
    sources, targets = select(sources, index), select(targets, index)
    random = np.random.default_rng((seed, epoch, 1 + window))  # a 0 would be the epoch's stream
    if alpha is not None:
        texts = take(texts, index)
        draws = random.random((2, len(index)))
        sample = partial(tokenizer.sample_source, alpha=alpha)
        sources = resample(sources, texts.source, sample, draws[0], data.max_source_length)
        sample = partial(tokenizer.sample_target, alpha=alpha)
        targets = resample(targets, texts.target, sample, draws[1], data.max_target_length)
    rows = pack(
        sources,
        targets,
        data.max_source_length,
        data.max_target_length,
        pad_id=tokenizer.pad_id,
        bos_id=tokenizer.bos_id,
    )
    return _rows(rows, random.permutation(len(rows.source)))


@lru_cache(maxsize=1)
def epoch_order(num_pairs: int, seed: int, epoch: int) -> Int[np.ndarray, " N"]:
    """Shuffles an epoch; kept, since each of its windows asks for it."""
    return np.random.default_rng((seed, epoch)).permutation(num_pairs)


def resample(
    likeliest: Ragged,
    texts: Sequence[str],
    sample: Callable[..., list[int]],
    uniforms: Float[np.ndarray, " N"],
    longest: int,
) -> Ragged:
    """Draws a segmentation of each text; one longer than `longest` gives way to the likeliest."""
    drawn = [sample(text, uniform=u) for text, u in zip(texts, uniforms.tolist(), strict=True)]
    ends = np.cumsum(likeliest.lengths).tolist()
    return ragged(
        new if len(new) <= longest else likeliest.ids[end - length : end].tolist()
        for new, end, length in zip(drawn, ends, likeliest.lengths.tolist(), strict=True)
    )


def take(corpus: Corpus, index: Int[np.ndarray, " N"]) -> Corpus:
    """Returns the pairs at the given places."""
    return Corpus(*([side[i] for i in index.tolist()] for side in corpus))


def encode(corpus: Corpus, tokenizer: Tokenizer) -> tuple[Ragged, Ragged]:
    """Tokenizes both sides in the likeliest way."""
    return (
        ragged(tokenizer.encode_source(corpus.source)),
        ragged(tokenizer.encode_target(corpus.target)),
    )


def unusable(
    sources: Ragged, targets: Ragged, data: DataConfig
) -> dict[str, Bool[np.ndarray, " N"]]:
    """Tells which pairs training leaves out, by reason; a pair has one reason at most."""
    empty = (sources.lengths == 1) | (targets.lengths == 1)  # the end id alone
    too_long = (sources.lengths > data.max_source_length) | (
        targets.lengths > data.max_target_length
    )
    return {"empty": empty, "too_long": too_long & ~empty}


def count_pairs(corpus: Corpus, tokenizer: Tokenizer, data: DataConfig) -> dict[str, int]:
    """Counts the pairs of a training corpus: all, and those left out by reason.

    Raises:
      InputError: none is left.
    """
    counts = Counter({"pairs": len(corpus.source), "empty": 0, "too_long": 0})
    for start in range(0, len(corpus.source), WINDOW):
        window = np.arange(start, min(start + WINDOW, len(corpus.source)))
        masks = unusable(*encode(take(corpus, window), tokenizer), data)
        counts.update({reason: int(mask.sum()) for reason, mask in masks.items()})
    if counts["pairs"] == counts["empty"] + counts["too_long"]:
        raise InputError(
            f"none of the {counts['pairs']} training pairs can be used: {counts['empty']} are "
            f"empty on one side, {counts['too_long']} longer than data.max_source_length "
            f"{data.max_source_length} or data.max_target_length {data.max_target_length}"
        )
    return dict(counts)


def eval_batches(
    corpus: Corpus, tokenizer: Tokenizer, batch_tokens: int, longest: int
) -> list[Batch]:
    """Buckets a corpus for teacher-forced evaluation, one pair a row.

    Nothing is left out; what is longer than `longest` pieces is cut there.
    """
    sources, targets = (_cut(side, longest) for side in encode(corpus, tokenizer))
    ids = {"pad_id": tokenizer.pad_id, "bos_id": tokenizer.bos_id}
    return list(bucket(sources, targets, batch_tokens, **ids))


def _cut(sequences: Ragged, longest: int) -> Ragged:
    ends = np.cumsum(sequences.lengths)
    within = np.arange(len(sequences.ids)) - np.repeat(ends - sequences.lengths, sequences.lengths)
    return Ragged(sequences.ids[within < longest], np.minimum(sequences.lengths, longest))


def _rows(batch: Batch, index: slice | Int[np.ndarray, " N"]) -> Batch:
    return jax.tree.map(lambda x: x[index], batch)
