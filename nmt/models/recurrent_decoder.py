"""The decoders of Bahdanau et al. 2015 and Luong et al. 2015, in Linen.

https://arxiv.org/abs/1409.0473, https://aclanthology.org/D15-1166. Modules hold parameters; what
they make of them for a loop are pure functions, and the arithmetic of attention is in
`nmt.models.attention`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from nmt.config import RecurrentConfig
from nmt.models.attention import (
    additive_scores,
    dot_scores,
    masked_softmax,
    window_mask,
    window_weights,
)
from nmt.models.cells import NUM_GATES, NUM_PARTS, gru, lstm, recur
from nmt.models.layers import Projection


class Memory(NamedTuple):
    """What the encoder hands to the decoder.

    A layer's state is float32: h of a GRU, h and c of an LSTM side by side.
    """

    annotations: Float[Array, "B S W"]
    segments: Int[Array, "B S"]
    finals: Float[Array, "B L D H"]  # the last state of each layer and direction


class Cache(NamedTuple):
    """What a decoding step reads of the one before."""

    states: tuple[Float[Array, "B K H"], ...]  # one a layer
    vector: Float[Array, "B K R"]  # the attentional one of Luong


class Constants(NamedTuple):
    """What all decoding steps of a sentence share: one row a sentence, never moved."""

    annotations: Float[Array, "B S W"]
    keys: Float[Array, "B S A"] | None  # what annotations are compared by
    mask: Bool[Array, "B 1 S"]
    lengths: Float[Array, "B 1"]  # of the source
    fixed: Float[Array, "B 1 W"]  # all there is to see without attention
    entering: Float[Array, "B 1 G"] | None  # the same, projected for the recurrent unit
    first: Cache  # in which every hypothesis begins


class Seen(NamedTuple):
    """What a decoding step leaves for the output layer, and for those who look on."""

    state: Float[Array, "B K H"]  # s_{t-1} (Bahdanau); the attentional vector, or h_t (Luong)
    context: Float[Array, "B K W"] | None = None
    weights: Float[Array, "B K S"] | None = None


Step = Callable[..., tuple[Cache, Seen]]
"""(cache, step, projected inputs [B, K, G], dropout's factors or None) -> (cache, seen)."""


class Layer(nn.Module):
    """The parameters of a recurrent layer."""

    cell: str
    input_dim: int
    dim: int
    dtype: str

    def setup(self) -> None:
        parts = NUM_GATES[self.cell]
        self.input = Projection(
            (self.input_dim,),
            (parts * self.dim,),
            self.dtype,
            use_bias=True,
            bias_init=self._remembering if self.cell == "lstm" else nn.initializers.zeros,
        )
        self.gates = self._recurrent(parts if self.cell == "lstm" else 2)
        if self.cell == "gru":
            self.candidate = self._recurrent(1)

    def _remembering(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Opens the forget gate at first (Jozefowicz et al. 2015)."""
        del key
        return jnp.zeros(shape, dtype).at[self.dim : 2 * self.dim].set(1)

    def _recurrent(self, parts: int) -> Projection:
        def orthogonal(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
            keys = jax.random.split(key, parts)
            square = nn.initializers.orthogonal()
            return jnp.concatenate([square(k, (self.dim, self.dim), dtype) for k in keys], axis=1)

        return Projection((self.dim,), (parts * self.dim,), self.dtype, weight_init=orthogonal)

    def inputs(self, x: Float[Array, "*B D"]) -> Float[Array, "*B G"]:
        """Projects what the layer reads, of all steps at once."""
        return self.input(x).astype(jnp.float32)

    def step(self) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """Makes (projected inputs, state) -> state, a pure function."""
        gates = self.gates.flat()
        if self.cell == "lstm":
            return partial(lstm, gates=gates)
        return partial(gru, gates=gates, candidate=self.candidate.flat())


class Decoder(nn.Module):
    """What both ways of decoding have in common; see `BahdanauDecoder` and `LuongDecoder`."""

    config: RecurrentConfig

    def setup(self) -> None:
        config = self.config
        width, dtype = config.hidden_dim, config.compute_dtype
        below = [config.emb_dim] + [width] * (config.num_layers - 1)
        self.layers = [Layer(config.cell, d, width, dtype) for d in below]
        inside = config.attention_width
        if config.attention == "additive":
            self.query = Projection((width,), (inside,), dtype)  # W_a
            self.key = Projection((config.annotation_dim,), (inside,), dtype)  # U_a
            self.score = self.param("score", nn.initializers.normal(inside**-0.5), (inside,))  # v_a
        elif config.attention == "general":
            self.key = Projection((config.annotation_dim,), (width,), dtype)
        if config.window == "predictive":
            self.centre_inner = Projection((width,), (width,), dtype)  # W_p
            self.centre = self.param("centre", nn.initializers.normal(width**-0.5), (width,))  # v_p

    def hidden(self, state: Float[Array, "*B _"]) -> Float[Array, "*B H"]:
        """Returns h of a state."""
        return state[..., : self.config.hidden_dim]

    def constants(self, memory: Memory) -> Constants:
        """Computes what all steps share."""
        keys = None
        if self.config.attention is not None:
            keys = (
                memory.annotations
                if self.config.attention == "dot"
                else self.key(memory.annotations)
            )
        mask = memory.segments != 0
        lengths = mask.sum(1, keepdims=True).astype(jnp.float32)
        size = self.config.annotation_dim // len(self.config.directions)
        fixed = memory.finals[:, -1, :, :size].reshape(len(mask), 1, -1)
        entering = self.entering(fixed)
        first = self.begin(memory)
        return Constants(memory.annotations, keys, mask[:, None], lengths, fixed, entering, first)

    def looker(self, constants: Constants) -> Callable[..., tuple[jax.Array, jax.Array]]:
        """Makes (state [B, K, H], step [B, 1]) -> (context, weights): c = Σ_s a_s h_s.

        Bahdanau et al. 2015, equations 5 and 6; Luong et al. 2015, equations 7, 9 and 10. A
        predicted centre lies between the places 0 and S, of which the end piece is one.
        """
        config, annotations = self.config, constants.annotations
        keys: Any = constants.keys
        length, dtype = annotations.shape[1], annotations.dtype
        if config.attention == "additive":
            query, vector = self.query.flat(), jnp.asarray(self.score)
        if config.window == "predictive":
            inner, outer = self.centre_inner.flat(), jnp.asarray(self.centre)

        def look(state: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
            if config.attention == "additive":
                scores = additive_scores(recur(state, query).astype(dtype), keys, vector)
            else:
                scores = dot_scores(state.astype(dtype), keys)
            if config.window is None:
                weights = masked_softmax(scores, constants.mask)
            elif config.window == "monotonic":  # behind the source's end: around it
                centre = jnp.minimum(step, constants.lengths - 1)
                inside = window_mask(centre, length, config.window_size)
                weights = masked_softmax(scores, constants.mask & inside)
            else:
                share = jax.nn.sigmoid(jnp.sum(jnp.tanh(recur(state, inner)) * outer, axis=-1))
                centre = constants.lengths * share
                inside = window_mask(centre, length, config.window_size)
                weights = masked_softmax(scores, constants.mask & inside)
                weights = weights * window_weights(centre, length, config.window_size)
            return jnp.matmul(weights.astype(dtype), annotations), weights

        return look

    def climber(self) -> Callable[..., tuple[jax.Array, ...]]:
        """Makes (states, inputs, noise) -> states: a step of every layer, the lowest first."""
        steps = [layer.step() for layer in self.layers]
        between = [(layer.input.flat(), layer.input.bias) for layer in self.layers[1:]]

        def climb(
            states: tuple[jax.Array, ...], inputs: jax.Array, noise: jax.Array | None
        ) -> tuple[jax.Array, ...]:
            new = [steps[0](inputs, states[0])]
            for number, (weights, bias) in enumerate(between):
                below = self.hidden(new[-1])
                below = below if noise is None else below * noise[..., number, :]
                new.append(steps[number + 1](recur(below, weights) + bias, states[number + 1]))
            return tuple(new)

        return climb


class BahdanauDecoder(Decoder):
    """Looks, then steps; maxout reads the state before (Bahdanau et al. 2015, appendix A.2.2).

    Without attention c is fixed to the encoder's last state, by which the paper reduces it to the
    RNN encoder-decoder (that of Cho et al. 2014 transforms c first, resets it with the state, and
    its maxout reads the new state). As in the Transformer, the output layer has no bias.
    """

    def setup(self) -> None:
        super().setup()
        config = self.config
        width, dtype = config.hidden_dim, config.compute_dtype
        encoder_dim = NUM_PARTS[config.cell] * config.encoder_width
        begin = (NUM_PARTS[config.cell] * width,)
        self.begins = [  # W_s
            Projection((encoder_dim,), begin, dtype, use_bias=True) for _ in self.layers
        ]
        fed = (NUM_GATES[config.cell] * width,)
        self.fed = Projection((config.annotation_dim,), fed, dtype)  # C, C_z and C_r
        twice = (2 * config.readout_width,)
        self.readout_state = Projection((width,), twice, dtype, use_bias=True)  # U_o
        self.readout_embedding = Projection((config.emb_dim,), twice, dtype)  # V_o
        self.readout_context = Projection((config.annotation_dim,), twice, dtype)  # C_o

    def begin(self, memory: Memory) -> Cache:
        """Computes s_0 = tanh(h W_s), h the last state of the encoder's last direction."""
        states = tuple(
            jnp.tanh(begin(memory.finals[:, None, number, -1]).astype(jnp.float32))
            for number, begin in enumerate(self.begins)
        )
        return Cache(states, jnp.zeros((*states[0].shape[:2], 0)))

    def entering(self, fixed: Float[Array, "B 1 W"]) -> Float[Array, "B 1 G"] | None:
        """Projects the fixed vector, where it is the context of every step."""
        return self.fed(fixed).astype(jnp.float32) if self.config.attention is None else None

    def stepper(self, constants: Constants) -> Step:
        """Makes a step: c_t from s_{t-1}, then s_t = f(s_{t-1}, y_{t-1}, c_t)."""
        climb, fed = self.climber(), self.fed.flat()
        look = self.looker(constants) if self.config.attention else None

        def step(
            cache: Cache, number: jax.Array, inputs: jax.Array, noise: jax.Array | None
        ) -> tuple[Cache, Seen]:
            state = self.hidden(cache.states[-1])
            if look is None:
                seen, entering = Seen(state), constants.entering
            else:
                context, weights = look(state, number)
                seen, entering = Seen(state, context, weights), recur(context, fed)
            assert entering is not None
            return cache._replace(states=climb(cache.states, inputs + entering, noise)), seen

        return step

    def readout(
        self, constants: Constants, seen: Seen, embedded: Float[Array, "B T D"]
    ) -> Float[Array, "B T R"]:
        """Computes the maxout of U_o s_{t-1} + V_o y_{t-1} + C_o c_t."""
        context = constants.fixed if seen.context is None else seen.context
        x = self.readout_state(seen.state) + self.readout_embedding(embedded)
        x = x + self.readout_context(context)
        return x.reshape(*x.shape[:-1], -1, 2).max(-1)


class LuongDecoder(Decoder):
    """Steps, then looks; the attentional vector is read out and fed (Luong et al. 2015, section 3).

    Without attention it is the model of Sutskever et al. 2014: the state is read out, and no vector
    is fed.
    """

    def setup(self) -> None:
        super().setup()
        config = self.config
        if config.attention is not None:
            both, vector = config.annotation_dim + config.hidden_dim, config.readout_width
            self.combine = Projection((both,), (vector,), config.compute_dtype)  # W_c
            gates = (NUM_GATES[config.cell] * config.hidden_dim,)
            self.fed = Projection((vector,), gates, config.compute_dtype)

    def begin(self, memory: Memory) -> Cache:
        """Begins in the encoder's last states, those of both directions side by side."""
        rows, _, directions, _ = memory.finals.shape
        parts = NUM_PARTS[self.config.cell]
        states = tuple(
            jnp.swapaxes(
                memory.finals[:, number].reshape(rows, directions, parts, -1), 1, 2
            ).reshape(rows, 1, -1)
            for number in range(self.config.num_layers)
        )
        width = self.config.readout_width if self.config.attention is not None else 0
        return Cache(states, jnp.zeros((rows, 1, width)))

    def entering(self, fixed: Float[Array, "B 1 W"]) -> None:
        """Nothing enters but the first state."""

    def stepper(self, constants: Constants) -> Step:
        """Makes a step: h_t, then h̃_t = tanh([c_t; h_t] W_c) (equation 5)."""
        climb = self.climber()
        if self.config.attention is None:
            look = None
        else:
            look, fed, combine = self.looker(constants), self.fed.flat(), self.combine.flat()

        def step(
            cache: Cache, number: jax.Array, inputs: jax.Array, noise: jax.Array | None
        ) -> tuple[Cache, Seen]:
            if look is not None:
                inputs = inputs + recur(cache.vector, fed)  # input feeding, section 3.3
            states = climb(cache.states, inputs, noise)
            state = self.hidden(states[-1])
            if look is None:
                return Cache(states, cache.vector), Seen(state)
            context, weights = look(state, number)
            both = jnp.concatenate([context.astype(state.dtype), state], axis=-1)
            vector = jnp.tanh(recur(both, combine))
            return Cache(states, vector), Seen(vector, weights=weights)

        return step

    def readout(
        self, constants: Constants, seen: Seen, embedded: Float[Array, "B T D"]
    ) -> Float[Array, "B T R"]:
        """Returns the attentional vector, or the state where there is none."""
        del constants, embedded
        return seen.state.astype(self.config.compute_dtype)
