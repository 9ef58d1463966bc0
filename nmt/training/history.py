"""What a run measured: one record a line in `metrics.jsonl`, and TensorBoard's event files."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from nmt import parallel
from nmt.checkpoint import write_atomic
from nmt.config import InputError

METRICS, EVENTS = "metrics.jsonl", "events"


def read_history(workdir: Path) -> list[dict[str, Any]]:
    """Returns the records of a run, in order; a line that was cut off in writing is left out."""
    path = workdir / METRICS
    try:
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        if not all(isinstance(r, dict) and {"step", "kind", "time"} <= r.keys() for r in records):
            raise ValueError("a line is no object with step, kind and time")
    except ValueError as error:
        raise InputError(f"{path}: not a record a line: {error}") from None
    return records


class History:
    """Appends records to a run.

    The event files are made from the records: opening a run at an earlier step cuts both there.
    """

    def __init__(self, workdir: Path, step: int) -> None:
        """Opens the history of a run that goes on from `step`; later records are dropped."""
        records = [record for record in read_history(workdir) if record["step"] <= step]
        first = parallel.is_first_host()  # the others write nothing
        if first:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            write_atomic(workdir / METRICS, lines)
            shutil.rmtree(workdir / EVENTS, ignore_errors=True)
        self._file = (workdir / METRICS if first else Path(os.devnull)).open("a")
        self._events = SummaryWriter(str(workdir / EVENTS), write_to_disk=first)
        for record in records:
            self._add_events(record)

    def append(self, step: int, kind: str, **values: float) -> None:
        """Writes one record: `kind` is the prefix of its names in TensorBoard."""
        record = {"step": step, "kind": kind, **values, "time": time.time()}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self._add_events(record)

    def close(self) -> None:
        """Writes out what is buffered."""
        self._file.close()
        self._events.close()

    def _add_events(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name not in ("step", "kind", "time"):
                self._events.add_scalar(
                    f"{record['kind']}/{name}", value, record["step"], walltime=record["time"]
                )
