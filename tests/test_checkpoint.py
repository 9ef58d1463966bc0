"""Which checkpoints are kept, and what a save holds."""

import jax
import numpy as np
import pytest
from small_run import CONFIG

from nmt.checkpoint import Checkpoints, write_atomic
from nmt.config import InputError, to_json

OPTIMIZER = {"mean": np.zeros(3, np.float32), "step": np.int32(0)}


@pytest.fixture
def workdir(tmp_path):
    """A run's folder before its first checkpoint."""
    (tmp_path / "config.json").write_text(to_json(CONFIG))
    return tmp_path


def params(value):
    return {"layer": {"weight": np.full((2, 3), value, np.float32)}}


def test_latest_and_best_are_kept_and_found_again(workdir):
    checkpoints = Checkpoints(workdir)
    kept = []
    for step, score in ((1, None), (2, 5.0), (3, None), (4, 3.0), (5, None)):
        checkpoints.save(step, params(step), OPTIMIZER, {"position": step}, score)
        checkpoints.wait()
        kept.append(checkpoints.steps())
    checkpoints.close()
    assert kept == [[1], [2], [2, 3], [2, 4], [2, 5]]
    checkpoints = Checkpoints(workdir, read_only=True)
    for which, step in (("best", 2), ("latest", 5), (2, 2)):
        jax.tree.map(np.testing.assert_array_equal, checkpoints.params(which), params(step))
    with pytest.raises(InputError, match=r"no checkpoint 3; there are \[2, 5\]"):
        checkpoints.params(3)
    checkpoints.close()


def test_what_is_saved_is_restored_with_its_types(workdir):
    optimizer = {"mean": np.arange(3, dtype=np.float32), "step": np.int32(7), "pair": (np.ones(2),)}
    progress = {"position": {"epoch": 1}, "loss": 0.1 + 0.2}
    checkpoints = Checkpoints(workdir)
    checkpoints.save(7, params(1), optimizer, progress, None)
    shapes = jax.eval_shape(lambda: optimizer)
    restored = checkpoints.restore(shapes)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, restored, (params(1), optimizer, progress))
    assert restored[1]["mean"].dtype == np.float32
    assert isinstance(restored[1]["pair"], tuple)


def test_a_save_holds_what_the_arrays_were_then(workdir):
    # Saving is asynchronous, and on CPU the next step writes into the same buffers.
    checkpoints = Checkpoints(workdir)
    tree = {"large": np.zeros(4_000_000, np.float32)}
    checkpoints.save(1, tree, OPTIMIZER, {}, None)
    tree["large"][:] = 1
    checkpoints.wait()
    assert not checkpoints.params("latest")["large"].any()
    checkpoints.close()


def test_a_configuration_that_was_edited_or_damaged_is_named(workdir):
    checkpoints, path = Checkpoints(workdir), workdir / "config.json"
    checkpoints.save(3, params(1), OPTIMIZER, {}, None)
    checkpoints.wait()
    checkpoints.close()
    # What training alone reads may change, as it does where a run goes on; and how much is
    # translated at once.
    text = path.read_text().replace('"log_every_steps": 5', '"log_every_steps": 7')
    path.write_text(text.replace('"batch_tokens": 256', '"batch_tokens": 128'))
    checkpoints = Checkpoints(workdir, read_only=True)
    jax.tree.map(np.testing.assert_array_equal, checkpoints.params("latest"), params(1))
    checkpoints.close()
    path.write_text(text.replace('"length_penalty": 0.6', '"length_penalty": 0.2'))
    checkpoints = Checkpoints(workdir, read_only=True)
    with pytest.raises(InputError, match=r"decoding.length_penalty is 0.2, and was 0.6 when check"):
        checkpoints.params("latest")
    checkpoints.close()
    path.write_text(text)
    # A bit of the settings' own name.
    (digests,) = workdir.glob("checkpoints/3/digests/metadata")
    digests.write_text(digests.read_text().replace('"config.json"', '"config.jsoo"'))
    checkpoints = Checkpoints(workdir, read_only=True)
    with pytest.raises(InputError, match=r"cannot be read: .*config.json"):
        checkpoints.params("latest")
    checkpoints.close()


def test_reading_makes_no_folder(tmp_path):
    with pytest.raises(InputError, match="no checkpoints"):
        Checkpoints(tmp_path / "run", read_only=True)
    assert not (tmp_path / "run").exists()


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: pytest.fail("as if killed here"))
    with pytest.raises(pytest.fail.Exception):
        write_atomic(path, "new")
    assert path.read_text() == "old"
