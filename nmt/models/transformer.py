"""The Transformer (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762) in Linen.

Modules hold parameters; the arithmetic of attention is in `nmt.models.attention`.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from nmt.config import TransformerConfig
from nmt.models.attention import (
    Part,
    attend,
    attend_to_part,
    attention_weights,
    causal_mask,
    join_parts,
    no_part,
    segment_mask,
    sinusoidal_positions,
)
from nmt.models.encoder_decoder import EncoderDecoder, embedding
from nmt.models.layers import Output, Projection, output
from nmt.models.products import multiply

KeyValue = tuple[Float[Array, "..."], Float[Array, "..."]]  # [*B, S, N, H] each


class Memory(NamedTuple):
    """What the encoder hands to the decoder."""

    states: Float[Array, "B S D"]
    segments: Int[Array, "B S"]


class Constants(NamedTuple):
    """What all decoding steps of a sentence share: one row a sentence, never moved."""

    keys_values: tuple[KeyValue, ...]  # of cross-attention, one pair a layer: B N H S, B N S H
    mask: Bool[Array, "B 1 1 S"]


class Cache(NamedTuple):
    """What a decoding step adds to.

    Keys and values stay where they were written: place [t, k] holds those of the hypothesis that
    was k-th at time t. Which of the K places a hypothesis goes back to is what `ancestors` tells.
    Most translations are no longer than their source: only where one is, the places behind it, a
    part of their own, are read.
    """

    keys_values: tuple[tuple[KeyValue, ...], ...]  # of each layer and part: B N H T K, B N T K H
    ancestors: Int[Array, "B K T"]


class Attention(nn.Module):
    """Multi-head attention (section 3.2.2): projections around `nmt.models.attention`."""

    config: TransformerConfig

    def setup(self) -> None:
        config, heads = self.config, self.config.num_heads
        key_dim = config.key_dim or config.emb_dim // heads
        value_dim = config.value_dim or config.emb_dim // heads
        width, dtype = (config.emb_dim,), config.compute_dtype
        self.query = Projection(width, (heads, key_dim), dtype)
        self.key = Projection(width, (heads, key_dim), dtype)
        self.value = Projection(width, (heads, value_dim), dtype)
        self.output = Projection((heads, value_dim), width, dtype)

    def keys_values(self, x: Float[Array, "*B S D"]) -> KeyValue:
        """Projects what is attended to."""
        return self.key(x), self.value(x)

    def __call__(
        self, x: Float[Array, "*B T D"], keys_values: KeyValue, mask: Bool[Array, "..."]
    ) -> tuple[Float[Array, "*B T D"], Float[Array, "*B N T S"]]:
        """Attends from x; returns the output and the weights."""
        key, value = keys_values
        weights = attention_weights(self.query(x), key, mask)
        return self.output(attend(weights, value)), weights

    def step(
        self,
        x: Float[Array, "B K D"],
        cache: tuple[KeyValue, ...],
        mask: Bool[Array, "B 1 K T K"],
        step: Int[Array, " B"],
    ) -> tuple[Float[Array, "B K D"], tuple[KeyValue, ...]]:
        """Writes the keys and values of K hypotheses; attends to what any of them has written."""
        query, key, value = self._joint_projections(x)
        rows = jnp.arange(len(x))
        begin, parts, masks = 0, [], []
        for keys, values in cache:
            room = keys.shape[3]
            place = jnp.where(step < begin, room, step - begin)  # out of range is not written
            parts.append(
                (
                    keys.at[rows, :, :, place].set(jnp.moveaxis(key, 1, 3), mode="drop"),
                    values.at[rows, :, place].set(jnp.moveaxis(value, 1, 2), mode="drop"),
                )
            )
            masks.append(mask[..., begin : begin + room, :])
            begin += room

        def attend_to(number: int) -> Part:
            return attend_to_part(query, *_as_read(*parts[number], masks[number]))

        is_behind = (step >= cache[0][0].shape[3]).any()
        context = _attend_near_and_far(attend_to, is_behind).astype(query.dtype)
        return self.output(context), tuple(parts)

    def _joint_projections(self, x: Float[Array, "B K D"]) -> list[Float[Array, "B K N _"]]:
        """Projects to query, key and value in one product: of few rows it is twice as fast."""
        projections = self.query, self.key, self.value
        weights, scales = zip(*(projection.flat() for projection in projections), strict=True)
        scale = None if None in scales else jnp.concatenate(scales)
        joint = multiply(x.astype(self.config.compute_dtype), jnp.concatenate(weights), scale)
        parts = jnp.split(joint, np.cumsum([len(part) for part in weights])[:-1], axis=-1)
        return [
            part.reshape(*x.shape[:-1], *projection.features)
            for part, projection in zip(parts, projections, strict=True)
        ]


class FeedForward(nn.Module):
    """max(0, x W₁ + b₁) W₂ + b₂ (section 3.3, equation 2)."""

    config: TransformerConfig

    def setup(self) -> None:
        width, inside = (self.config.emb_dim,), (self.config.mlp_dim,)
        self.inner = Projection(width, inside, self.config.compute_dtype, use_bias=True)
        self.outer = Projection(inside, width, self.config.compute_dtype, use_bias=True)

    def __call__(self, x: Float[Array, "*B T D"]) -> Float[Array, "*B T D"]:
        """Applies the two layers to each position."""
        return self.outer(nn.relu(self.inner(x)))


class Residual(nn.Module):
    """The connection around a sub-layer (section 5.4), normalised after it or before it.

    After: norm(x + dropout(sublayer(x))), as written. Before: x + dropout(sublayer(norm(x))).
    """

    config: TransformerConfig

    def setup(self) -> None:
        self.norm = _layer_norm(self.config)
        self.dropout = nn.Dropout(self.config.dropout_rate)

    def enter(self, x: Float[Array, "*B T D"]) -> Float[Array, "*B T D"]:
        """Returns what the sub-layer reads."""
        return self.norm(x) if self.config.norm == "pre" else x

    def leave(
        self, x: Float[Array, "*B T D"], output: Float[Array, "*B T D"], deterministic: bool
    ) -> Float[Array, "*B T D"]:
        """Joins what came in with what the sub-layer made of it."""
        x = x + self.dropout(output, deterministic=deterministic)
        return self.norm(x) if self.config.norm == "post" else x


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward network (section 3.1)."""

    config: TransformerConfig

    def setup(self) -> None:
        self.attention = Attention(self.config)
        self.attention_residual = Residual(self.config)
        self.feed_forward = FeedForward(self.config)
        self.feed_forward_residual = Residual(self.config)

    def __call__(
        self, x: Float[Array, "B S D"], mask: Bool[Array, "B 1 S S"], deterministic: bool
    ) -> tuple[Float[Array, "B S D"], Float[Array, "B N S S"]]:
        """Returns the layer's output and its attention weights."""
        h = self.attention_residual.enter(x)
        h, weights = self.attention(h, self.attention.keys_values(h), mask)
        x = self.attention_residual.leave(x, h, deterministic)
        h = self.feed_forward(self.feed_forward_residual.enter(x))
        return self.feed_forward_residual.leave(x, h, deterministic), weights


