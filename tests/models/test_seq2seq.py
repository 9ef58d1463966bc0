"""What every model of either family promises those who train and search with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_recurrent
import test_transformer
from seq2seq_models import (
    CLOSE,
    TARGET_VOCAB,
    decode,
    decode_step,
    encode,
    forward,
    lay,
    make,
    random_pairs,
    start,
)

VARIANTS = {
    **test_transformer.VARIANTS,
    **{name: (config, False) for name, config in test_recurrent.VARIANTS.items()},
}


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(request):
    return make(*request.param)


def test_later_pieces_change_no_bit_of_earlier_logits(variant):
    model, params = variant
    (pair,) = random_pairs(2, [(5, 8)])
    before = forward(model, params, *lay([[pair]]))
    for t in (1, 4, 7):
        changed = pair[0], pair[1][:t] + [4 + (id - 3) % 15 for id in pair[1][t:]]
        after = forward(model, params, *lay([[changed]]))
        np.testing.assert_array_equal(after[0, :t], before[0, :t])
        assert np.abs(after[0, t:8] - before[0, t:8]).max(-1).min() > 1e-3


def test_ids_under_padding_change_no_bit(variant):
    model, params = variant
    arrays = lay([random_pairs(4, [(3, 4)]), random_pairs(5, [(6, 3)])])
    source, source_segments, source_positions, target, target_segments, target_positions = arrays
    before = forward(model, params, *arrays)
    after = forward(
        model,
        params,
        jnp.where(source_segments == 0, 7, source),
        source_segments,
        source_positions,
        jnp.where(target_segments == 0, 9, target),
        target_segments,
        target_positions,
    )
    real = target_segments != 0
    np.testing.assert_array_equal(after[real], before[real])


@pytest.mark.parametrize("beam_size", [1, 3])
def test_cached_decoding_equals_the_full_pass(variant, beam_size):
    model, params = variant
    batch, max_length = 3, 7
    rng = np.random.default_rng(6)
    arrays = lay([[pair] for pair in random_pairs(6, [(5, 1), (8, 1), (2, 1)])], 8, 1, batch)
    memory = encode(model, params, *arrays[:3])
    constants, cache = start(model, params, memory, 3)
    assert all(x.shape[0] == batch for x in jax.tree.leaves(constants))

    # The slow way: each hypothesis beside a memory of its own, all its pieces at once.
    tiled = jax.tree.map(lambda x: jnp.repeat(x, beam_size, axis=0), memory)
    ones = jnp.ones((batch * beam_size, max_length), jnp.int32)

    cache = model.reorder(cache, jnp.zeros((batch, beam_size), jnp.int32))
    pieces = np.zeros((batch, beam_size, max_length), np.int32)
    for t in range(max_length):
        if t == 3:
            cache = model.grow(cache, max_length)
        pieces[:, :, t] = rng.integers(4, TARGET_VOCAB, (batch, beam_size))
        logits, cache = decode_step(model, params, constants, cache, jnp.asarray(pieces[:, :, t]))
        flat = jnp.asarray(pieces.reshape(-1, max_length))
        expected = decode(model, params, tiled, flat, ones, jnp.cumsum(ones, axis=1) - 1)[:, t]
        np.testing.assert_allclose(logits.reshape(expected.shape), expected, **CLOSE)
        parents = rng.integers(0, beam_size, (batch, beam_size))
        cache = model.reorder(cache, jnp.asarray(parents))
        pieces = np.take_along_axis(pieces, parents[..., None], axis=1)
