"""Which sentences are translated together, and in which shape: a function of each one alone."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from nmt import parallel
from nmt.config import EXTRA_TARGET_LENGTH, DecodingConfig, SearchOptions
from nmt.data.batching import bucket_length
from nmt.decoding.decoder import Phrases
from nmt.decoding.rules import NO_PIECE

QUEUE = 16
"""Sentences, for each row of a search, that wait for one to become free: the more, the shorter a
time, in all, in which fewer are left than rows."""

ROWS = 8
"""Rows of a batch that has more are a multiple of so many."""

MAX_PHRASES, MAX_PHRASE_LENGTH = 16, 16
"""Phrases that a translation may be asked to contain or not to, and pieces of one of them."""

MAX_WAYS = 2 * MAX_PHRASES
"""Ways in which forbidden phrases may be cut: their own, and those in which they came back."""


class Request(NamedTuple):
    """A sentence and what is asked of its translation, as ids."""

    source: list[int]
    prefix: Sequence[int] = ()
    forbidden: tuple[Sequence[int], ...] = ()
    required: tuple[Sequence[int], ...] = ()
    max_length: int = 0  # pieces of its translation, the end counted


class Batch(NamedTuple):
    """Sentences that are given to a function together, filled up with empty rows."""

    rows: list[tuple[int, int]]  # a row, and the number of the sentence in it
    source: Int[np.ndarray, "B S"]
    phrases: Phrases
    num_rows: int  # computed at once on a device


def shapes(decoding: DecodingConfig, options: SearchOptions) -> list[tuple[int, int]]:
    """The (rows, source length) of every bucket: all shapes that translating may compile."""
    lengths = range(options.bucket, decoding.max_source_length + 1)
    buckets = sorted({_bucket(length, decoding) for length in lengths})
    return [(_num_rows(length, decoding, options), length) for length in buckets]


def largest(shapes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Picks the shapes of which one needs the most memory, whatever it is that grows.

    The longest, for attention weights; the shortest, whose rows are the most, for logits; and the
    one with the most positions, for the caches. Mostly two of them are one.
    """
    positions = [rows * (length + EXTRA_TARGET_LENGTH) for rows, length in shapes]
    most = shapes[positions.index(max(positions))]
    return list(dict.fromkeys((shapes[-1], shapes[0], most)))


def bucket(request: Request, decoding: DecodingConfig, options: SearchOptions) -> int:
    """Finds the source length of the shape in which a sentence and its translation have room."""
    target = max(request.max_length, len(request.prefix))
    return _bucket(max(len(request.source), target - EXTRA_TARGET_LENGTH, options.bucket), decoding)


def is_blank(request: Request) -> bool:
    """Tells whether nothing is to be computed: the source has no piece, nor has a prefix."""
    return len(request.source) <= 1 and not request.prefix


def kind(request: Request) -> int:
    """Tells what is asked: nothing, 0; prefix or forbidden phrases, 1; required ones too, 2.

    A search of each kind is compiled, if it is met.
    """
    return 2 if request.required else int(bool(request.prefix or request.forbidden))


def kinds(
    requests: Sequence[Request], decoding: DecodingConfig, options: SearchOptions
) -> list[tuple[tuple[int, int], int]]:
    """Lists the shapes that sentences need, each with the `kind` of what they ask, in order."""
    needed = {
        (bucket(request, decoding, options), kind(request))
        for request in requests
        if not is_blank(request)
    }
    return [
        ((_num_rows(length, decoding, options), length), asks) for length, asks in sorted(needed)
    ]


def batches(
    requests: Sequence[Request],
    decoding: DecodingConfig,
    options: SearchOptions,
    pad_id: int,
    *,
    queue: int = 1,
) -> Iterator[Batch]:
    """Puts together sentences of one bucket that are asked for the same kinds of things.

    Blank sentences are in none. Batches of one bucket, and devices, get equally many, the longest
    first.

    Args:
      requests: the sentences.
      decoding: of the run.
      options: of the call.
      pad_id: fills up the source.
      queue: how many times as many sentences as `shapes` says.
    """
    members: dict[tuple[int, int], list[int]] = {}
    for number, request in enumerate(requests):
        if not is_blank(request):
            key = bucket(request, decoding, options), kind(request)
            members.setdefault(key, []).append(number)
    for (length, asks), numbers in sorted(members.items()):
        numbers.sort(key=lambda number: -len(requests[number].source))
        at_once, devices = _num_rows(length, decoding, options), parallel.num_local_devices()
        num_rows = queue * at_once
        order = np.arange(num_rows).reshape(devices, -1).T.ravel().tolist()
        # Where some have to wait for others, all programs that run beside each other take a part.
        parts = max(
            math.ceil(len(numbers) / num_rows),
            min(math.ceil(len(numbers) / at_once), parallel.num_programs()),
        )
        for part in range(parts):
            rows = list(zip(order, numbers[part::parts], strict=False))
            yield _batch(requests, rows, (at_once, length), asks, pad_id, queue)


def empty(shape: tuple[int, int], asks: int, pad_id: int, queue: int = 1) -> Batch:
    """Makes a batch of no sentence that compiles what those of a kind need.

    Args:
      shape: one of `shapes`.
      asks: the `kind`.
      pad_id: fills the source.
      queue: as in `batches`.
    """
    return _batch((), [], shape, asks, pad_id, queue)


def _batch(
    requests: Sequence[Request],
    rows: list[tuple[int, int]],
    shape: tuple[int, int],
    asks: int,
    pad_id: int,
    queue: int,
) -> Batch:
    """Writes sentences, and what is asked of a kind, into rows; the others are empty."""
    at_once, length = shape
    num_rows = queue * at_once
    source = np.full((num_rows, length), pad_id, np.int32)
    most = (
        (1, length + EXTRA_TARGET_LENGTH),
        (MAX_WAYS, MAX_PHRASE_LENGTH),
        (MAX_PHRASES, MAX_PHRASE_LENGTH),
    )
    told: list[Any] = [
        np.full((num_rows, *size), NO_PIECE, np.int32) for size in most[: (0, 2, 3)[asks]]
    ]
    for row, number in rows:
        request = requests[number]
        source[row, : len(request.source)] = request.source
        asked = (request.prefix,), request.forbidden, request.required
        for array, phrases in zip(told, asked, strict=False):
            for place, phrase in enumerate(phrases):
                array[row, place, : len(phrase)] = phrase
    if told:
        told[0] = told[0][:, 0]
    return Batch(rows, source, Phrases(*told), at_once // parallel.num_local_devices())


def _bucket(length: int, decoding: DecodingConfig) -> int:
    return min(bucket_length(length), decoding.max_source_length)


def _num_rows(length: int, decoding: DecodingConfig, options: SearchOptions) -> int:
    # Fewer hypotheses take no more rows: what they gained in a step is lost while the last
    # sentences of a queue leave most of the rows empty (on CPU, a quarter of the time).
    asked = options.samples or options.beam_size or decoding.beam_size
    num_hypotheses = max(asked, decoding.beam_size)
    rows = decoding.batch_tokens // (num_hypotheses * (length + EXTRA_TARGET_LENGTH))
    if rows > ROWS:  # products of 31 rows take as long as of 32, if not longer
        rows = ROWS * round(rows / ROWS)
    return parallel.num_local_devices() * (1 if options.one_row else max(1, rows))
