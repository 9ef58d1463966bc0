"""What every model family offers, and how a configuration becomes a model."""

from typing import Any

import jax
import jax.numpy as jnp
from flax.core import unfreeze
from jaxtyping import Array, Float, Int

from nmt.config import ModelConfig, TransformerConfig
from nmt.models.ensemble import Ensemble
from nmt.models.recurrent import Recurrent
from nmt.models.transformer import Transformer

Params = Any
"""A pytree of parameters, as Flax lays it out."""

Model = Transformer | Recurrent
SequenceModel = Model | Ensemble


def build(config: ModelConfig, vocab_sizes: tuple[int, int], shared: bool) -> Model:
    """Makes the model that a configuration describes; no parameters yet.

    Args:
      config: the model's configuration; its type chooses the family.
      vocab_sizes: pieces in the source and the target vocabulary.
      shared: both are one vocabulary with one embedding table.
    """
    family: Any = Transformer if isinstance(config, TransformerConfig) else Recurrent
    return family(config, *vocab_sizes, shared_embeddings=shared)


def init_params(model: Model, key: jax.Array) -> Params:
    """Draws a model's parameters; pure, so `jax.eval_shape` of it counts them for nothing."""
    one = jnp.ones((1, 1), jnp.int32)
    zero = jnp.zeros((1, 1), jnp.int32)
    return model.init(key, one, one, zero, one, one, zero, deterministic=True)["params"]


def attention_maps(
    model: SequenceModel,
    params: Params,
    source: Int[Array, "B S"],
    source_segments: Int[Array, "B S"],
    source_positions: Int[Array, "B S"],
    decoder_input: Int[Array, "B T"],
    target_segments: Int[Array, "B T"],
    target_positions: Int[Array, "B T"],
) -> dict[str, Float[Array, "L B N _T _S"]]:
    """Runs one teacher-forced pass and returns every attention weight.

    Returns:
      For each kind of attention ("encoder", "decoder" and "cross" for the Transformer, "cross" for
      a recurrent model that has it) the weights of all layers and heads; each row sums to 1 over
      the last axis (less under a predicted window). Of an ensemble, those of its first member.
    """
    _, sown = model.apply(
        {"params": params},
        source,
        source_segments,
        source_positions,
        decoder_input,
        target_segments,
        target_positions,
        deterministic=True,
        mutable=["attention"],
    )
    weights = unfreeze(sown.get("attention", {}))
    if isinstance(model, Ensemble):
        weights = weights.get("members_0", {})
    return {kind: jnp.stack(layers) for kind, layers in weights.items()}
