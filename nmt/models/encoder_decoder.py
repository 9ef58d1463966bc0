"""What both families of models are: an encoder, a decoder, and tables that embed pieces."""

from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Array, Float, Int

from nmt.models.layers import Output


class EncoderDecoder(nn.Module):
    """Teacher forcing by a model's `encode` and `_decode`, and its embeddings."""

    config: Any  # the family's
    source_vocab_size: int
    target_vocab_size: int
    shared_embeddings: bool

    def setup(self) -> None:
        self.target_embedding = embedding(self.target_vocab_size, self.config)
        if self.shared_embeddings:
            self.source_embedding = self.target_embedding
        else:
            self.source_embedding = embedding(self.source_vocab_size, self.config)
        self.dropout = nn.Dropout(self.config.dropout_rate)

    def encode(
        self, source: jax.Array, segments: jax.Array, positions: jax.Array, *, deterministic: bool
    ) -> Any:
        """Turns source ids into what the decoder reads."""
        raise NotImplementedError

    def _decode(
        self,
        memory: Any,
        decoder_input: jax.Array,
        segments: jax.Array,
        positions: jax.Array,
        deterministic: bool,
    ) -> Output:
        raise NotImplementedError

    def __call__(
        self,
        source: Int[Array, "B S"],
        source_segments: Int[Array, "B S"],
        source_positions: Int[Array, "B S"],
        decoder_input: Int[Array, "B T"],
        target_segments: Int[Array, "B T"],
        target_positions: Int[Array, "B T"],
        *,
        deterministic: bool,
    ) -> Output:
        """Encodes the source and decodes the target, teacher-forced."""
        memory = self.encode(source, source_segments, source_positions, deterministic=deterministic)
        return self._decode(memory, decoder_input, target_segments, target_positions, deterministic)

    def decode(
        self,
        memory: Any,
        decoder_input: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        *,
        deterministic: bool,
    ) -> Float[Array, "B T V"]:
        """Computes the logits of each next target piece, given those before it.

        Args:
          memory: what `encode` returned.
          decoder_input: target ids, shifted right behind the begin piece.
          segments: as in `encode`; a sentence attends to the memory of its own number.
          positions: as in `encode`.
          deterministic: as in `encode`.
        """
        return self._decode(memory, decoder_input, segments, positions, deterministic).logits


def embedding(rows: int, config: Any, width: int | None = None) -> nn.Embed:
    """Makes a table of one row a piece, `config.emb_dim` wide unless said otherwise."""
    width = width or config.emb_dim
    return nn.Embed(
        rows,
        width,
        embedding_init=nn.initializers.normal(width**-0.5),
        dtype=config.compute_dtype,
    )
