"""All tests run on several CPU devices, so that what one computes can be compared with many."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest
from small_run import CONFIG

import nmt
from nmt.training.loop import train

# Read when JAX first asks for devices: before any test runs. Programs this small take longer to
# compile than to run, hence all but the first; `test_as_shipped` runs without these.
flags = [
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
]
if jax.__version_info__ < (0, 11):  # compiles in a third of the time; unknown to newer versions
    flags.append("--xla_cpu_use_fusion_emitters=false")
# What the environment says comes last: of a flag said twice the last counts.
os.environ["XLA_FLAGS"] = " ".join([*flags, os.environ.get("XLA_FLAGS", "")])


# Tracing makes many objects that live on: to look for cycles among them whenever there are some
# hundreds more takes a fourteenth of the time.
gc.set_threshold(100_000, 50, 50)


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Many tests start the same small run again, some as processes; they need not compile it again.

    The user's own cache folder is left alone.
    """
    folder = str(tmp_path_factory.mktemp("compiled"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(autouse=True)
def _forget_compiled() -> Iterator[None]:
    """Frees what was compiled before too many memory mappings are taken.

    Each program of the CPU backend takes some; a process may have 65,530 (`vm.max_map_count`), and
    XLA crashes where none is left.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which no test changes."""
    workdir = tmp_path_factory.mktemp("run")
    train(CONFIG, workdir)
    return workdir


@pytest.fixture(scope="session")
def translator(run: Path) -> nmt.Translator:
    return nmt.load(run)
