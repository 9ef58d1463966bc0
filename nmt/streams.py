"""Lines in and lines out: files and standard streams, of which none is destroyed unasked."""

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from nmt.config import InputError
from nmt.progress import above_bars


@contextmanager
def mistakes(where: str = "") -> Iterator[None]:
    """Makes what the library refuses a mistake of the user's."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(where + str(error)) from None


def expect_distinct(reads: Mapping[str, Any], writes: Mapping[str, Any]) -> None:
    """Refuses to write to a file that is read, or two things to one file; devices may be.

    Each is a path, or a stream that the shell has opened, or None.
    """
    named = {**reads, **writes}
    files = {name: found for name, which in named.items() if (found := one_file(which))}
    for name in writes.keys() & files.keys():
        for other in files.keys() - {name}:
            if files[name] == files[other]:
                first, second = (
                    f"--{x}" if isinstance(named[x], Path) else f"the redirected {x}"
                    for x in sorted((name, other))
                )
                raise InputError(f"{first} and {second} are one file: it would be destroyed")


def one_file(which: Any) -> object:
    """Returns what all names of a file have in common; None of what is no file."""
    try:
        if isinstance(which, Path):
            found = which.stat()
        elif which is None:
            return None
        else:
            found = os.fstat(which.fileno())
    except FileNotFoundError:
        return which.resolve()  # it is to be made
    except (OSError, ValueError):
        return None  # opening it says why
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


@contextmanager
def lines_of(input: Path | None, parse: Callable[[str], Any] = str) -> Iterator[Iterator[Any]]:
    """Opens a file whose lines are read as they are needed; names it where a line is refused."""
    with reading(input) as (stream, name), mistakes(f"{name}, "):
        yield read_lines(stream, name, parse)


@contextmanager
def written(output: Path | None) -> Iterator[Callable[[str], None]]:
    """Opens a file to write lines to; None is standard output.

    What the file held goes as the first line is written, or behind all if there is none: an error
    before that costs nothing. One that a standard stream goes to as well keeps what it holds.
    """
    if output is None and sys.stdout is None:
        raise InputError("standard output is closed; give --output")
    found = one_file(output)
    for stream, name in (sys.stdout, "standard output"), (sys.stderr, "standard error"):
        if output is None or (found is not None and found == one_file(stream)):
            yield partial(_write, stream.buffer, name)
            return
    assert output is not None  # it would have been the first of these
    # Without a buffer, which would fail once more as it is closed.
    with output.open("ab", buffering=0) as sink:
        old = stat.S_ISREG(os.fstat(sink.fileno()).st_mode)

        def write(line: str) -> None:
            empty()
            _write(sink, str(output), line)

        def empty() -> None:
            nonlocal old
            if old:
                with naming(str(output)):
                    sink.truncate(0)
            old = False

        yield write
        empty()


def _write(sink: Any, name: str, line: str) -> None:
    left = memoryview(f"{line}\n".encode())
    with naming(name), above_bars(sink):
        while left:  # a full disk may take a part
            left = left[sink.write(left) :]
        sink.flush()  # whoever waits for it has waited long enough


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Names the file of an error that does not: that a disk is full, say."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or name
        raise


@contextmanager
def reading(path: Path | None) -> Iterator[tuple[Iterable[bytes], str]]:
    """Opens a file to read, and tells its name; None is standard input."""
    if path is None:
        if sys.stdin is None:
            raise InputError("standard input is closed; give a file")
        yield sys.stdin.buffer, "standard input"
    else:
        with path.open("rb") as stream:
            yield stream, str(path)


def read_file(path: Path | None, parse: Callable[[str], Any] = str) -> Iterator[Any]:
    """Reads and parses the lines of a file; None is standard input."""
    with reading(path) as (stream, name):
        yield from read_lines(stream, name, parse)


def read_lines(stream: Iterable[bytes], name: str, parse: Callable[[str], Any]) -> Iterator[Any]:
    r"""Decodes and parses a stream of UTF-8 whose lines end in `\n` alone.

    A byte-order mark at its beginning is not text.

    Raises:
      InputError: a line is not UTF-8, or `parse` raises a ValueError.
    """
    for number, line in enumerate(stream, 1):
        try:
            text = line.removesuffix(b"\n").removesuffix(b"\r").decode()
            yield parse(text.removeprefix("\ufeff") if number == 1 else text)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, line {number}: byte {error.start + 1} is 0x{line[error.start]:02x}, "
                f"which is not UTF-8 ({error.reason})"
            ) from None
        except ValueError as error:
            raise InputError(f"{name}, line {number}: {error}") from None
