"""From sentence pairs to training batches: shuffle, tokenize, pack or bucket, deal.

The order is one global sequence, a function of (seed, epoch, window) alone: the epoch is shuffled,
a window of pairs is tokenized and packed, its rows are shuffled, and batches are cut from the rows
of window after window, epoch after epoch. Where a model cannot take several pairs in a row, the
window is cut into batches of pairs of similar length instead, and these are shuffled. So a position
is three integers, and is the same on any number of hosts and devices.
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
from nmt.data.batching import Batch, Ragged, bucket, bucket_shapes, pack, ragged, select
from nmt.data.corpora import Corpus
from nmt.data.tokenizer import Tokenizer

WINDOW = 8192
"""Pairs tokenized and laid out together; part of the definition of the order."""


class Position(NamedTuple):
    """Where a batch begins: after `block` blocks of a window of an epoch.

    A block is a packed row, or a whole batch of one pair a row.
    """

    epoch: int = 0
    window: int = 0
    block: int = 0


class TrainBatches(grain.DatasetIterator[Batch]):
    """Endless batches; its state is the position of the next one.

    Args:
      corpus: the training pairs.
      tokenizer: of the run.
      config: of the run.
      packable: whether the model takes several pairs in a row.
    """

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, config: Config, packable: bool
    ) -> None:
        super().__init__()
        self._corpus, self._tokenizer, self._config = corpus, tokenizer, config
        self._packable = packable
        self._num_blocks = training_shapes(config, packable)[0][0] if packable else 1  # of a batch
        self._position = Position()
        self._in_use: tuple[tuple[int, int], list[Batch]] | None = None

    def __next__(self) -> Batch:
        blocks: list[Batch] = []
        while True:
            epoch, window, block = self._position
            end = block + self._num_blocks - len(blocks)
            blocks += self._window(epoch, window)[block:end]
            if len(blocks) == self._num_blocks:
                self._position = Position(epoch, window, end)
                return jax.tree.map(lambda *arrays: np.concatenate(arrays), *blocks)
            last = (window + 1) * WINDOW >= len(self._corpus.source)
            self._position = Position(epoch + 1) if last else Position(epoch, window + 1)

    def get_state(self) -> dict[str, int]:
        """Returns the position of the next batch."""
        return self._position._asdict()

    def set_state(self, state: dict[str, int]) -> None:
        """Goes to a position."""
        self._position = Position(**state)

    def _window(self, epoch: int, window: int) -> list[Batch]:
        if self._in_use is None or self._in_use[0] != (epoch, window):
            what = self._corpus, self._tokenizer, self._config, self._packable
            self._in_use = (epoch, window), window_blocks(*what, epoch, window)
        return self._in_use[1]


def training_shapes(config: Config, packable: bool) -> list[tuple[int, int, int]]:
    """Returns the (rows, S, T) of every batch that training may meet."""
    data, batch_tokens = config.data, config.training.batch_tokens
    lengths = data.max_source_length, data.max_target_length
    if packable:
        return [(batch_tokens // data.max_target_length, *lengths)]
    return list(bucket_shapes(*lengths, batch_tokens, fine=True).values())


def window_blocks(
    corpus: Corpus, tokenizer: Tokenizer, config: Config, packable: bool, epoch: int, window: int
) -> list[Batch]:
    """Lays out a window of an epoch: shuffled packed rows, or batches of one pair a row.

    Of the batches one is filled up with empty rows: with `WINDOW` pairs that is little, unless a
    batch takes thousands of them.
    """
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
    lengths = data.max_source_length, data.max_target_length
    ids = {"pad_id": tokenizer.pad_id, "bos_id": tokenizer.bos_id}
    if packable:
        rows = pack(sources, targets, *lengths, **ids)
        blocks = [Batch(*row) for row in zip(*(x[:, None] for x in rows), strict=True)]
    else:
        batch_tokens = config.training.batch_tokens
        blocks = list(bucket(sources, targets, *lengths, batch_tokens, **ids, fine=True))
    turns: list[int] = random.permutation(len(blocks)).tolist()
    if epoch == window == 0:  # a block of each shape first: one too large for the memory fails now
        first = {blocks[i].source.shape: i for i in reversed(turns)}.values()
        turns = [*first, *(i for i in turns if i not in first)]
    return [blocks[i] for i in turns]


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
    return list(bucket(sources, targets, longest, longest, batch_tokens, **ids))


def _cut(sequences: Ragged, longest: int) -> Ragged:
    ends = np.cumsum(sequences.lengths)
    within = np.arange(len(sequences.ids)) - np.repeat(ends - sequences.lengths, sequences.lengths)
    return Ragged(sequences.ids[within < longest], np.minimum(sequences.lengths, longest))
