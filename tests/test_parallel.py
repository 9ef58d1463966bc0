"""Where compiled code is kept."""

from collections.abc import Iterator

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
