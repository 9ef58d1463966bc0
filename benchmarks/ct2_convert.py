"""Parameters of a Transformer of ours as a model of CTranslate2's."""

from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import TransformerSpec

from nmt.config import TransformerConfig
from nmt.models.attention import sinusoidal_positions

NUM_POSITIONS = 1024


def convert(config: TransformerConfig, params: Any, tokens: list[str], folder: Path) -> None:
    """Writes a model for `ctranslate2.Translator`; the vocabulary is shared by both sides."""
    pre_norm = config.norm == "pre"
    spec = TransformerSpec.from_config(config.num_layers, config.num_heads, pre_norm=pre_norm)
    table = params["target_embedding"]["embedding"]
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = table
    spec.decoder.projection.weight = table
    positions = np.array(sinusoidal_positions(np.arange(NUM_POSITIONS), config.emb_dim))
    spec.encoder.position_encodings.encodings = positions
    spec.decoder.position_encodings.encodings = positions
    for number in range(config.num_layers):
        layer, ours = spec.encoder.layer[number], params[f"encoder_layers_{number}"]
        _attention(layer.self_attention, ours, "attention", fused=3)
        _feed_forward(layer.ffn, ours)
        layer, ours = spec.decoder.layer[number], params[f"decoder_layers_{number}"]
        _attention(layer.self_attention, ours, "attention", fused=3)
        _attention(layer.attention, ours, "cross_attention", fused=2)
        _feed_forward(layer.ffn, ours)
    if pre_norm:
        _norm(spec.encoder.layer_norm, params["encoder_norm"])
        _norm(spec.decoder.layer_norm, params["decoder_norm"])
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = 1e-6
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = "<unk>", "<s>", "</s>"
    spec.config.decoder_start_token = "<s>"
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.validate()
    spec.optimize(quantization=None)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def _norm(target: Any, ours: Any) -> None:
    target.gamma, target.beta = np.array(ours["scale"]), np.array(ours["bias"])


def _attention(target: Any, layer: Any, name: str, fused: int) -> None:
    """Fuses the last `fused` of query, key and value, as [outputs, inputs]."""
    parts = [_matrix(layer[name][part], 1) for part in ("query", "key", "value")]
    parts = [*parts[: 3 - fused], np.concatenate(parts[3 - fused :])]
    for linear, weight in zip(
        target.linear, [*parts, _matrix(layer[name]["output"], 2)], strict=True
    ):
        linear.weight = weight
    _norm(target.layer_norm, layer[f"{name}_residual"]["norm"])


def _feed_forward(target: Any, layer: Any) -> None:
    for linear, name in ((target.linear_0, "inner"), (target.linear_1, "outer")):
        linear.weight = _matrix(layer["feed_forward"][name], 1)
        linear.bias = np.array(layer["feed_forward"][name]["bias"])
    _norm(target.layer_norm, layer["feed_forward_residual"]["norm"])


def _matrix(ours: Any, num_inputs: int) -> np.ndarray:
    """Returns a weight, whose last `num_inputs` axes are the input, as [outputs, inputs]."""
    weight = np.array(ours["weight"])
    return weight.reshape(-1, int(np.prod(weight.shape[-num_inputs:])))
