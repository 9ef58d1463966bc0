"""Pure functions of a model, compiled for all devices of this host, within the memory there is."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from nmt import parallel
from nmt.config import InputError
from nmt.decoding.decoder import Ids
from nmt.models.seq2seq import Params, SequenceModel
from nmt.progress import say

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
    room: int  # how many of its kind have room in memory beside each other


class Compiled:
    """What has been compiled of functions of one model.

    Attributes:
      shapes: the function's name, how many rows of sources it takes at once on a device, and how
        long they are, of each.
    """

    def __init__(self, model: SequenceModel, ids: Ids) -> None:
        self.model, self.ids = model, ids
        self.shapes: list[tuple[str, tuple[int, int]]] = []
        self._programs: dict[tuple[Any, ...], Program] = {}

    def run(self, params: Params, calls: Iterable[Call]) -> Iterator[Any]:
        """Yields what each call gives, as NumPy arrays, in their order.

        As many run beside each other as `parallel.num_programs` says and the memory has room for;
        that changes no result.

        Args:
          params: on all devices.
          calls: are taken as they can be started.

        Raises:
          InputError: one needs more memory than there is.
        """
        started: deque[Future[Any]] = deque()
        num_programs = parallel.num_programs()
        with ThreadPoolExecutor(num_programs) as pool:
            for call in calls:
                program = self.compile(params, call)  # by one thread: what runs compiles nothing
                at_once = min(num_programs, program.room)
                while len(running := [f for f in started if not f.done()]) >= at_once:
                    wait(running, return_when=FIRST_COMPLETED)
                started.append(pool.submit(_run, program, params, call))
                while started and started[0].done():
                    yield started.popleft().result()
            while started:
                yield started.popleft().result()

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

            def applied(params: Params, rows: Any, values: Any) -> Any:
                return function(self.model, self.ids, params, *rows, *values, **static)

            program = parallel.pmap_rows(applied).lower(*arguments).compile()
            *_, num_rows, length = arguments[1][0].shape
            shape = static.get("num_rows", num_rows), length
            self.shapes.append((function.__name__, shape))
            self._programs[key] = Program(program, _room(program, function.__name__, shape))
        return self._programs[key]


def _run(program: Program, params: Params, call: Call) -> Any:
    return parallel.join_local(program.run(params, parallel.split_local(call.rows), call.values))


def _room(program: Any, name: str, shape: tuple[int, int]) -> int:
    """Counts the runs of a program that the memory has room for; says so where it is unknown."""
    needed, available = parallel.memory_needed(program), parallel.memory_available()
    size = "an unknown size" if needed is None else f"{needed / 1e6:,.0f} MB"
    message = f"{name} of {shape[0]} rows of {shape[1]} source pieces needs {size}"
    if needed is None or available is None:
        say(message)
        return sys.maxsize
    if needed > available:
        raise InputError(
            f"{message}, and {available / 1e6:,.0f} MB are available: with about "
            f"{shape[0] * available // needed} rows it would fit; lower decoding.batch_tokens in "
            "the run's config.json, or the beam size, or take one_row"
        )
    return available // max(1, needed)
