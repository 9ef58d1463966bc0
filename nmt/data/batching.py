"""Ragged sequences of ids become arrays of fixed shape: pure NumPy, no knowledge of text."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

Ids = Int[np.ndarray, "..."]


class Ragged(NamedTuple):
    """Sequences of different length, laid end to end."""

    ids: Int[np.ndarray, " total"]
    lengths: Int[np.ndarray, " N"]


class Batch(NamedTuple):
    """Rows of sentence pairs for a model.

    Several pairs may share a row. Segments number them from 1, alike on both sides; segment 0 is
    padding. Positions count from 0 in each sentence. Labels are `decoder_input` one place on.
    """

    source: Int[np.ndarray, "*B S"]
    source_segments: Int[np.ndarray, "*B S"]
    source_positions: Int[np.ndarray, "*B S"]
    decoder_input: Int[np.ndarray, "*B T"]
    labels: Int[np.ndarray, "*B T"]
    target_segments: Int[np.ndarray, "*B T"]
    target_positions: Int[np.ndarray, "*B T"]


def ragged(sequences: Iterable[Sequence[int]]) -> Ragged:
    """Joins lists of ids."""
    sequences = list(sequences)
    lengths = np.fromiter(map(len, sequences), np.int32, len(sequences))
    return Ragged(np.fromiter(chain.from_iterable(sequences), np.int32, lengths.sum()), lengths)


def select(sequences: Ragged, index: Int[np.ndarray, " M"]) -> Ragged:
    """Returns the sequences at the given places, in that order."""
    starts = np.cumsum(sequences.lengths) - sequences.lengths
    lengths = sequences.lengths[index]
    return Ragged(sequences.ids[np.repeat(starts[index], lengths) + _within(lengths)], lengths)


def first_fit_decreasing(
    source_lengths: Int[np.ndarray, " N"],
    target_lengths: Int[np.ndarray, " N"],
    source_capacity: int,
    target_capacity: int,
) -> Int[np.ndarray, " N"]:
    """Assigns each pair, the longest first, to the first row with room on both sides.

    Args:
      source_lengths: at most `source_capacity` each.
      target_lengths: at most `target_capacity` each.
      source_capacity: places in a row, source side.
      target_capacity: places in a row, target side.

    Returns:
      The row of each pair; rows are numbered from 0 without gaps. (Johnson 1973 bounds the number
      of rows for one side; with two the fill is measured in `benchmarks/packing.py`.)
    """
    share = np.maximum(source_lengths / source_capacity, target_lengths / target_capacity)
    order = np.argsort(-share, kind="stable")
    free_source = np.full(len(order), source_capacity, np.int32)
    free_target = np.full(len(order), target_capacity, np.int32)
    rows = np.empty(len(order), np.int64)
    num_rows = 0
    for pair, source, target in zip(
        order.tolist(), source_lengths[order].tolist(), target_lengths[order].tolist(), strict=True
    ):
        seen = slice(num_rows + 1)  # the last of these is empty: there is always room
        row = int(((free_source[seen] >= source) & (free_target[seen] >= target)).argmax())
        free_source[row] -= source
        free_target[row] -= target
        rows[pair] = row
        num_rows = max(num_rows, row + 1)
    return rows


def pack(
    sources: Ragged,
    targets: Ragged,
    source_length: int,
    target_length: int,
    *,
    pad_id: int,
    bos_id: int,
) -> Batch:
    """Packs pairs into as few rows as first-fit finds.

    Args:
      sources: ids, the end id last.
      targets: ids, the end id last; as many as sources.
      source_length: S, width of a row; no source is longer.
      target_length: T, width of a row; no target is longer.
      pad_id: fills the empty places.
      bos_id: begins each target in `decoder_input`.
    """
    rows = first_fit_decreasing(sources.lengths, targets.lengths, source_length, target_length)
    return _place(sources, targets, rows, source_length, target_length, pad_id, bos_id)


def bucket_length(length: int) -> int:
    """The smallest bucket that holds a sequence: 16, doubled as often as needed."""
    return 16 << ((length - 1) // 16).bit_length()


def bucket_shapes(
    source_length: int, target_length: int, batch_tokens: int, *, fine: bool = False
) -> dict[int, tuple[int, int, int]]:
    """Returns the (rows, S, T) of the batches of each bucket, the shortest first.

    Args:
      source_length: the longest source, which bounds S.
      target_length: the longest target, which bounds T.
      batch_tokens: target positions of a batch, if a row leaves the choice.
      fine: buckets of 8, 12, 16, 24, 32, 48, … in place of 16, 32, 64, …: less padding for more
        shapes.
    """
    shapes: dict[int, tuple[int, int, int]] = {}
    longest = max(source_length, target_length)
    for length in (
        n << k for k in range(longest.bit_length()) for n in ((8, 12) if fine else (16,))
    ):
        width = min(length, target_length)
        shapes[length] = max(1, batch_tokens // width), min(length, source_length), width
        if length >= longest:
            break
    return shapes


def bucket(
    sources: Ragged,
    targets: Ragged,
    source_length: int,
    target_length: int,
    batch_tokens: int,
    *,
    pad_id: int,
    bos_id: int,
    fine: bool = False,
) -> Iterator[Batch]:
    """Sorts pairs into batches of one pair a row, all rows of a batch of similar length.

    The longest come first. Where a bucket leaves rows of its last batch free, pairs of the next
    take them: only the last batch of all is filled up with empty rows.

    Args:
      sources: ids, the end id last.
      targets: ids, the end id last; as many as sources.
      source_length: no source is longer.
      target_length: no target is longer.
      batch_tokens: target positions of a batch; see `bucket_shapes`.
      pad_id: fills the empty places.
      bos_id: begins each target in `decoder_input`.
      fine: see `bucket_shapes`.
    """
    shapes = bucket_shapes(source_length, target_length, batch_tokens, fine=fine)
    lengths = np.array([*shapes])
    buckets = lengths[np.searchsorted(lengths, np.maximum(sources.lengths, targets.lengths))]
    order = np.argsort(-buckets, kind="stable")
    while len(order):
        num_rows, source_width, target_width = shapes[int(buckets[order[0]])]
        index, order = order[:num_rows], order[num_rows:]
        pairs = select(sources, index), select(targets, index)
        rows = np.arange(len(index))
        batch = _place(*pairs, rows, source_width, target_width, pad_id, bos_id)
        yield fill_rows(batch, num_rows, pad_id)


def fill_rows(batch: Batch, num_rows: int, pad_id: int) -> Batch:
    """Appends empty rows until there are `num_rows`."""

    def fill(x: Ids, value: int) -> Ids:
        return np.pad(x, ((0, num_rows - len(x)), (0, 0)), constant_values=value)

    ids = {"source", "decoder_input", "labels"}
    return Batch(
        **{name: fill(x, pad_id if name in ids else 0) for name, x in batch._asdict().items()}
    )


def _place(
    sources: Ragged,
    targets: Ragged,
    rows: Int[np.ndarray, " N"],
    source_length: int,
    target_length: int,
    pad_id: int,
    bos_id: int,
) -> Batch:
    """Writes each pair into its row, behind the pairs that stand there already."""
    order = np.argsort(rows, kind="stable")
    num_rows = int(rows.max(initial=-1)) + 1
    first = np.searchsorted(rows[order], np.arange(num_rows))[rows[order]]  # of the pair's row
    segments = np.empty_like(rows)
    segments[order] = np.arange(len(rows)) - first + 1

    def side(sequences: Ragged, width: int) -> tuple[Ids, Ids, Ids, Ids]:
        ids, lengths = sequences
        before = np.cumsum(lengths[order]) - lengths[order]
        columns = np.empty_like(rows)
        columns[order] = before - before[first]
        positions = _within(lengths)
        places = np.repeat(rows * width + columns, lengths) + positions

        def write(values: Ids, empty: int) -> Ids:
            out = np.full(num_rows * width, empty, np.int32)
            out[places] = values
            return out.reshape(num_rows, width)

        return (
            write(ids, pad_id),
            write(np.repeat(segments, lengths), 0),
            write(positions, 0),
            write(np.where(positions == 0, bos_id, np.roll(ids, 1)), pad_id),
        )

    source, source_segments, source_positions, _ = side(sources, source_length)
    labels, target_segments, target_positions, decoder_input = side(targets, target_length)
    return Batch(
        source,
        source_segments,
        source_positions,
        decoder_input,
        labels,
        target_segments,
        target_positions,
    )


def _within(lengths: Int[np.ndarray, " N"]) -> Ids:
    """Counts from 0 within each of the sequences that lie end to end."""
    starts = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) - np.repeat(starts, lengths)
