"""Pure functions of a model, compiled for all devices of this host, within the memory there is."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from nmt import parallel
from nmt.config import InputError
from nmt.decoding.decoder import Ids
from nmt.models.seq2seq import Params, SequenceModel
from nmt.progress import say

MOST_RESULTS = 64
"""Results that wait for one before them."""

Function = Callable[..., Any]
"""(model, ids, params, *rows, *values, **static) -> a tree of rows: see `nmt.decoding.decoder`."""


class Call(NamedTuple):
    """A function, and what it is called with beside model, ids and parameters."""

    function: Function
    rows: tuple[Any, ...]  # trees of arrays, the source first; their rows are dealt to the devices
    values: tuple[Any, ...] = ()  # trees of what all rows share
    static: Mapping[str, int] = MappingProxyType({})  # values that are part of what is compiled


class Program(NamedTuple):
    """What was compiled for a call, and serves others like it."""

    run: Any
    message: str  # what it is, and what it needs
    num_rows: int
    bytes_needed: int  # beside its arguments; 0 where that is unknown


class Compiled:
    """What has been compiled of functions of one model; threads may share it.

    Attributes:
      shapes: the function's name, how many rows of sources it takes at once, on all devices, and
        how long they are, of each.
    """

    def __init__(self, model: SequenceModel, ids: Ids) -> None:
        self.model, self.ids = model, ids
        self.shapes: list[tuple[str, tuple[int, int]]] = []
        self._programs: dict[tuple[Any, ...], Program] = {}
        self._compiling = threading.Lock()
        self._pool = ThreadPoolExecutor(parallel.num_programs())
        self._changed = threading.Condition()  # of what is below
        self._running: list[int] = []  # bytes that each needs
        self._available = 0.0  # bytes there were when nothing ran,
        self._looked = -math.inf  # at that time

    def run(self, params: Params, calls: Iterable[Call]) -> Iterator[Any]:
        """Yields what each call gives, as NumPy arrays, in their order.

        As many run beside each other as `parallel.num_programs` says and the memory has room for,
        those of other threads counted; that changes no result.

        Args:
          params: on all devices.
          calls: are taken as they can be started.

        Raises:
          InputError: one needs more memory than there is.
        """
        started: deque[Future[Any]] = deque()
        num_programs = parallel.num_programs()
        try:
            for call in calls:
                program = self.compile(params, call)
                started.append(self._pool.submit(self._run, program, params, call))
                while len(running := [f for f in started if not f.done()]) > num_programs:
                    wait(running, return_when=FIRST_COMPLETED)
                while started and (started[0].done() or len(started) > MOST_RESULTS):
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()
        finally:  # whoever is interrupted need not wait for what runs
            for future in started:
                future.cancel()

    def compile(self, params: Params, call: Call) -> Program:
        """Compiles what a call and all of its shapes and types need; runs nothing.

        Raises:
          InputError: it needs more memory than there is.
        """
        function, rows, values, static = call
        arguments = params, parallel.split_local(rows), values
        leaves, structure = jax.tree.flatten(arguments)
        key = (function, *static.items(), structure, *map(jax.typeof, leaves))
        if key not in self._programs:
            with self._compiling:
                if key not in self._programs:  # by another thread
                    self._programs[key] = self._compile(call, arguments)
        program = self._programs[key]
        with self._changed:
            if program.bytes_needed > self._available:  # of then
                self._look()
            if program.bytes_needed > self._available:
                rows_that_fit = int(program.num_rows * self._available) // program.bytes_needed
                raise InputError(
                    f"{program.message}, and {self._available / 1e6:,.0f} MB are available: "
                    + _way_out(rows_that_fit, "num_hypotheses" in static)
                )
        return program

    def _compile(self, call: Call, arguments: tuple[Any, ...]) -> Program:
        function, static = call.function, call.static

        def applied(params: Params, rows: Any, values: Any) -> Any:
            return function(self.model, self.ids, params, *rows, *values, **static)

        compiled = parallel.pmap_rows(applied).lower(*arguments).compile()
        devices, num_rows, length = arguments[1][0].shape
        num_rows = devices * static.get("num_rows", num_rows)
        self.shapes.append((function.__name__, (num_rows, length)))
        needed = parallel.memory_needed(compiled)
        size = "an unknown size" if needed is None else f"{needed / 1e6:,.0f} MB"
        message = f"{function.__name__} of {num_rows} rows of {length} source pieces needs {size}"
        if needed is None or parallel.memory_available() is None:
            say(message)
        return Program(compiled, message, num_rows, needed or 0)

    def _run(self, program: Program, params: Params, call: Call) -> Any:
        with self._room(program.bytes_needed):
            found = program.run(params, parallel.split_local(call.rows), call.values)
            return parallel.join_local(found)

    @contextmanager
    def _room(self, bytes_needed: int) -> Iterator[None]:
        """Waits until a program has room beside those that run; alone it always has."""

        def has_room() -> bool:
            self._look(seconds=1.0)
            few = len(self._running) < parallel.num_programs()
            beside = few and sum(self._running) + bytes_needed <= self._available
            return beside or not self._running

        with self._changed:
            self._changed.wait_for(has_room)
            self._running.append(bytes_needed)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(bytes_needed)
                self._changed.notify_all()

    def _look(self, seconds: float = 0.0) -> None:
        """Reads how much memory there is, unless that was done within so many seconds.

        While something runs, what it needs would count as taken: then it is not read.
        """
        now = time.monotonic()
        if not self._running and now >= self._looked + seconds:
            available = parallel.memory_available()
            self._available, self._looked = math.inf if available is None else available, now


def _way_out(rows_that_fit: int, searches: bool) -> str:
    if rows_that_fit >= parallel.num_local_devices():
        field, others = "batch_tokens", ", or take a smaller beam, fewer samples or one_row"
        begin = f"with about {rows_that_fit} rows it would fit"
    else:
        field, others = "max_source_length", ", or take a smaller beam or fewer samples"
        begin = "not one row fits"
    return f"{begin}; lower decoding.{field} in the run's config.json" + others * searches
