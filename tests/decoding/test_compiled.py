"""Programs run beside each other."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from nmt import parallel
from nmt.config import InputError, TransformerConfig
from nmt.decoding.compiled import MOST_RESULTS, Call, Compiled, Program
from nmt.decoding.decoder import Ids
from nmt.models.seq2seq import build


def made() -> Compiled:
    return Compiled(build(TransformerConfig(), (9, 9), shared=True), Ids(0, 1, 2))


def begun(monkeypatch, run, num_programs: int, calls, room: int = 100) -> Iterator[np.ndarray]:
    """Begins to run what gives a number for a number; a `room` have room at once."""
    monkeypatch.setattr(parallel, "num_programs", lambda: num_programs)
    monkeypatch.setattr(parallel, "split_local", lambda rows: rows)
    monkeypatch.setattr(parallel, "memory_available", lambda: 10 * room)
    compiled = made()
    program = Program(lambda params, rows, values: np.full((1, 1), run(*rows)), "", 1, 10)
    monkeypatch.setattr(compiled, "compile", lambda params, call: program)
    return compiled.run(None, calls)


def runs(monkeypatch, run, num_programs: int, room: int, numbers: int = 6) -> list[int]:
    calls = [Call(run, (number,)) for number in range(numbers)]
    return [int(rows[0]) for rows in begun(monkeypatch, run, num_programs, calls, room)]


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


def test_results_that_wait_for_a_slow_one_are_few(monkeypatch):
    taken, when_first_ended = [], []
    full = threading.Semaphore(0)

    def run(number: int) -> int:
        if number:
            full.release()
        else:
            assert all(full.acquire(timeout=60) for _ in range(MOST_RESULTS))
            time.sleep(0.1)  # for more to be taken, were there no limit
            when_first_ended.append(len(taken))
        return number

    def calls():
        for number in range(3 * MOST_RESULTS):
            taken.append(number)
            yield Call(run, (number,))

    assert [int(rows[0]) for rows in begun(monkeypatch, run, 2, calls())] == taken
    assert when_first_ended == [MOST_RESULTS + 1]


def test_what_one_raises_is_raised(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        runs(monkeypatch, lambda number: 1 // number, 2, 2)


def test_whoever_stops_reading_does_not_wait(monkeypatch):
    started, goes_on, ended = threading.Semaphore(0), threading.Event(), []

    def run(number: int) -> int:
        if number:
            started.release()
            goes_on.wait(timeout=10)
            ended.append(number)
        else:
            assert all(started.acquire(timeout=60) for _ in range(2))
        return number

    found = begun(monkeypatch, run, 3, [Call(run, (number,)) for number in range(9)])
    assert next(found) == 0
    found.close()
    assert not ended
    goes_on.set()


def doubled(model, ids, params, source):
    return 2 * source


def tripled(model, ids, params, source):
    return 3 * source


SOURCE = np.arange(jax.local_device_count() * 6).reshape(-1, 3)


def test_threads_compile_once_what_they_share():
    compiled = made()
    calls = [Call(doubled, (SOURCE,)), Call(tripled, (SOURCE,)), Call(doubled, (SOURCE + 1,))]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: list(compiled.run({}, calls)), range(4)))
    assert sorted(compiled.shapes) == [("doubled", SOURCE.shape), ("tripled", SOURCE.shape)]
    for answer in answers:
        for found, expected in zip(answer, (2 * SOURCE, 3 * SOURCE, 2 * SOURCE + 2), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_what_runs_is_not_counted_as_memory_that_is_missing(monkeypatch):
    """Each has room alone: neither is refused while the other runs, nor runs beside it."""
    needs = {"doubled": 90, "tripled": 45, "quadrupled": 101}
    lock, running, together = threading.Lock(), [], set()
    compiled = made()
    make = compiled._compile

    def made_slow(call, arguments):
        program = make(call, arguments)
        needed = needs[call.function.__name__]

        def run(*arguments):
            with lock:
                running.append(needed)
                together.add(tuple(sorted(running)))
            time.sleep(0.02)
            result = program.run(*arguments)
            with lock:
                running.remove(needed)
            return result

        return program._replace(run=run, bytes_needed=needed)

    def quadrupled(model, ids, params, source):
        return 4 * source

    monkeypatch.setattr(compiled, "_compile", made_slow)
    monkeypatch.setattr(parallel, "num_programs", lambda: 3)
    monkeypatch.setattr(parallel, "memory_available", lambda: 100 - sum(running))
    calls = [Call(f, (SOURCE,)) for f in (doubled, tripled, tripled, tripled, doubled) * 3]
    found = list(compiled.run({}, calls))
    assert [rows[0, 1] for rows in found] == [2, 3, 3, 3, 2] * 3
    assert together <= {(90,), (45,), (45, 45)}
    for _ in range(2):
        with pytest.raises(InputError, match=r"quadrupled of 16 rows of 3 source pieces needs"):
            list(compiled.run({}, [Call(quadrupled, (SOURCE,))]))
    assert [name for name, _ in compiled.shapes] == ["doubled", "tripled", "quadrupled"]


def test_memory_is_read_again_after_a_while_and_where_there_is_too_little(monkeypatch):
    compiled, clock, read = made(), [0.0], []
    monkeypatch.setattr(parallel, "memory_available", lambda: read.append(clock[0]) or 10)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for clock[0] in (0.0, 0.5, 1.5):
        with compiled._room(5):
            pass
    assert read == [0.0, 1.5]
    monkeypatch.setattr(compiled, "_compile", lambda *_: Program(None, "it needs 20", 1, 20))
    with pytest.raises(InputError, match="it needs 20, and 0 MB are available"):
        compiled.compile({}, Call(doubled, (SOURCE,)))
    assert read == [0.0, 1.5, 1.5]
