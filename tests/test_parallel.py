"""Where compiled code is kept, and how many programs run."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import jax
import psutil
import pytest

from nmt import parallel

FOLDER = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture
def _same_settings_after() -> Iterator[None]:
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("_same_settings_after")
def test_compiled_code_is_kept_in_the_users_cache_unless_they_chose(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel.platformdirs, "user_cache_path", tmp_path.joinpath)
    chosen = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv(FOLDER, chosen)
    parallel.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == chosen
    monkeypatch.delenv(FOLDER)
    parallel.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "nmt" / "compiled")


@pytest.mark.parametrize(
    ("limit", "devices", "expected"),
    [("max 100000", 1, 8), ("250000 100000", 1, 3), ("50000 100000", 1, 1), (None, 2, 4)],
)
def test_there_is_a_program_for_each_core(limit, devices, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    monkeypatch.setattr(parallel, "Path", lambda path: tmp_path / Path(path).name)
    if limit:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert parallel.num_programs() == expected


@pytest.mark.parametrize("name", ["memory.max", "memory.limit_in_bytes"])
def test_memory_is_that_of_the_machine_or_of_what_a_control_group_may_still_take(
    name, tmp_path, monkeypatch
):
    monkeypatch.setattr(parallel, "Path", lambda *path: tmp_path / Path(*path).name)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2 * 10**12))
    assert parallel.memory_available() == 2 * 10**12
    group = tmp_path / name
    if name == "memory.max":
        group.write_text("max\n")
        assert parallel.memory_available() == 2 * 10**12
    group.write_text(f"{10**12}\n")
    assert 0.9e12 < parallel.memory_available() < 10**12
    group.write_text("4096\n")  # of which more is taken
    assert parallel.memory_available() == 0
