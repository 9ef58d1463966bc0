"""A run's folder: configuration, tokenizer, checkpoints; all that inference needs.

    config.json  tokenizer.model  checkpoints/<step>/…

Reading one executes nothing from it. Every array carries a digest, since orbax notices a missing
byte but not a changed one.
"""

import dataclasses
import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from nmt.config import Config, InputError, digest, from_json
from nmt.data.tokenizer import Tokenizer, clean

CONFIG, TOKENIZER, CHECKPOINTS = "config.json", "tokenizer.model", "checkpoints"

Which = Literal["best", "latest"] | int


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes a whole file or, if interrupted, none of it; several hosts may write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())  # a name must not outlast a power failure that its bytes did not
    temporary.replace(path)


def read_config(workdir: Path) -> Config:
    """Reads a run's configuration.

    Raises:
      InputError: there is no run in the folder, or its configuration is damaged.
    """
    return from_json(_read(workdir / CONFIG).decode(errors="replace"), str(workdir / CONFIG))


def read_tokenizer(workdir: Path) -> Tokenizer:
    """Reads a run's tokenizer.

    Raises:
      InputError: the file is missing or not a tokenizer.
    """
    data = _read(workdir / TOKENIZER)
    try:
        return Tokenizer.from_bytes(data)
    except InputError as error:
        raise InputError(f"{workdir / TOKENIZER}: {error}") from None


