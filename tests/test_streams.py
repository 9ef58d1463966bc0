"""Files and streams of lines: what is written, and what is kept."""

import errno
import io
import os
import sys
from pathlib import Path

import pytest

from nmt import cli, progress, streams
from nmt.config import InputError


def test_a_file_keeps_what_it_held_until_the_first_line(tmp_path):
    path = tmp_path / "file"
    path.write_text("dear\n")
    with pytest.raises(InputError), streams.written(path):
        raise InputError("nothing can be read")
    assert path.read_text() == "dear\n"
    with streams.written(path) as write:
        write("one")
        assert path.read_text() == "one\n"
        write("two")
    assert path.read_text() == "one\ntwo\n"
    with streams.written(path):
        pass  # no line
    assert path.read_text() == ""


def test_what_is_no_file_is_not_emptied(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with streams.written(fifo) as write:
        write("one")
    assert os.read(reader, 100) == b"one\n"
    os.close(reader)
    with streams.written(Path("/dev/null")) as write:
        write("one")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)), streams.written(tmp_path):
        pass


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_file_that_is_a_standard_stream_too_goes_on_where_that_is(stream, tmp_path, monkeypatch):
    path = tmp_path / "file"
    with path.open("w") as out:
        monkeypatch.setattr(sys, stream, out)
        print("header", file=out, flush=True)
        with streams.written(path) as write:
            write("line")
        print("footer", file=out, flush=True)
    assert path.read_text() == "header\nline\nfooter\n"


def test_a_mark_at_the_beginning_is_not_text():
    lines = [b"\xef\xbb\xbfone\r\n", b"\xef\xbb\xbftwo\n", b"three"]
    assert list(streams.read_lines(lines, "x", str)) == ["one", "\ufefftwo", "three"]


class Terminal(io.StringIO):
    """Both standard streams, as a person sees them."""

    @property
    def buffer(self):
        return self

    def isatty(self):
        return True

    def write(self, text):
        return super().write(bytes(text).decode() if isinstance(text, memoryview) else text)

    def lines(self) -> list[str]:
        seen = []
        for line in self.getvalue().split("\n"):
            row: list[str] = []
            for part in line.split("\r"):
                row[: len(part)] = part
            seen.append("".join(row).rstrip())
        return seen


def test_lines_stand_above_the_bars_of_the_same_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with streams.written(None) as write:
        for number in progress.progress_bar(range(3), "translate", 3, mininterval=0):
            write(f"line {number}")
    *above, below, behind = terminal.lines()
    assert above == ["line 0", "line 1", "line 2"]
    assert below.startswith("translate: 100%")
    assert behind == ""


def test_lines_of_a_file_leave_the_bars_alone(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = progress.progress_bar(range(100), "translate", 100, mininterval=1000)
    with streams.written(tmp_path / "file") as write:
        for number in bar:
            write(f"line {number}")
    assert terminal.getvalue().count("\r") < 5


class Full(io.StringIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_log_that_cannot_be_written_costs_no_job(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Full())
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    progress.say("something")

    def wrong():
        raise InputError("something")

    assert cli.run(lambda: None) == 0
    assert cli.run(wrong) == 2


def test_a_reader_that_leaves_is_no_error_without_standard_output(monkeypatch):
    def left():
        raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    assert cli.run(left) == 141
