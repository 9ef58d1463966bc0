"""Kill a training run at random moments, resume it each time, and compare it with one left alone.

    python benchmarks/kill_and_resume.py --kills 10 -- --config configs/… --training.num-steps 200

What follows `--` is given to train.py. Each start is killed at a random moment, no later than the
run left alone took to its end; every second one not before it writes a checkpoint. One that ends
before its moment is compared, and the next kills befall a new run: so they hit every part of a run,
its last lines and half a checkpoint too. Equal means bit for bit: every array of every checkpoint
that is kept, the position of the data, the history but for its wall times (and as TensorBoard sees
it), the choice of the best, the translations of test.
"""

import argparse
import json
import math
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from tensorboardX.proto import event_pb2

from nmt.checkpoint import CHECKPOINTS

TRAIN = Path(__file__).parents[1] / "train.py"
WALL_TIMES = {"time", "seconds", "step_seconds", "all_step_seconds", "tokens_per_second"}


def train(
    workdir: Path, args: Sequence[str], seconds: float = math.inf, *, saving: bool = False
) -> str | None:
    """Trains, and kills it with SIGKILL after so long; returns the last line printed till then.

    Returns None where training ended before.

    Args:
      workdir: folder of the run.
      args: of train.py.
      seconds: to the kill.
      saving: waits on, for a checkpoint that is half written.

    Raises:
      RuntimeError: training failed.
    """
    command = [sys.executable, TRAIN, *args, "--workdir", workdir]
    begin = time.perf_counter()
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr) as process,
    ):
        killed = False
        while process.poll() is None and not killed:
            time.sleep(0.002)
            half_written = any((workdir / CHECKPOINTS).glob("*tmp*"))
            killed = time.perf_counter() - begin > seconds and (half_written or not saving)
            if killed:
                process.kill()
        process.wait()
        stderr.seek(0)
        printed = stderr.read().decode()
    if killed:
        return (printed.splitlines() or ["nothing"])[-1]
    if process.returncode:
        raise RuntimeError(printed)
    return None


def without_wall_times(record: dict[str, object]) -> dict[str, object]:
    """Drops what may differ between two equal runs."""
    return {name: value for name, value in record.items() if name not in WALL_TIMES}


def differences(first: Path, second: Path) -> Iterator[str]:
    """Yields what two finished runs differ in."""
    for name in ("config.json", "tokenizer.model", "data.json", "translations.txt"):
        if (first / name).read_bytes() != (second / name).read_bytes():
            yield name
    for name in ("metrics.jsonl", "summary.json"):
        records = [
            [without_wall_times(json.loads(line)) for line in read_records(run / name)]
            for run in (first, second)
        ]
        if records[0] != records[1]:
            yield name
    events = [
        [event for event in read_events(run) if event[0].rpartition("/")[2] not in WALL_TIMES]
        for run in (first, second)
    ]
    if events[0] != events[1]:
        yield "events"
    managers = [ocp.CheckpointManager(run.absolute() / CHECKPOINTS) for run in (first, second)]
    steps = [manager.all_steps() for manager in managers]
    if steps[0] != steps[1]:
        yield f"checkpoints: {steps}"
        return
    for step in steps[0]:
        items = [
            manager.restore(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.PyTreeRestore(),
                    optimizer=ocp.args.PyTreeRestore(),
                    progress=ocp.args.JsonRestore(),
                ),
            )
            for manager in managers
        ]
        arrays = [(item.params, item.optimizer) for item in items]
        equal = jax.tree.map(
            lambda x, y: np.asarray(x).tobytes() == np.asarray(y).tobytes(), *arrays
        )
        if not all(jax.tree.leaves(equal)):
            yield f"arrays at step {step}"
        if without_wall_times(items[0].progress) != without_wall_times(items[1].progress):
            yield f"progress at step {step}"


def read_records(path: Path) -> list[str]:
    """Returns the JSON texts of a file: one a line, or one in all."""
    text = path.read_text()
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def read_events(workdir: Path) -> list[tuple[str, int, float]]:
    """Returns the (name, step, value) of every scalar in a run's event files."""
    found = []
    for path in sorted((workdir / "events").iterdir()):
        data = path.read_bytes()
        while data:  # a TFRecord: its length, a checksum of that, the record, its checksum
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            data = data[16 + length :]
    return found


def on_disk(workdir: Path) -> str:
    """Names the checkpoints, one that is being written too, and what the end of a run leaves."""
    names = [*(workdir / CHECKPOINTS).glob("[0-9]*"), *workdir.glob("translations.txt")]
    return ", ".join(sorted(path.name for path in names)) or "no checkpoint"


def compare(alone: Path, killed: Path) -> list[str]:
    """Compares a run that has ended with the one left alone, and removes it if they are equal."""
    found = list(differences(alone, killed))
    print(f"ended; differences: {found or 'none'}", flush=True)
    if found:
        kept = tempfile.mkdtemp(prefix="differs-")
        shutil.copytree(alone.parent, kept, dirs_exist_ok=True)
        print(f"both runs are kept in {kept}", flush=True)
    shutil.rmtree(killed)
    return found


def main() -> None:
    """Runs the comparison and prints what differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=10, help="how often (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("args", nargs="*", help="arguments of train.py, behind --")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder, "alone"), Path(folder, "killed")
        begin = time.perf_counter()
        train(alone, options.args)
        seconds = time.perf_counter() - begin
        print(f"left alone: {seconds:.0f} s")
        kills, found = 0, []
        while kills < options.kills:
            moment = moments.uniform(0, seconds)
            saving = kills % 2 == 1
            printed = train(killed, options.args, moment, saving=saving)
            if printed is None:
                found += compare(alone, killed)
                continue
            kills += 1
            print(
                f"killed {'in the next save ' * saving}after {moment:.1f} s; "
                f"on disk: {on_disk(killed)}; "
                f"last line: {printed[:60]}",
                flush=True,
            )
        train(killed, options.args)
        found += compare(alone, killed)
        print(f"{kills} kills; differences: {found or 'none'}")
        sys.exit(bool(found))


if __name__ == "__main__":
    main()
