"""Recurrent models in Linen: the RNN encoder-decoder, RNNsearch, and Luong's attention.

Cho et al. 2014 (https://aclanthology.org/D14-1179), Sutskever et al. 2014
(https://arxiv.org/abs/1409.3215), Bahdanau et al. 2015 (https://arxiv.org/abs/1409.0473), Luong et
al. 2015 (https://aclanthology.org/D15-1166). Recurrent matrices are orthogonal at first, as
Bahdanau's (appendix B.1); all others as the Transformer's are, for which the papers draw from
narrow distributions.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from nmt.config import RecurrentConfig
from nmt.models.cells import NUM_PARTS, read
from nmt.models.encoder_decoder import EncoderDecoder, embedding
from nmt.models.layers import Output, output
from nmt.models.recurrent_decoder import (
    BahdanauDecoder,
    Cache,
    Constants,
    Layer,
    LuongDecoder,
    Memory,
    Seen,
)


class Encoder(nn.Module):
    """Layers that read one way or both ways."""

    config: RecurrentConfig

    def setup(self) -> None:
        config = self.config
        self.dim = config.encoder_width
        width = config.emb_dim
        layers = []
        for _ in range(config.num_layers):
            layers.append([self._layer(width) for _ in config.directions])
            width = config.annotation_dim
        self.layers = layers
        self.dropout = nn.Dropout(config.dropout_rate)

    def _layer(self, input_dim: int) -> Layer:
        return Layer(self.config.cell, input_dim, self.dim, self.config.compute_dtype)

    def __call__(
        self, x: Float[Array, "B S D"], segments: Int[Array, "B S"], deterministic: bool
    ) -> Memory:
        """Reads embedded sources."""
        nothing = jnp.zeros((len(x), NUM_PARTS[self.config.cell] * self.dim))
        finals = []
        for number, layer in enumerate(self.layers):
            if number:
                x = self.dropout(x, deterministic=deterministic)
            directions = zip(layer, self.config.directions, strict=True)
            states, ends = zip(
                *(
                    read(one.step(), one.inputs(x), segments != 0, nothing, way == "backward")
                    for one, way in directions
                ),
                strict=True,
            )
            x = jnp.concatenate([state[..., : self.dim] for state in states], axis=-1)
            x = x.astype(self.config.compute_dtype)
            finals.append(jnp.stack(ends, axis=1))
        return Memory(x, segments, jnp.stack(finals, axis=1))


class Recurrent(EncoderDecoder):
    """Encoder and decoder with the methods that every sequence-to-sequence model offers."""

    config: RecurrentConfig

    packable: ClassVar[bool] = False  # a state goes on from one place to the next

    def setup(self) -> None:
        super().setup()
        config = self.config
        self.encoder = Encoder(config)
        decoder = BahdanauDecoder if config.decoder == "bahdanau" else LuongDecoder
        self.decoder = decoder(config)
        width = config.readout_width
        self.output_embedding = embedding(self.target_vocab_size, config, width)  # W_o

    def encode(
        self,
        source: Int[Array, "B S"],
        segments: Int[Array, "B S"],
        positions: Int[Array, "B S"],
        *,
        deterministic: bool,
    ) -> Memory:
        """Turns source ids into one annotation a position.

        Args:
          source: ids, of one sentence a row.
          segments: 1 where there is a sentence, 0 at the padding behind it.
          positions: not needed.
          deterministic: without dropout; otherwise a "dropout" key is needed.
        """
        del positions
        x = self.dropout(self.source_embedding(source), deterministic=deterministic)
        return self.encoder(x, segments, deterministic)

    def _decode(
        self,
        memory: Memory,
        decoder_input: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        deterministic: bool,
    ) -> Output:
        del segments, positions  # padding comes last
        embedded = self.dropout(self.target_embedding(decoder_input), deterministic=deterministic)
        constants = self.decoder.constants(memory)
        take_step, noise = self.decoder.stepper(constants), None
        if not deterministic and self.config.num_layers > 1:
            shape = decoder_input.shape[1], len(decoder_input), 1, self.config.num_layers - 1
            noise = self.dropout(jnp.ones((*shape, self.config.hidden_dim)), deterministic=False)

        def step(cache: Cache, place: tuple[jax.Array, Any, Any]) -> tuple[Cache, Seen]:
            number, inputs, noise = place
            return take_step(cache, number[None, None], inputs[:, None], noise)

        inputs = jnp.moveaxis(self.decoder.layers[0].inputs(embedded), 1, 0)
        _, seen = jax.lax.scan(step, constants.first, (jnp.arange(len(inputs)), inputs, noise))
        seen = jax.tree.map(lambda x: jnp.moveaxis(x[:, :, 0], 0, 1), seen)
        if seen.weights is not None:
            self.sow("attention", "cross", seen.weights[:, None])
        return self._output(constants, seen, embedded, deterministic)

    def start(self, memory: Memory, num_hypotheses: int, length: int) -> tuple[Constants, Cache]:
        """Prepares the decoding of K hypotheses a sentence, of any length."""
        del length
        constants = self.decoder.constants(memory)
        return constants, jax.tree.map(
            lambda x: jnp.repeat(x, num_hypotheses, axis=1), constants.first
        )

    def decode_step(
        self,
        constants: Constants,
        cache: Cache,
        token: Int[Array, "B K"],
        step: Int[Array, " B"],
    ) -> tuple[Float[Array, "B K V"], Cache]:
        """Computes the logits of each hypothesis' next piece after `token`, and the cache then.

        Args:
          constants: of `start`.
          cache: of `start` or of the step before.
          token: the last pieces.
          step: how many pieces precede them; 0 begins, whatever the cache holds.
        """
        begins = (step == 0)[:, None, None]
        cache = jax.tree.map(lambda x, y: jnp.where(begins, x, y), constants.first, cache)
        embedded = self.target_embedding(token)
        inputs = self.decoder.layers[0].inputs(embedded)
        cache, seen = self.decoder.stepper(constants)(cache, step[:, None], inputs, None)
        return self._output(constants, seen, embedded, True).logits, cache

    @nn.nowrap
    def reorder(self, cache: Cache, parents: Int[Array, "B K"]) -> Cache:
        """Gives each new hypothesis k the past of the old hypothesis `parents[:, k]`."""
        return jax.tree.map(lambda x: jnp.take_along_axis(x, parents[..., None], axis=1), cache)

    def _output(
        self,
        constants: Constants,
        seen: Seen,
        embedded: Float[Array, "B T D"],
        deterministic: bool,
    ) -> Output:
        x = self.decoder.readout(constants, seen, embedded)
        return output(self.dropout(x, deterministic=deterministic), self.output_embedding)
