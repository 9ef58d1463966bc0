"""A `Translator` of a run's folder, and one of several."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from nmt.checkpoint import CONFIG, TOKENIZER, Checkpoints, Which, read_config, read_tokenizer
from nmt.config import InputError
from nmt.decoding.alignment import read_aligner
from nmt.decoding.translator import Translator
from nmt.models.ensemble import Ensemble
from nmt.models.quantization import cast_params, quantize_params
from nmt.models.seq2seq import Params, build, init_params

Precision = Literal["float32", "bfloat16", "int8"]
"""Type of activations and weights; "int8" is of weights, and of activations as they meet them."""


def load(
    workdir: str | Path,
    checkpoint: Which = "best",
    *,
    precision: Precision | None = None,
) -> Translator:
    """Makes a translator of a run's folder; nothing in the folder is executed.

    Args:
      workdir: the folder that `train.py` wrote.
      checkpoint: "best" by dev BLEU, "latest", or a step.
      precision: None is the model's own, as it was trained. Scores are float32 always.

    Raises:
      InputError: the folder holds no run, or a part of it is missing or damaged.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    if precision not in (None, *get_args(Precision)):
        raise InputError(f"precision is {precision!r}; expected one of {get_args(Precision)}")
    if precision is not None:
        compute_dtype: Any = "float32" if precision == "int8" else precision
        config = replace(config, model=replace(config.model, compute_dtype=compute_dtype))
    tokenizer = read_tokenizer(workdir)
    model = build(config.model, tokenizer.vocab_sizes, tokenizer.shared)
    checkpoints = Checkpoints(workdir, read_only=True)
    params = checkpoints.params(checkpoint)
    checkpoints.close()
    expected = _shapes(jax.eval_shape(partial(init_params, model), jax.random.key(0)))
    found = _shapes(params)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            of_checkpoint, of_config = (
                f"has the shape {shapes[name]}" if name in shapes else "does not exist"
                for shapes in (found, expected)
            )
            raise InputError(
                f"{workdir}: the parameter {name} {of_checkpoint} in the checkpoint and {of_config}"
                f" by {CONFIG} and {TOKENIZER}: these were edited, or it is a run of another "
                "version of nmt"
            )
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not np.isfinite(leaf).all():
            name = jax.tree_util.keystr(path)
            raise InputError(f"{workdir}: not all values of the parameter {name} are finite")
    if precision == "int8":
        params = quantize_params(params)
    elif precision == "bfloat16":
        params = cast_params(params, precision)
    aligner = read_aligner(workdir, config.model)
    return Translator(model, params, tokenizer, config, aligner)


def ensemble(translators: Iterable[Translator]) -> Translator:
    """Makes one translator of several, whose models' log-probabilities it averages.

    The configuration and the alignments are those of the first.

    Raises:
      InputError: their vocabularies differ.
    """
    translators = list(translators)
    if not translators:
        raise InputError("an ensemble of no models")
    first, *others = translators
    if not others:
        return first
    if any(isinstance(member.model, Ensemble) for member in translators):
        raise InputError("an ensemble of ensembles; give all models at once")
    for other in others:
        if other.tokenizer.to_bytes() != first.tokenizer.to_bytes():
            raise InputError("the models of an ensemble have different vocabularies")
        replace(first.config, model=other.config.model)  # raises where its positions do not suffice
    return Translator(
        Ensemble(tuple(member.model.clone() for member in translators)),  # one model is shared
        {f"members_{n}": translator.params for n, translator in enumerate(translators)},
        first.tokenizer,
        first.config,
        first.aligner,
    )


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}
