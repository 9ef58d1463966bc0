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
    # Each row begins at a time of its own, and anew when it has as many pieces as there is room
    # for, whatever it has left in the cache.
    model, params = variant
    batch, source_length, max_length = 3, 8, 11
    rng = np.random.default_rng(6)
    pairs = random_pairs(6, [(5, 1), (8, 1), (2, 1)])
    memory = encode(model, params, *lay([[pair] for pair in pairs], source_length, 1, batch)[:3])
    constants, cache = start(model, params, memory, beam_size, max_length)
    assert {x.shape[0] for x in jax.tree.leaves((constants, cache))} == {batch}

    # The slow way: each hypothesis beside a memory of its own, all its pieces at once.
    tiled = jax.tree.map(lambda x: jnp.repeat(x, beam_size, axis=0), memory)
    ones = jnp.ones((batch * beam_size, max_length), jnp.int32)

    pieces = np.zeros((batch, beam_size, max_length), np.int32)
    begun = np.zeros(batch, bool)
    rows = np.arange(batch)
    for t in range(2 * max_length):
        step = (t + np.array([0, 4, 9])) % max_length
        begun |= step == 0
        token = pieces[rows, :, step] = rng.integers(4, TARGET_VOCAB, (batch, beam_size))
        arrays = jnp.asarray(token), jnp.asarray(step, jnp.int32)
        logits, cache = decode_step(model, params, constants, cache, *arrays)
        flat = jnp.asarray(pieces.reshape(-1, max_length))
        expected = decode(model, params, tiled, flat, ones, jnp.cumsum(ones, axis=1) - 1)
        expected = expected.reshape(batch, beam_size, max_length, -1)[rows, :, step]
        np.testing.assert_allclose(logits[begun], expected[begun], **CLOSE)
        parents = rng.integers(0, beam_size, (batch, beam_size))
        cache = model.reorder(cache, jnp.asarray(parents))
        pieces = np.take_along_axis(pieces, parents[..., None], axis=1)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_how_far_the_neighbours_are_changes_no_bit(variant, beam_size):
    # Also not where they are behind the length of the source, and the row is not.
    model, params = variant
    rng = np.random.default_rng(7)
    memory = encode(model, params, *lay([[p] for p in random_pairs(7, [(8, 1)] * 3)], 8, 1, 3)[:3])
    tokens = rng.integers(4, TARGET_VOCAB, (6, 3, beam_size))
    found = []
    for ahead in (0, 6):
        constants, cache = start(model, params, memory, beam_size, 20)
        logits = []
        for t, token in enumerate(tokens):
            step = jnp.array([t + ahead, t, t + 2 * ahead])
            one, cache = decode_step(model, params, constants, cache, jnp.asarray(token), step)
            logits.append(one[1])
        found.append(np.stack(logits))
    np.testing.assert_array_equal(*found)
