"""Pure functions of a model, compiled for all devices of this host, within the memory there is."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from nmt import parallel
from nmt.config import InputError
from nmt.decoding.decoder import Ids
from nmt.models.seq2seq import Params, SequenceModel
from nmt.progress import say

Function = Callable[..., Any]
"""(model, ids, params, *rows, *values, **static) -> a tree of rows: see `nmt.decoding.decoder`."""


class Compiled:
    """What has been compiled of functions of one model.

    Attributes:
      shapes: the function's name, how many rows of sources it takes at once on a device, and how
        long they are, of each.
    """

    def __init__(self, model: SequenceModel, ids: Ids) -> None:
        self.model, self.ids = model, ids
        self.shapes: list[tuple[str, tuple[int, ...]]] = []
        self._functions: dict[tuple[Any, ...], Any] = {}
        self._checked: set[tuple[Any, ...]] = set()

    def run(
        self, function: Function, params: Params, rows: Any, values: Any = (), **static: int
    ) -> Any:
        """Runs a function; returns NumPy arrays.

        Args:
          function: is compiled once for each shape of its rows.
          params: on all devices.
          rows: a tuple of trees of arrays, the source first; their rows are dealt to the devices.
          values: a tuple of trees of what all rows share.
          **static: values that are part of what is compiled.

        Raises:
          InputError: it needs more memory than there is.
        """
        self.check(function, params, rows, values, **static)
        found = self._function(function, **static)(params, parallel.split_local(rows), values)
        return parallel.join_local(found)

    def check(
        self, function: Function, params: Params, rows: Any, values: Any = (), **static: int
    ) -> None:
        """Raises the InputError that `run` would; runs nothing."""
        arguments = params, parallel.split_local(rows), values
        leaves, structure = jax.tree.flatten(arguments[1:])
        key = (function, *static.items(), structure, *map(np.shape, leaves))
        if key in self._checked:
            return
        lowered = self._function(function, **static).lower(*arguments)
        needed = parallel.memory_needed(lowered.compile())
        available = parallel.memory_available()
        num_rows, length = _shape(leaves[0][0], static)
        size = "an unknown size" if needed is None else f"{needed / 1e6:,.0f} MB"
        shape = f"{function.__name__} of {num_rows} rows of {length} source pieces needs {size}"
        if needed is None or available is None:
            say(shape)
        elif needed > available:
            raise InputError(
                f"{shape}, and {available / 1e6:,.0f} MB are available: with about "
                f"{num_rows * available // needed} rows it would fit; lower decoding.batch_tokens "
                "in the run's config.json, or the beam size, or take one_row"
            )
        self._checked.add(key)

    def _function(self, function: Function, **static: int) -> Any:
        """Makes a function of (params, rows, values), which counts what is compiled of it."""
        key = (function, *static.items())
        if key not in self._functions:

            def counted(params: Params, rows: Any, values: Any) -> Any:
                # Traced once a compilation.
                self.shapes.append((function.__name__, _shape(rows[0], static)))
                return function(self.model, self.ids, params, *rows, *values, **static)

            self._functions[key] = parallel.pmap_rows(counted)
        return self._functions[key]


def _shape(source: Any, static: dict[str, int]) -> tuple[int, int]:
    """Returns how many rows are computed at once, of those that are given, and their length."""
    num_rows, length = source.shape
    return static.get("num_rows", num_rows), length