class Checkpoints:
    """The checkpoints of a run: the latest, and the one with the best score.

    Each is one atomic save of four items: `params`, `optimizer` (the rest of the state), `progress`
    (whatever JSON the loop needs to go on) and `digests` (with the settings that a translation
    depends on); and its score. Saving is asynchronous.
    """

    def __init__(self, workdir: Path, *, read_only: bool = False) -> None:
        folder = workdir.absolute() / CHECKPOINTS
        if read_only and not folder.is_dir():
            raise InputError(f"{folder}: no checkpoints; has the run been trained?")
        self._folder, self._tokenizer, self._config = folder, workdir / TOKENIZER, workdir / CONFIG
        self._settings = _settings(read_config(workdir))
        best = checkpoint_managers.BestN(
            get_metric_fn=_score, reverse=False, n=1, keep_checkpoints_without_metrics=False
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                [checkpoint_managers.LatestN(1), best]
            ),
            best_fn=_score,
            create=not read_only,  # orbax's own read_only warns three times of being so
            cleanup_tmp_directories=not read_only,  # what a killed save left
        )
        try:
            self._manager = ocp.CheckpointManager(folder, options=options)
            self._manager.best_step()  # reads them all
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder}: metrics cannot be read: {error!r}; delete the checkpoint of these"
            ) from error

    def steps(self) -> list[int]:
        """The steps that can be read, ascending."""
        return sorted(self._manager.all_steps())

    def save(
        self, step: int, params: Any, optimizer: Any, progress: Any, score: float | None
    ) -> None:
        """Starts to save; the arrays are copied before it returns.

        Args:
          step: the step that the state has reached; the checkpoint's name.
          params: a tree of arrays.
          optimizer: a tree of arrays.
          progress: what JSON can hold.
          score: the measure by which the best is kept; None where nothing was measured.
        """
        self._manager.wait_until_finished()  # a save while another runs would be left out
        # Copies: on CPU a NumPy view would share the buffers that the next step writes over.
        arrays = jax.tree.map(np.array, {"params": params, "optimizer": optimizer})
        items = {**arrays, "progress": progress}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.PyTreeSave(items["params"]),
                optimizer=ocp.args.PyTreeSave(items["optimizer"]),
                progress=ocp.args.JsonSave(progress),
                digests=ocp.args.JsonSave(
                    {name: _digests(tree) for name, tree in items.items()}
                    | {TOKENIZER: _file_digest(self._tokenizer), CONFIG: self._settings}
                ),
            ),
            metrics=None if score is None else {"score": score, "sha256": digest(score)},
        )

    def restore(self, optimizer: Any) -> tuple[Any, Any, Any]:
        """Reads the latest checkpoint.

        Args:
          optimizer: a tree of the structure that was saved; its leaves may be shapes alone.

        Returns:
          params and optimizer as NumPy arrays, progress.

        Raises:
          InputError: an array differs from its digest.
        """
        step = self.steps()[-1]
        items = self._restore(
            step,
            params=ocp.args.PyTreeRestore(),
            optimizer=ocp.args.PyTreeRestore(
                optimizer,
                restore_args=jax.tree.map(
                    lambda _: ocp.RestoreArgs(restore_type=np.ndarray), optimizer
                ),
            ),
            progress=ocp.args.JsonRestore(),
        )
        return items.params, items.optimizer, items.progress

    def params(self, which: Which = "best") -> Any:
        """Reads the parameters of a checkpoint, with no knowledge of the model or the optimizer.

        Args:
          which: "best" by score (the latest where none has one), "latest", or a step.

        Raises:
          InputError: there is no such checkpoint, an array differs from its digest, or
            `config.json` from the settings under which it was saved.
        """
        steps = self.steps()
        named = {"best": self._manager.best_step(), "latest": steps[-1] if steps else None}
        step = named.get(which, which) if isinstance(which, str) else which
        if which == "best" and step is None:
            step = named["latest"]
        if step not in steps:
            raise InputError(f"{self._folder}: no checkpoint {which!r}; there are {steps}")
        # Python's own integer, whatever equals it: orbax makes a name of it.
        step = steps[steps.index(step)]
        return self._restore(step, params=ocp.args.PyTreeRestore()).params

    def wait(self) -> None:
        """Returns when what was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then releases what the manager holds."""
        self._manager.close()

    def _restore(self, step: int, **items: Any) -> Any:
        try:
            restored = self._manager.restore(
                step, args=ocp.args.Composite(**items, digests=ocp.args.JsonRestore())
            )
            saved = {name: dict(restored.digests[name]) for name in items}
            tokenizer, settings = restored.digests[TOKENIZER], dict(restored.digests[CONFIG])
        except Exception as error:  # of many kinds, for a file may be damaged in many ways
            reason = str(error).partition("\n")[0].rstrip(":")
            raise InputError(
                f"{self._folder / str(step)}: cannot be read: {reason} (it is damaged, or of "
                "another version of nmt)"
            ) from error
        if tokenizer != _file_digest(self._tokenizer):
            raise InputError(
                f"{self._tokenizer} is damaged: it differs from the digest that checkpoint {step} "
                "was saved with"
            )
        for field, value in settings.items():
            if self._settings.get(field) != value:
                raise InputError(
                    f"{self._config}: {clean(field)} is {self._settings.get(field)!r}, and was "
                    f"{value!r} when checkpoint {step} was saved: it is damaged, or was edited; "
                    "what a call can choose need not stand there"
                )
        for item, expected in saved.items():
            found = _digests(restored[item])
            for name in sorted(found.keys() | expected.keys()):
                if found.get(name) != expected.get(name):
                    raise InputError(
                        f"{self._folder / str(step)}: {item}{name} is damaged: it differs from the "
                        "digest it was saved with; delete this checkpoint to use an older one"
                    )
        return restored


def _settings(config: Config) -> dict[str, Any]:
    """Returns what a translation depends on, as JSON would give it back.

    How much is translated at once may be edited, for a machine of another size.
    """
    groups = {"model": config.model, "decoding": config.decoding}
    return {
        f"{name}.{field}": json.loads(json.dumps(value))
        for name, group in groups.items()
        for field, value in dataclasses.asdict(group).items()
        if field not in ("batch_tokens", "max_source_length")
    }


def _score(metrics: dict[str, Any]) -> float:
    """Reads a score; a changed one would make another checkpoint the best.

    Raises:
      ValueError: it differs from its digest.
    """
    score: float = metrics["score"]
    if metrics["sha256"] != digest(score):
        raise ValueError(f"the score is {score}, which differs from its digest")
    return score


def _digests(tree: Any) -> dict[str, str]:
    """Names each leaf by its path; the digest of an array covers type, shape and bytes."""
    digests = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
        digests[jax.tree_util.keystr(path)] = digest.hexdigest()
    return digests


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a run's folder") from None
