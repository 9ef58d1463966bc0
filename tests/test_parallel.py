"""Where compiled code is kept, and how many programs run."""

import os
from collections.abc import Callable, Iterator
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


@pytest.mark.usefixtures("_same_settings_after")
def test_a_cache_folder_that_cannot_be_made_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel.platformdirs, "user_cache_path", tmp_path.joinpath)
    monkeypatch.delenv(FOLDER)
    chosen = jax.config.jax_compilation_cache_dir
    (tmp_path / "nmt").write_text("a file")
    parallel.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == chosen


@pytest.fixture
def system(tmp_path, monkeypatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Makes files of the system's."""

    def make(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.setattr(parallel, "Path", lambda *names: tmp_path / Path(*names).relative_to("/"))
    kept = parallel._control_groups, parallel.num_programs
    for function in kept:
        function.cache_clear()
    yield make
    for function in kept:
        function.cache_clear()


V1, V2 = "7:pids:/\n4:memory:/jobs/5\n3:cpu,cpuacct:/jobs\n0::/\n", "0::/jobs/5\n"


@pytest.mark.parametrize(
    ("files", "devices", "expected"),
    [
        ({}, 2, 4),
        ({"/proc/self/cgroup": V2}, 1, 8),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/cpu.max": "max 100000\n"}, 1, 8),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/cpu.max": "250000 100000\n"}, 1, 3),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/jobs/5/cpu.max": "50000 100000\n"}, 1, 1),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/jobs/6/cpu.max": "50000 100000\n"}, 1, 8),
        (
            {
                "/proc/self/cgroup": V1,
                "/sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us": "150000\n",
                "/sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us": "100000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            1,
            2,
        ),
        ({"/proc/self/cgroup": "0::/../a\n", "/sys/fs/cgroup/cpu.max": "1 1\n"}, 1, 1),
    ],
)
def test_there_is_a_program_for_each_core(files, devices, expected, system, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    system(files)
    assert parallel.num_programs() == expected


STAT = "anon 5\nactive_file 30\ninactive_file 20\nshmem 7\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 1000),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/memory.max": "max\n"}, 1000),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/memory.max": "900\n"}, 900),
        (
            {  # more than the machine has
                "/proc/self/cgroup": V1,
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**63 - 4096}\n",
                "/sys/fs/cgroup/memory/memory.usage_in_bytes": "1500\n",
            },
            1000,
        ),
        (
            {
                "/proc/self/cgroup": V2,
                "/sys/fs/cgroup/memory.max": "900\n",
                "/sys/fs/cgroup/jobs/5/memory.max": "500\n",
                "/sys/fs/cgroup/jobs/5/memory.current": "200\n",
                "/sys/fs/cgroup/jobs/5/memory.stat": STAT,
            },
            350,
        ),
        (
            {
                "/proc/self/cgroup": V1,
                "/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": "500\n",
                "/sys/fs/cgroup/memory/jobs/memory.usage_in_bytes": "100\n",
                "/sys/fs/cgroup/memory/jobs/memory.stat": f"{STAT}total_active_file 60\n",
                "/sys/fs/cgroup/memory/jobs/6/memory.limit_in_bytes": "1\n",
            },
            480,
        ),
        (
            {  # of which more is taken
                "/proc/self/cgroup": V1,
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "500\n",
                "/sys/fs/cgroup/memory/memory.usage_in_bytes": "501\n",
            },
            0,
        ),
    ],
)
def test_memory_is_that_of_the_machine_or_of_what_its_control_groups_may_still_take(
    files, expected, system, monkeypatch
):
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(available=1000, total=2000)
    )
    system(files)
    assert parallel.memory_available() == expected
