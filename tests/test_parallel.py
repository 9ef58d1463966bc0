"""Where compiled code is kept, and how many programs run."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
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
