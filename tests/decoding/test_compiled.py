"""Programs run beside each other."""

import threading
import time

import numpy as np
import pytest

from nmt import parallel
from nmt.config import TransformerConfig
from nmt.decoding.compiled import Call, Compiled, Program
from nmt.decoding.decoder import Ids
from nmt.models.seq2seq import build


def runs(monkeypatch, run, num_programs: int, room: int, numbers: int = 6) -> list[int]:
    """Runs what gives a number for a number, for several of them."""
    monkeypatch.setattr(parallel, "num_programs", lambda: num_programs)
    monkeypatch.setattr(parallel, "split_local", lambda rows: rows)
    compiled = Compiled(build(TransformerConfig(), (9, 9), shared=True), Ids(0, 1, 2))
    program = Program(lambda params, rows, values: np.full((1, 1), run(*rows)), room)
    monkeypatch.setattr(compiled, "compile", lambda params, call: program)
    found = compiled.run(None, [Call(run, (number,)) for number in range(numbers)])
    return [int(rows[0]) for rows in found]


def test_as_many_run_beside_each_other_as_may(monkeypatch):
    meeting = threading.Barrier(3, timeout=60)  # broken if fewer come
    assert runs(monkeypatch, lambda n: n * (meeting.wait() >= 0), 3, 3) == list(range(6))


@pytest.mark.parametrize(("num_programs", "room"), [(1, 1), (4, 2), (2, 4)])
def test_no_more_run_than_there_is_memory_for(monkeypatch, num_programs, room):
    lock, running, most = threading.Lock(), 0, 0

    def run(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return number

    assert runs(monkeypatch, run, num_programs, room, 20) == list(range(20))
    assert most == min(num_programs, room)


def test_what_comes_first_is_given_first_and_holds_up_nothing(monkeypatch):
    later = threading.Semaphore(0)

    def run(number: int) -> int:
        if number:
            later.release()
        else:
            for _ in range(5):
                assert later.acquire(timeout=60)
        return number

    assert runs(monkeypatch, run, 2, 2) == list(range(6))


def test_what_one_raises_is_raised(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        runs(monkeypatch, lambda number: 1 // number, 2, 2)
