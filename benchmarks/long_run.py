"""Many sentences of mixed length through one `nmt translate`: memory, compilations, lines.

    python benchmarks/long_run.py --workdir runs/m30k --lines data/tatoeba_en_de/train.de

Lines are joined to be of mixed length: one, two, four, eight or sixteen to a line.
"""

import dataclasses
import gzip
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psutil
import tyro
from train_step import machine


@dataclasses.dataclass(frozen=True)
class Options:
    """Translate many sentences in one process."""

    # Folder of a run.
    workdir: Path
    # Sentences of its source language, a line each; or .gz.
    lines: Path
    # Lines to translate.
    num_lines: int = 10_000
    # Lines between two rows of the table.
    every: int = 1000


def main(options: Options) -> None:
    """Translates, prints a row every so many lines, checks their number."""
    text = "".join(line + "\n" for line in mixed(options))
    command = [sys.executable, "-m", "nmt", "translate", "--workdir", str(options.workdir)]
    command += ["--lines-at-once", str(options.every)]
    begin = time.perf_counter()
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, **pipes) as process:
        messages: list[str] = []
        threads = [
            threading.Thread(target=feed, args=(process, text)),
            threading.Thread(target=lambda: messages.extend(process.stderr)),
        ]
        for thread in threads:
            thread.start()
        child = psutil.Process(process.pid)
        print("  lines  seconds  memory, MB")
        number = 0
        for number, _ in enumerate(process.stdout, 1):
            if number % options.every == 0:
                memory = child.memory_info().rss / 1e6
                print(
                    f"{number:7,}  {time.perf_counter() - begin:7.1f}  {memory:10,.0f}", flush=True
                )
        for thread in threads:
            thread.join()
    print("".join(messages), end="")
    print(f"{number:,} lines out of {options.num_lines:,}; exit status {process.returncode}")
    print(machine())


def mixed(options: Options) -> Iterator[str]:
    """Yields lines of one to sixteen sentences."""
    opened = gzip.open if options.lines.suffix == ".gz" else open
    with opened(options.lines, "rt", encoding="utf-8") as file:
        rng = random.Random(0)
        for _ in range(options.num_lines):
            count = rng.choices((1, 2, 4, 8, 16), weights=(16, 8, 4, 2, 1))[0]
            sentences = [line.rstrip("\n") for line in islice(file, count)]
            if len(sentences) < count:
                raise SystemExit(f"{options.lines} has not enough for {options.num_lines:,} lines")
            yield " ".join(sentences)


def feed(process: subprocess.Popen[str], text: str) -> None:
    """Writes what is to be translated."""
    process.stdin.write(text)
    process.stdin.close()


if __name__ == "__main__":
    main(tyro.cli(Options))
