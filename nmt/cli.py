"""The `nmt` command: one function a subcommand."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import tyro

from nmt.config import InputError
from nmt.data.tokenizer import clean
from nmt.decoding.translator import load


def translate(
    workdir: Path, beam_size: int | None = None, length_penalty: float | None = None
) -> None:
    """Translate standard input to standard output, one line for each line.

    Args:
        workdir: Folder of a run, as train.py writes it.
        beam_size: Hypotheses kept a sentence, 1 is greedy; None is the run's configuration.
        length_penalty: Power of the length normalisation; None is the run's configuration.
    """
    translator = load(workdir)
    errors: list[InputError] = []
    lines = until_error(read_lines(sys.stdin.buffer, "standard input"), errors)
    options = {"beam_size": beam_size, "length_penalty": length_penalty}
    try:
        for line in translator.translate_lines(lines, **options):
            sys.stdout.buffer.write(f"{line}\n".encode())
    except ValueError as error:
        raise InputError(str(error)) from None
    sys.stdout.buffer.flush()
    if errors:
        raise errors[0]


def read_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    r"""Decodes a stream of UTF-8 whose lines end in `\n` alone.

    Raises:
      InputError: a line is not UTF-8.
    """
    for number, line in enumerate(stream, 1):
        try:
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, line {number}: byte {error.start + 1} is 0x{line[error.start]:02x}, "
                f"which is not UTF-8 ({error.reason})"
            ) from None


def until_error(lines: Iterator[str], errors: list[InputError]) -> Iterator[str]:
    """Yields lines up to an error, which it keeps: so what was read is translated first."""
    try:
        yield from lines
    except InputError as error:
        errors.append(error)


def run(command: Callable[[], Any]) -> int:
    """Runs a command; turns a user's mistake into one line and exit status 2."""
    for name in ("absl", "asyncio"):  # orbax warns of what is meant, and repeats its errors
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        command()
        sys.stdout.flush()
    except InputError as error:
        print(f"error: {clean(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # no room, no permission, a file in the place of a folder
        print(f"error: {clean(str(error))}", file=sys.stderr)
        return 2
    return 0


def main() -> int:
    """Runs the command line."""
    return run(
        lambda: tyro.extras.subcommand_cli_from_dict(
            {"translate": translate}, prog="nmt", description="Neural machine translation."
        )
    )
