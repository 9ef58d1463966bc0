"""Devices and hosts: the only file that names them.

Data parallelism is `jax.pmap` over the axis "data". State goes in and comes out without a device
axis, replicated; batches have one, of the devices of this host.
"""

import math
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import platformdirs
import psutil
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "data"

Tree = TypeVar("Tree")


def join_hosts() -> None:
    """Joins the other processes of a job, where the environment names their coordinator.

    `JAX_COORDINATOR_ADDRESS` is host:port of the first process; `JAX_NUM_PROCESSES` and
    `JAX_PROCESS_ID` are needed where JAX cannot find them out (it can on SLURM, MPI, Cloud TPU).
    """
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if address:
        names = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        total, number = (int(os.environ[name]) if name in os.environ else None for name in names)
        jax.distributed.initialize(address, total, number)


def keep_compiled() -> None:
    """Keeps what is compiled for the next process, in the user's cache folder.

    Unless the user has chosen another (`JAX_COMPILATION_CACHE_DIR`) or none
    (`JAX_ENABLE_COMPILATION_CACHE=false`), or it cannot be written to.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = platformdirs.user_cache_path("nmt") / "compiled"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def is_first_host() -> bool:
    """Whether this process is the one that writes files and messages."""
    return jax.process_index() == 0


def replicate(tree: Tree, devices: list[jax.Device] | None = None) -> Tree:
    """Copies a tree of NumPy arrays to all devices (of all hosts), where `pmap` expects its state.

    A state placed so compiles a step once; a host array would compile it twice, since its own
    output is placed otherwise.
    """
    mesh = Mesh(np.array(devices or jax.devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def split_global(batch: Tree) -> Tree:
    """Deals the rows of a global batch, a multiple of all devices; returns this host's share."""
    hosts, host = jax.process_count(), jax.process_index()
    return split_local(jax.tree.map(lambda x: x.reshape(hosts, -1, *x.shape[1:])[host], batch))


def replicate_locally(tree: Tree) -> Tree:
    """Copies a tree of arrays to the devices of this host."""
    return replicate(tree, jax.local_devices())


def num_devices() -> int:
    """Counts the devices of all hosts."""
    return jax.device_count()


def num_local_devices() -> int:
    """Counts the devices of this host."""
    return jax.local_device_count()


@cache  # as it is asked at each translation, and reads files
def num_programs() -> int:
    """Counts the programs that are best run beside each other, each on all devices of this host.

    One keeps an accelerator busy. It does not keep the cores of a CPU busy, whose threads wait for
    each other behind each of its many small parts: there it is one for each core.
    """
    if jax.default_backend() != "cpu":
        return 1
    known = hasattr(os, "sched_getaffinity")  # on Linux
    num_cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    for group in _control_groups("cpu"):
        # Microseconds, of how many: of version 2, and of version 1.
        share = _read(group / "cpu.max").split() or [
            _read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")
        ]
        if all(number.isdigit() for number in share):  # "max" and -1 are no limit
            num_cores = min(num_cores, math.ceil(int(share[0]) / int(share[1])))
    return max(1, num_cores // jax.local_device_count())


def device_kind() -> str:
    """Names the kind of the devices."""
    return jax.devices()[0].device_kind


def split_local(batch: Tree) -> Tree:
    """Deals rows to the devices of this host: [device, rows, ...]."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def join_local(rows: Tree) -> Tree:
    """Undoes `split_local`, as NumPy arrays."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get(rows))


def pmap_train_step(train_step: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles (state, batch) -> (state, metrics) for all devices; the state is donated."""
    return jax.pmap(
        partial(train_step, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=0,
    )


def pmap_eval_step(eval_step: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles (params, batch) -> sums over the batch, for the devices of this host."""
    return jax.pmap(
        partial(eval_step, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=None,
        devices=jax.local_devices(),
    )


def pmap_rows(function: Callable[..., Any]) -> Any:
    """Compiles (params, rows, values) -> rows for the devices of this host."""
    return jax.pmap(function, axis_name=AXIS, in_axes=(None, 0, None), devices=jax.local_devices())


def memory_needed(compiled: Any) -> int | None:
    """Returns the bytes a device needs to run what was compiled, beside its arguments.

    The devices of a CPU share one memory, so that of all is counted there. None is unknown.
    """
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    bytes_needed: int = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return bytes_needed * (jax.local_device_count() if jax.default_backend() == "cpu" else 1)


def memory_available() -> int | None:
    """Returns the bytes that a device has left; of a CPU, the machine or its control group."""
    device = jax.local_devices()[0]
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    if device.platform != "cpu":
        return None
    machine = psutil.virtual_memory()
    left = [machine.available]
    for group in _control_groups("memory"):
        for most, taken in ("max", "current"), ("limit_in_bytes", "usage_in_bytes"):
            limit = _read(group / f"memory.{most}")
            if limit.isdigit() and int(limit) < machine.total:  # version 1 has 2^63 for no limit
                used = int(_read(group / f"memory.{taken}") or 0)
                told = dict(line.split() for line in _read(group / "memory.stat").splitlines())
                # Copies of files make way for what needs room. Version 1 counts those of groups in
                # this one apart.
                names = "active_file", "inactive_file"
                files = sum(int(told.get(f"total_{x}", told.get(x, 0))) for x in names)
                left.append(int(limit) - used + files)
    return max(0, min(left))


@cache  # as it is asked before each translation, and a process stays where it is
def _control_groups(kind: str) -> tuple[Path, ...]:
    """Lists the folder of this process's control group, and of those that it is in."""
    groups: list[Path] = []
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, kinds, path = line.split(":", 2)
        if kind in (kinds or kind).split(","):  # version 2 has one hierarchy for all
            root = Path("/sys/fs/cgroup", kind if kinds else "")
            group = root / path.strip("/")
            groups += (x for x in (group, *group.parents) if x.is_relative_to(root))
    return tuple(groups)


def _read(path: Path) -> str:
    """Reads a file of the system's; nothing where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
