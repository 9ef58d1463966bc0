"""Packing throughput and fill beside Grain's packer, on sentences tokenized in advance.

    python benchmarks/packing.py --data data/multi30k

Both put the same pairs, in the same order, into rows of the same width with segments and positions;
nmt shifts the decoder's input too, and packs one window of pairs after another as training does.
Beside them, what models get that cannot be packed: batches of one pair a row, in length buckets.
All take turns, so a ratio compares two throughputs of the same round.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import grain
import numpy as np
import tyro

from nmt.config import Config, DataConfig, TrainingConfig
from nmt.data import corpora, pipeline, tokenizer
from nmt.data.batching import Batch, Ragged, bucket, pack, select

BATCH_TOKENS = 4096  # of a bucketed batch

Pack = Callable[[], tuple[int, int]]
"""Packs all pairs; returns the number of pieces and of places in the rows, both sides together."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure packing beside Grain's FirstFitPackIterDataset."""

    # Folder of {train,dev,test}.{language}; without it, the embedded English-Portuguese grammar.
    data: Path | None = None
    # Source and target language of --data.
    languages: tuple[str, str] = ("de", "en")
    # Widths of a row, the same on either side.
    lengths: tuple[int, ...] = (64, 128)
    # Pairs to pack, at most.
    num_pairs: int = 30_000
    # Rows that Grain fills at a time.
    bins: int = 1024
    # Turns that a packer takes, after one that does not count.
    rounds: int = 5
    # File to write the results to, each round of them.
    json: Path | None = None


class Result(NamedTuple):
    """What was measured of a packer."""

    name: str
    length: int
    fill: float  # share of the places, of both sides, that hold a piece
    pairs_per_second: list[float]  # in each round


def main(options: Options) -> None:
    """Measures, prints, writes."""
    results = [
        result
        for length in options.lengths
        for result in measure(*tokenized(options, length), length, options.bins, options.rounds)
    ]
    print("\n".join(table(results)))
    if options.json is not None:
        rows = [result._asdict() for result in results]
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def tokenized(options: Options, length: int) -> tuple[Ragged, Ragged]:
    """Returns pairs that fit a row, in a random order."""
    config = Config(
        data=DataConfig(
            *(options.languages if options.data else ("en", "pt")),
            path=options.data and str(options.data),
            max_source_length=length,
            max_target_length=length,
        ),
        training=TrainingConfig(num_steps=100_000, batch_tokens=length),
    )
    corpus = corpora.load_corpus(config.data).train
    sources, targets = pipeline.encode(corpus, tokenizer.train(config.tokenizer, *corpus))
    left_out = np.any(list(pipeline.unusable(sources, targets, config.data).values()), axis=0)
    index = np.random.default_rng(0).permutation(np.flatnonzero(~left_out))[: options.num_pairs]
    return select(sources, index), select(targets, index)


def measure(sources: Ragged, targets: Ragged, length: int, bins: int, rounds: int) -> list[Result]:
    """Lets the packers take turns."""
    packers = {
        "packed": nmt_batcher(sources, targets, partial(pack_rows, length=length)),
        "bucketed": nmt_batcher(sources, targets, partial(bucket_batches, length=length)),
        "Grain": grain_packer(sources, targets, length, bins),
    }
    results = []
    for name, packer in packers.items():
        pieces, places = packer()
        results.append(Result(name, length, pieces / places, []))
    for _ in range(rounds):
        for result in results:
            begin = time.perf_counter()
            packers[result.name]()
            seconds = time.perf_counter() - begin
            result.pairs_per_second.append(len(sources.lengths) / seconds)
    return results


def pack_rows(*sides: Ragged, length: int) -> Sequence[Batch]:
    """Packs a window."""
    return [pack(*sides, length, length, pad_id=0, bos_id=1)]


def bucket_batches(*sides: Ragged, length: int) -> Sequence[Batch]:
    """Cuts a window into batches of one pair a row."""
    return list(bucket(*sides, length, length, BATCH_TOKENS, pad_id=0, bos_id=1, fine=True))


def nmt_batcher(sources: Ragged, targets: Ragged, batch: Callable[..., Sequence[Batch]]) -> Pack:
    """Lays out window after window, as `nmt.data.pipeline` does."""
    starts = range(0, len(sources.lengths), pipeline.WINDOW)
    windows = [np.arange(len(sources.lengths))[start : start + pipeline.WINDOW] for start in starts]

    def run() -> tuple[int, int]:
        pieces = places = 0
        for window in windows:
            pair = select(sources, window), select(targets, window)
            pieces += sum(int(side.lengths.sum()) for side in pair)
            places += sum(x.source.size + x.labels.size for x in batch(*pair))
        return pieces, places

    return run


def grain_packer(sources: Ragged, targets: Ragged, length: int, bins: int) -> Pack:
    """Packs a stream of examples, `bins` rows at a time, without threads: they made it slower."""
    sides = {"source": sources, "target": targets}
    columns = {name: np.split(x.ids, np.cumsum(x.lengths)[:-1]) for name, x in sides.items()}
    examples = [
        dict(zip(columns, pair, strict=True)) for pair in zip(*columns.values(), strict=True)
    ]
    rows = grain.experimental.FirstFitPackIterDataset(
        grain.MapDataset.source(examples).to_iter_dataset(grain.ReadOptions(num_threads=0)),
        length_struct=dict.fromkeys(sides, length),
        num_packing_bins=bins,
        shuffle_bins=False,
    )

    def run() -> tuple[int, int]:
        pieces = places = 0
        for row in rows:
            for name in sides:
                pieces += np.count_nonzero(row[f"{name}_segment_ids"])
                places += length
        return pieces, places

    return run


def table(results: list[Result]) -> Iterator[str]:
    """Yields the lines of the report: medians, and the range of the rounds' ratios."""
    yield f"{'row':>9} {'':8} {'fill':>5} {'pairs/s':>9} {'x Grain':>21}"
    peers = {r.length: r.pairs_per_second for r in results if r.name == "Grain"}
    for r in results:
        pairs = zip(r.pairs_per_second, peers[r.length], strict=True)
        ratios = [ours / theirs for ours, theirs in pairs]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        yield (
            f"{r.length:4}+{r.length:<4} {r.name:8} {r.fill:5.3f} "
            f"{median(r.pairs_per_second):9,.0f} {spread:>21}"
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