class DecoderLayer(nn.Module):
    """Self-attention, attention to the memory, then the feed-forward network (section 3.1)."""

    config: TransformerConfig

    def setup(self) -> None:
        self.attention = Attention(self.config)
        self.attention_residual = Residual(self.config)
        self.cross_attention = Attention(self.config)
        self.cross_attention_residual = Residual(self.config)
        self.feed_forward = FeedForward(self.config)
        self.feed_forward_residual = Residual(self.config)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        memory: Float[Array, "B S D"],
        mask: Bool[Array, "B 1 T T"],
        cross_mask: Bool[Array, "B 1 T S"],
        deterministic: bool,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B N T T"], Float[Array, "B N T S"]]:
        """Returns the layer's output, its self-attention and its cross-attention weights."""
        h = self.attention_residual.enter(x)
        h, weights = self.attention(h, self.attention.keys_values(h), mask)
        x = self.attention_residual.leave(x, h, deterministic)
        x, cross_weights = self._attend_to_memory(
            x, self.cross_attention.keys_values(memory), cross_mask, deterministic
        )
        return x, weights, cross_weights

    def memory_keys_values(self, memory: Float[Array, "B S D"]) -> KeyValue:
        """Projects the memory once for all steps of a translation."""
        return self.cross_attention.keys_values(memory)

    def step(
        self,
        x: Float[Array, "B K D"],
        memory: KeyValue,
        cross_mask: Bool[Array, "B 1 1 S"],
        cache: tuple[KeyValue, ...],
        mask: Bool[Array, "B 1 K T K"],
        step: Int[Array, " B"],
    ) -> tuple[Float[Array, "B K D"], tuple[KeyValue, ...]]:
        """Runs the layer for one position of each hypothesis.

        The K hypotheses of a sentence attend to its memory as K positions would, so the memory is
        never tiled.
        """
        h = self.attention_residual.enter(x)
        h, cache = self.attention.step(h, cache, mask, step)
        x = self.attention_residual.leave(x, h, deterministic=True)
        memory = jnp.moveaxis(memory[0], 3, 1), jnp.moveaxis(memory[1], 2, 1)
        x, _ = self._attend_to_memory(x, memory, cross_mask, deterministic=True)
        return x, cache

    def _attend_to_memory(
        self,
        x: Float[Array, "B T D"],
        memory: KeyValue,
        mask: Bool[Array, "B 1 #T S"],
        deterministic: bool,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B N T S"]]:
        """Runs what follows self-attention."""
        h = self.cross_attention_residual.enter(x)
        h, weights = self.cross_attention(h, memory, mask)
        x = self.cross_attention_residual.leave(x, h, deterministic)
        h = self.feed_forward(self.feed_forward_residual.enter(x))
        return self.feed_forward_residual.leave(x, h, deterministic), weights


class Transformer(EncoderDecoder):
    """Encoder and decoder with the methods that every sequence-to-sequence model offers."""

    config: TransformerConfig

    packable: ClassVar[bool] = True  # attention keeps the sentences that share a row apart

    def setup(self) -> None:
        super().setup()
        config = self.config
        if config.learned_positions:
            self.position_embedding = embedding(config.learned_positions, config)
        self.encoder_layers = [EncoderLayer(config) for _ in range(config.num_layers)]
        self.decoder_layers = [DecoderLayer(config) for _ in range(config.num_layers)]
        if config.norm == "pre":  # the sums that leave the stacks have not been normalised
            self.encoder_norm = _layer_norm(config)
            self.decoder_norm = _layer_norm(config)

    def encode(
        self,
        source: Int[Array, "B S"],
        segments: Int[Array, "B S"],
        positions: Int[Array, "B S"],
        *,
        deterministic: bool,
    ) -> Memory:
        """Turns source ids into one vector a position.

        Args:
          source: ids.
          segments: the sentence that each position belongs to, from 1; 0 is padding.
          positions: each position's place in its sentence, from 0.
          deterministic: without dropout; otherwise a "dropout" key is needed.
        """
        x = self._embed(self.source_embedding, source, positions, deterministic)
        mask = segment_mask(segments, segments)
        for layer in self.encoder_layers:
            x, weights = layer(x, mask, deterministic)
            self.sow("attention", "encoder", weights)
        return Memory(self.encoder_norm(x) if self.config.norm == "pre" else x, segments)

    def _decode(
        self,
        memory: Memory,
        decoder_input: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        deterministic: bool,
    ) -> Output:
        x = self._embed(self.target_embedding, decoder_input, positions, deterministic)
        mask = segment_mask(segments, segments) & causal_mask(decoder_input.shape[1])
        cross_mask = segment_mask(segments, memory.segments)
        for layer in self.decoder_layers:
            x, weights, cross_weights = layer(x, memory.states, mask, cross_mask, deterministic)
            self.sow("attention", "decoder", weights)
            self.sow("attention", "cross", cross_weights)
        return self._output(x)

    def start(self, memory: Memory, num_hypotheses: int, length: int) -> tuple[Constants, Cache]:
        """Prepares the decoding of K hypotheses a sentence, with room for `length` pieces."""
        keys_values = tuple(
            layer.memory_keys_values(memory.states) for layer in self.decoder_layers
        )
        # Behind a barrier they stay so: XLA would turn them anew at each step.
        keys_values = jax.lax.optimization_barrier(
            tuple(_as_products_read(*pair) for pair in keys_values)
        )
        batch, source_length = memory.segments.shape
        near = min(source_length, length)
        cache = Cache(
            tuple(
                tuple(_room(key, value, room, num_hypotheses) for room in (near, length - near))
                for key, value in keys_values
            ),
            jnp.zeros((batch, num_hypotheses, length), jnp.int32),
        )
        return Constants(keys_values, (memory.segments != 0)[:, None, None]), cache

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
        places, times = jnp.arange(token.shape[1]), jnp.arange(cache.ancestors.shape[2])
        now = (times == step[:, None])[:, None]
        ancestors = jnp.where(now, places[:, None], cache.ancestors)
        mask = ancestors[..., None] == places  # [B, K hypotheses, T, K places]
        mask = (mask & (times <= step[:, None])[:, None, :, None])[:, None]
        x = self._embed(self.target_embedding, token, step[:, None], deterministic=True)
        caches = []
        for layer, memory, old in zip(
            self.decoder_layers, constants.keys_values, cache.keys_values, strict=True
        ):
            x, new = layer.step(x, memory, constants.mask, old, mask, step)
            caches.append(new)
        return self._output(x).logits, Cache(tuple(caches), ancestors)

    @nn.nowrap
    def reorder(self, cache: Cache, parents: Int[Array, "B K"]) -> Cache:
        """Gives each new hypothesis k the past of the old hypothesis `parents[:, k]`."""
        ancestors = jnp.take_along_axis(cache.ancestors, parents[..., None], axis=1)
        return cache._replace(ancestors=ancestors)

    def _embed(
        self, embedding: nn.Embed, ids: jax.Array, positions: jax.Array, deterministic: bool
    ) -> Float[Array, "B T D"]:
        """Sums the scaled embeddings (section 3.4) and the positions (section 3.5)."""
        x = embedding(ids) * self.config.emb_dim**0.5
        if self.config.learned_positions:
            x = x + self.position_embedding(positions) * self.config.emb_dim**0.5
        else:
            x = x + sinusoidal_positions(positions, self.config.emb_dim).astype(x.dtype)
        return self.dropout(x, deterministic=deterministic)

    def _output(self, x: Float[Array, "B T D"]) -> Output:
        """Shares the target embedding with the output layer (section 3.4)."""
        x = self.decoder_norm(x) if self.config.norm == "pre" else x
        return output(x, self.target_embedding)


def _as_products_read(
    key: Float[Array, "B S N H"], value: Float[Array, "B S N H2"]
) -> tuple[Float[Array, "B N H S"], Float[Array, "B N S H2"]]:
    """Lays keys and values out so that the products of attention read them as they lie."""
    return jnp.moveaxis(key, 1, 3), jnp.moveaxis(value, 1, 2)


def _room(
    key: Float[Array, "B N H S"], value: Float[Array, "B N S H2"], length: int, num_hypotheses: int
) -> KeyValue:
    """Makes room for such keys and values of so many pieces of each hypothesis."""
    places = length, num_hypotheses
    return (
        jnp.zeros((*key.shape[:3], *places), key.dtype),
        jnp.zeros((*value.shape[:2], *places, value.shape[3]), value.dtype),
    )


def _as_read(
    keys: Float[Array, "B N H T K"],
    values: Float[Array, "B N T K H2"],
    mask: Bool[Array, "B 1 K T K"],
) -> tuple[Float[Array, "B TK N H"], Float[Array, "B TK N H2"], Bool[Array, "B 1 K TK"]]:
    """Turns a part of a cache into what `attend_to_part` takes."""
    keys, values = (
        keys.reshape(*keys.shape[:3], -1),
        values.reshape(*values.shape[:2], -1, values.shape[4]),
    )
    return jnp.moveaxis(keys, 3, 1), jnp.moveaxis(values, 2, 1), mask.reshape(*mask.shape[:3], -1)


def _attend_near_and_far(
    attend_to: Callable[[int], Part], is_behind: Bool[Array, ""]
) -> Float[Array, "B K N H"]:
    """Attends to part 0 of a cache, and to part 1 if some row is behind part 0.

    What the rows that are not get is the same to the bit, whether another is.
    """

    def in_branches() -> jax.Array:
        return jax.lax.cond(
            is_behind,
            lambda: join_parts([attend_to(0), attend_to(1)]),
            lambda: join_parts([attend_to(0)]),
        )

    def near_in_none() -> jax.Array:
        near = attend_to(0)
        far = jax.lax.cond(is_behind, lambda: attend_to(1), lambda: no_part(near))
        return join_parts([near, far])

    # For a GPU, each product in each branch is tuned for itself, and may sum in another order. On
    # CPU it is not, but what is read beside a branch is copied.
    return jax.lax.platform_dependent(cpu=in_branches, default=near_in_none)


def _layer_norm(config: TransformerConfig) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-6, dtype=config.compute_dtype)
