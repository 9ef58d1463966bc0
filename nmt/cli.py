"""The `nmt` command: one function a subcommand."""

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import tyro
from tqdm.auto import tqdm

from nmt.config import InputError, SearchOptions
from nmt.data.tokenizer import clean
from nmt.decoding.translator import LINES_AT_ONCE, Translation, load


def translate(
    workdir: Path,
    input: Path | None = None,
    output: Path | None = None,
    format: Literal["text", "json"] = "text",
    overlong: Literal["split", "truncate", "error"] = "split",
    lines_at_once: int = LINES_AT_ONCE,
    options: Annotated[SearchOptions, tyro.conf.arg(name="")] = SearchOptions(),  # noqa: B008
) -> None:
    """Translate text, one line for each line.

    Args:
        workdir: Folder of a run, as train.py writes it.
        input: File to translate; None is standard input.
        output: File to write; None is standard output.
        format: A line is the best translation, or a JSON object of all that is known of it.
        overlong: Splits a line of more than decoding.max_source_length pieces at sentence ends and
            joins the translations of its parts, or translates the first part, or ends with an
            error.
        lines_at_once: Lines to read before they are translated: 1 answers each line at once.
        options: How to search.
    """
    translator = load(workdir)
    how = {"overlong": overlong, "lines_at_once": lines_at_once, **dataclasses.asdict(options)}
    try:
        translator.translate_lines((), **how)  # refuses options before a file is written over
    except ValueError as error:
        raise InputError(str(error)) from None
    with opened(input, output) as (lines, write):
        translations = translator.translate_lines(lines, **how)
        for translation in tqdm(translations, unit=" lines", disable=None):
            write(translation.text if format == "text" else as_json(translation))


def score(
    workdir: Path,
    input: Path | None = None,
    output: Path | None = None,
    format: Literal["text", "json"] = "text",
    length_penalty: float | None = None,
    length_offset: float = 5.0,
) -> None:
    """Score given translations: lines of a source, a tab and a target.

    Args:
        workdir: Folder of a run, as train.py writes it.
        input: File to score; None is standard input.
        output: File to write; None is standard output.
        format: A line is the score, or a JSON object with the log-probabilities of the pieces.
        length_penalty: Power of the length normalisation; None is the run's configuration.
        length_offset: c of the length normalisation.
    """
    translator = load(workdir)
    with opened(input, output, split_pair) as (pairs, write):
        pairs = tqdm(pairs, unit=" lines", disable=None)
        while chunk := list(islice(pairs, LINES_AT_ONCE)):
            for scored in translator.score(
                chunk, length_penalty=length_penalty, length_offset=length_offset
            ):
                write(f"{scored.score:.6f}" if format == "text" else as_json(scored))


def split_pair(line: str) -> tuple[str, str]:
    """Splits a line at its tab."""
    source, *targets = line.split("\t")
    if len(targets) != 1:
        raise ValueError(f"{len(targets)} tabs; expected a source, a tab and a target")
    return source, targets[0]


def as_json(translation: Translation) -> str:
    """Writes a translation as one line of JSON, in which every string is text."""
    fields = {
        **translation._asdict(),
        "alternatives": [other._asdict() for other in translation.alternatives],
    }
    return json.dumps(fields, ensure_ascii=False)


@contextmanager
def opened(
    input: Path | None, output: Path | None, parse: Callable[[str], Any] = str
) -> Iterator[tuple[Iterator[Any], Callable[[str], None]]]:
    """Opens what to read and what to write.

    An error in what is read is raised at the end, when what came before has been written.
    """
    if input is not None and output is not None and output.exists() and input.samefile(output):
        raise InputError(f"{output} is the input: writing it would destroy it")
    for path, stream, name in ((input, sys.stdin, "input"), (output, sys.stdout, "output")):
        if path is None and stream is None:
            raise InputError(f"standard {name} is closed; give --{name}")
    errors: list[InputError] = []
    with ExitStack() as stack:
        source = stack.enter_context(input.open("rb")) if input else sys.stdin.buffer
        sink = stack.enter_context(output.open("wb")) if output else sys.stdout.buffer
        lines = read_lines(source, str(input or "standard input"), parse)

        def write(line: str) -> None:
            sink.write(f"{line}\n".encode())
            sink.flush()  # whoever waits for it has waited long enough

        try:
            yield until_error(lines, errors), write
        except ValueError as error:
            raise InputError(str(error)) from None
    if errors:
        raise errors[0]


def read_lines(stream: BinaryIO, name: str, parse: Callable[[str], Any]) -> Iterator[Any]:
    r"""Decodes and parses a stream of UTF-8 whose lines end in `\n` alone.

    Raises:
      InputError: a line is not UTF-8, or `parse` raises a ValueError.
    """
    for number, line in enumerate(stream, 1):
        try:
            yield parse(line.removesuffix(b"\n").removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, line {number}: byte {error.start + 1} is 0x{line[error.start]:02x}, "
                f"which is not UTF-8 ({error.reason})"
            ) from None
        except ValueError as error:
            raise InputError(f"{name}, line {number}: {error}") from None


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
            {"translate": translate, "score": score},
            prog="nmt",
            description="Neural machine translation.",
        )
    )
