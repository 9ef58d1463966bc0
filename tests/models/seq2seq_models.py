"""What the tests of both families share: models of any parameters, pairs, and compiled methods."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from nmt.models.seq2seq import attention_maps, build, init_params

SOURCE_VOCAB, TARGET_VOCAB = 23, 19

# Sums of float32 in another order differ by this much, in logits of magnitude 1.
CLOSE = {"rtol": 0, "atol": 1e-5}

# One shape of most tests: each variant compiles it once.
ROWS, SOURCE_LENGTH, TARGET_LENGTH = 2, 11, 13


def make(config, shared: bool):
    """A model, and parameters of which none is 0 or 1 as biases and scales are at first."""
    vocab_sizes = (TARGET_VOCAB if shared else SOURCE_VOCAB, TARGET_VOCAB)
    model = build(config, vocab_sizes, shared)
    shapes = jax.eval_shape(partial(init_params, model), jax.random.key(0))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        mean = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(rng.normal(mean, 0.25, leaf.shape), leaf.dtype)

    return model, jax.tree_util.tree_map_with_path(draw, shapes)


def random_pairs(seed: int, lengths: list[tuple[int, int]]) -> list[tuple[list, list]]:
    rng = np.random.default_rng(seed)
    return [
        (rng.integers(4, TARGET_VOCAB, s).tolist(), rng.integers(4, TARGET_VOCAB, t).tolist())
        for s, t in lengths
    ]


def lay(
    rows: list[list[tuple[list, list]]],
    source_length: int = SOURCE_LENGTH,
    target_length: int = TARGET_LENGTH,
    num_rows: int = ROWS,
) -> tuple[jax.Array, ...]:
    """Writes rows of pairs as the model takes them: ids, segments, positions, of both sides."""
    result = []
    for side, length in enumerate((source_length, target_length)):
        arrays = np.zeros((3, num_rows, length), np.int32)
        for row, pairs in enumerate(rows):
            start = 0
            for segment, pair in enumerate(pairs, 1):
                for position, id in enumerate(pair[side]):
                    arrays[:, row, start] = id, segment, position
                    start += 1
        result += map(jnp.asarray, arrays)
    return tuple(result)


@partial(jax.jit, static_argnums=0)
def forward(model, params, *arrays):
    return model.apply({"params": params}, *arrays, deterministic=True).logits


@partial(jax.jit, static_argnums=0)
def encode(model, params, *arrays):
    return model.apply({"params": params}, *arrays, deterministic=True, method="encode")


@partial(jax.jit, static_argnums=0)
def decode(model, params, memory, *arrays):
    return model.apply({"params": params}, memory, *arrays, deterministic=True, method="decode")


@partial(jax.jit, static_argnums=(0, 3, 4))
def start(model, params, memory, num_hypotheses, max_length):
    return model.apply({"params": params}, memory, num_hypotheses, max_length, method="start")


@partial(jax.jit, static_argnums=0)
def decode_step(model, params, constants, cache, token, step):
    return model.apply({"params": params}, constants, cache, token, step, method="decode_step")


def num_parameters(config, vocab_sizes: tuple[int, int], shared: bool) -> int:
    shapes = jax.eval_shape(
        partial(init_params, build(config, vocab_sizes, shared)), jax.random.key(0)
    )
    return sum(x.size for x in jax.tree.leaves(shapes))


maps_of = jax.jit(attention_maps, static_argnums=0)
