"""What a long job shows while it runs: lines and bars, on standard error of the first host."""

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from tqdm.auto import tqdm

from nmt import parallel


def watched() -> bool:
    """Whether somebody looks: a terminal or a notebook shows progress bars, a log does not."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return parallel.is_first_host() and (terminal or "ipykernel" in sys.modules)


def progress_bar(
    items: Iterable[Any] | None, name: str, total: int | None = None, **options: Any
) -> Any:
    """Shows how far a loop is, where somebody looks."""
    return tqdm(items, name, total, dynamic_ncols=True, disable=not watched(), **options)


def above_bars(sink: Any) -> AbstractContextManager[None]:
    """Lets a line that is written to a terminal stand above the bars there."""
    return tqdm.external_write_mode(sys.stdout) if sink.isatty() else nullcontext()


def say(message: str) -> None:
    """Prints to standard error, on the first host, above a progress bar if there is one.

    Where it cannot be printed, the log's disk being full, say, the job goes on.
    """
    if parallel.is_first_host() and sys.stderr is not None:
        with suppress(OSError):
            tqdm.write(message, file=sys.stderr)
