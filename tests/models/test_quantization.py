"""Products of 8-bit integers against products of floats."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmt.config import TransformerConfig
from nmt.models.products import multiply_int8
from nmt.models.quantization import cast_params, quantize, quantize_params
from nmt.models.seq2seq import build, init_params

TINY = TransformerConfig(emb_dim=32, num_layers=2, num_heads=4, mlp_dim=48, value_dim=6, norm="pre")


@pytest.mark.parametrize(("shape", "axes"), [((6, 5), (0,)), ((6, 5), (1,)), ((3, 4, 5), (0, 1))])
def test_weights_are_rounded_to_127_steps_of_their_largest(shape, axes):
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    integers, scale = quantize(jnp.asarray(weights), axes)
    assert integers.dtype == jnp.int8
    kept = [n for axis, n in enumerate(shape) if axis not in axes]
    assert scale.shape == tuple(kept)
    np.testing.assert_array_equal(np.abs(integers).max(axes), np.full(kept, 127))
    largest = np.abs(weights).max(axes, keepdims=True)
    error = np.abs(np.asarray(integers) * np.expand_dims(scale, axes) - weights)
    assert (error <= largest / 127 / 2 * 1.001).all()


def test_zeros_stay_zeros():
    integers, scale = quantize(jnp.zeros((2, 3)), (1,))
    assert not integers.any()
    assert not scale.any()
    product = multiply_int8(jnp.zeros((4, 3)), integers, scale)
    np.testing.assert_array_equal(product, np.zeros((4, 2)))


@pytest.mark.parametrize("num_rows", [1, 7])
def test_a_product_of_integers_is_near_that_of_floats(num_rows):
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(2, num_rows, 64)), rng.normal(size=(9, 64))
    x[0, -1] *= 1000  # each row has its own scale: this one disturbs no other
    integers = quantize(jnp.asarray(weight, jnp.float32), (1,))
    found = multiply_int8(jnp.asarray(x, jnp.float32), *integers)
    norms = np.linalg.norm(x, axis=-1)[..., None] * np.linalg.norm(weight, axis=1)
    assert (np.abs(found - x @ weight.T) / norms).max() < 0.005
    alone = multiply_int8(jnp.asarray(x[1:], jnp.float32), *integers)
    np.testing.assert_array_equal(found[1:], alone)


@pytest.fixture(scope="module")
def tiny():
    model = build(TINY, (40, 40), shared=True)
    params = jax.jit(lambda key: init_params(model, key))(jax.random.key(0))
    rng = np.random.default_rng(2)
    source, target = (jnp.asarray(rng.integers(4, 40, (5, 9)), jnp.int32) for _ in range(2))
    ones, places = jnp.ones((5, 9), jnp.int32), jnp.broadcast_to(jnp.arange(9), (5, 9))
    arrays = (source, ones, places, target, ones, places)

    def run(params, **changes):
        changed = build(dataclasses.replace(TINY, **changes), (40, 40), shared=True)
        return changed.apply({"params": params}, *arrays, deterministic=True).logits

    return model, params, run


def test_every_weight_and_the_output_layer_are_quantised(tiny):
    _, params, _ = tiny
    quantised = quantize_params(params)
    flat = {
        jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(quantised)
    }
    weights = {name: x for name, x in flat.items() if "weight" in name}
    assert len(weights) == 2 * (4 + 2) + 2 * (8 + 2)
    assert all(x.dtype == jnp.int8 for x in weights.values())
    shapes = {
        name: flat[name.replace("weight", "scale")].shape
        for name in weights
        if "decoder_layers_0" in name
    }
    for attention in ("attention", "cross_attention"):
        own = f"['decoder_layers_0']['{attention}']"
        assert shapes[f"{own}['query']['weight']"] == (4, 8)
        assert shapes[f"{own}['value']['weight']"] == (4, 6)
        assert shapes[f"{own}['output']['weight']"] == (32,)
    assert flat["['target_embedding']['int8']"].shape == (40, 32)
    assert flat["['target_embedding']['scale']"].shape == (40,)
    # All else is as it was.
    same = {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_leaves_with_path(params)}
    for name, x in same.items():
        assert "weight" in name or x is flat[name]


def test_a_model_of_integers_says_nearly_the_same(tiny):
    _, params, run = tiny
    exact, found = run(params), run(quantize_params(params))
    assert found.dtype == jnp.float32
    spread = np.asarray(exact).std()
    assert 0 < np.abs(found - exact).max() < 0.1 * spread


def test_cast_parameters_give_what_casting_on_the_way_gives(tiny):
    _, params, run = tiny
    cast = cast_params(params, jnp.bfloat16)
    kinds = {x.ndim > 1: x.dtype for x in jax.tree.leaves(cast)}
    assert kinds == {True: jnp.bfloat16, False: jnp.float32}
    found = run(cast, compute_dtype="bfloat16")
    np.testing.assert_array_equal(found, run(params, compute_dtype="bfloat16"))


def test_the_cached_step_multiplies_as_the_whole_pass_does(tiny):
    model, params, run = tiny
    params = quantize_params(params)
    rng = np.random.default_rng(2)
    source, target = (jnp.asarray(rng.integers(4, 40, (5, 9)), jnp.int32) for _ in range(2))
    ones, places = jnp.ones((5, 9), jnp.int32), jnp.broadcast_to(jnp.arange(9), (5, 9))

    def apply(method, *arguments, **options):
        return model.apply({"params": params}, *arguments, method=method, **options)

    memory = apply("encode", source, ones, places, deterministic=True)
    constants, cache = apply("start", memory, 1, 9)
    steps = []
    for t in range(9):
        step = jnp.full(5, t)
        logits, cache = apply("decode_step", constants, cache, target[:, t : t + 1], step)
        steps.append(logits[:, 0])
    # An activation near the middle of two integers may be rounded either way.
    whole = np.asarray(run(params))
    assert np.abs(np.stack(steps, 1) - whole).max() < 0.05 * whole.std()
