"""Packing and buckets, unpacked again and compared with what went in."""

from collections import Counter

import jax
import numpy as np
import pytest

from nmt.data.batching import (
    Batch,
    Ragged,
    bucket,
    bucket_length,
    bucket_shapes,
    fill_rows,
    first_fit_decreasing,
    pack,
    ragged,
    select,
)

PAD, BOS, EOS = 0, 1, 2
IDS = {"pad_id": PAD, "bos_id": BOS}


def random_pairs(rng, count: int, longest_source: int, longest_target: int):
    """Pairs of id lists that end in the end id; short ones come more than once."""

    def sentence(longest):
        return [*rng.integers(3, 9, rng.integers(0, longest)).tolist(), EOS]

    return [(sentence(longest_source), sentence(longest_target)) for _ in range(count)]


def packed(pairs, source_length: int, target_length: int) -> Batch:
    sources, targets = (ragged([pair[side] for pair in pairs]) for side in (0, 1))
    return pack(sources, targets, source_length, target_length, **IDS)


def unpack(batch: Batch) -> list[tuple[tuple, tuple]]:
    """Reads pairs back, slowly; checks everything that surrounds them."""
    pairs = []
    for row in range(len(batch.source)):
        source = {}
        target = {}
        for ids, segments, positions, found in (
            (batch.source, batch.source_segments, batch.source_positions, source),
            (batch.labels, batch.target_segments, batch.target_positions, target),
        ):
            for id, segment, position in zip(ids[row], segments[row], positions[row], strict=True):
                if segment == 0:
                    assert (id, position) == (PAD, 0)
                else:
                    assert position == len(found.setdefault(int(segment), []))
                    found[int(segment)].append(int(id))
        inputs = {}
        for id, segment in zip(batch.decoder_input[row], batch.target_segments[row], strict=True):
            assert segment or id == PAD
            inputs.setdefault(int(segment), []).append(int(id))
        assert sorted(source) == sorted(target) == list(range(1, len(source) + 1))
        for segment, ids in target.items():
            assert inputs[segment] == [BOS, *ids[:-1]]
            pairs.append((tuple(source[segment]), tuple(ids)))
    return pairs


def as_tuples(pairs) -> Counter:
    return Counter((tuple(source), tuple(target)) for source, target in pairs)


def slow_first_fit(pairs, source_length: int, target_length: int) -> list[int]:
    share = [max(len(s) / source_length, len(t) / target_length) for s, t in pairs]
    rows, free = [None] * len(pairs), []
    for n in sorted(range(len(pairs)), key=lambda n: -share[n]):
        source, target = map(len, pairs[n])
        fitting = [r for r, (s, t) in enumerate(free) if s >= source and t >= target]
        if not fitting:
            free.append((source_length, target_length))
            fitting = [len(free) - 1]
        rows[n] = fitting[0]
        free[rows[n]] = free[rows[n]][0] - source, free[rows[n]][1] - target
    return rows


# Ragged.


def test_ragged_lays_sequences_end_to_end_and_select_takes_some():
    sequences = ragged([[5, 6, 7], [], [8], [9, 4]])
    np.testing.assert_array_equal(sequences.ids, [5, 6, 7, 8, 9, 4])
    np.testing.assert_array_equal(sequences.lengths, [3, 0, 1, 2])
    chosen = select(sequences, np.array([3, 1, 0, 3]))
    np.testing.assert_array_equal(chosen.ids, [9, 4, 5, 6, 7, 9, 4])
    np.testing.assert_array_equal(chosen.lengths, [2, 0, 3, 2])
    assert isinstance(chosen, Ragged)


def test_ragged_of_nothing():
    for sequences in (ragged([]), select(ragged([[5, 6]]), np.array([], np.int64))):
        assert sequences.ids.shape == sequences.lengths.shape == (0,)


# Packing.


def test_packed_row_literally():
    # The longest pair comes first, and the one that still fits stands behind it.
    batch = packed([([7, 2], [8, 2]), ([3, 4, 2], [5, 6, 7, 2]), ([9, 2], [2])], 6, 6)
    expected = Batch(
        source=[[7, 2, 3, 4, 2, 0], [9, 2, 0, 0, 0, 0]],
        source_segments=[[1, 1, 2, 2, 2, 0], [1, 1, 0, 0, 0, 0]],
        source_positions=[[0, 1, 0, 1, 2, 0], [0, 1, 0, 0, 0, 0]],
        decoder_input=[[1, 8, 1, 5, 6, 7], [1, 0, 0, 0, 0, 0]],
        labels=[[8, 2, 5, 6, 7, 2], [2, 0, 0, 0, 0, 0]],
        target_segments=[[1, 1, 2, 2, 2, 2], [1, 0, 0, 0, 0, 0]],
        target_positions=[[0, 1, 0, 1, 2, 3], [0, 0, 0, 0, 0, 0]],
    )
    for name, found, wanted in zip(Batch._fields, batch, expected, strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg=name)
        assert found.dtype == np.int32


@pytest.mark.parametrize("seed", range(20))
def test_packing_loses_and_mixes_nothing(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 20, 2).tolist()
    pairs = random_pairs(rng, int(rng.integers(1, 150)), *lengths)
    batch = packed(pairs, *lengths)
    assert batch.source.shape[1:] == (lengths[0],)
    assert batch.labels.shape[1:] == (lengths[1],)
    assert Counter(unpack(batch)) == as_tuples(pairs)


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_those_of_a_slow_first_fit(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 20, 2).tolist()
    pairs = random_pairs(rng, 80, *lengths)
    sizes = (np.array([len(pair[side]) for pair in pairs], np.int32) for side in (0, 1))
    rows = first_fit_decreasing(*sizes, *lengths)
    assert rows.tolist() == slow_first_fit(pairs, *lengths)


def test_rows_are_full_on_the_longer_side():
    # Lengths of captions: 13 pieces on average, the target as long as the source but for a few.
    rng = np.random.default_rng(0)
    sizes = np.clip(rng.lognormal(2.5, 0.4, 4000).astype(int), 2, 64)
    pairs = [
        ([3] * (n - 1) + [EOS], [4] * max(1, n + d - 1) + [EOS])
        for n, d in zip(sizes, rng.integers(-2, 3, 4000), strict=True)
    ]
    batch = packed([pair for pair in pairs if len(pair[1]) <= 64], 64, 64)
    fill = max((x != 0).mean() for x in (batch.source_segments, batch.target_segments))
    assert fill >= 0.95


def test_packing_no_pairs_gives_no_rows():
    batch = packed([], 8, 9)
    assert {x.shape for x in batch} == {(0, 8), (0, 9)}


def test_pairs_as_long_as_a_row_fill_it():
    pairs = [([3] * 7 + [EOS], [EOS]), ([EOS], [4] * 8 + [EOS])]
    batch = packed(pairs, 8, 9)
    assert len(batch.source) == 2
    assert Counter(unpack(batch)) == as_tuples(pairs)


# Buckets.


def test_bucket_length_doubles_from_sixteen():
    table = {1: 16, 15: 16, 16: 16, 17: 32, 32: 32, 33: 64, 64: 64, 65: 128, 1000: 1024}
    assert {length: bucket_length(length) for length in table} == table


def test_bucket_shapes_end_at_the_longest_of_either_side():
    assert bucket_shapes(70, 50, 256) == {
        16: (16, 16, 16),
        32: (8, 32, 32),
        64: (5, 64, 50),
        128: (5, 70, 50),
    }
    assert bucket_shapes(16, 16, 64) == {16: (4, 16, 16)}
    assert bucket_shapes(20, 32, 64) == {16: (4, 16, 16), 32: (2, 20, 32)}
    assert bucket_shapes(9, 12, 64) == {16: (5, 9, 12)}
    assert bucket_shapes(20, 40, 96, fine=True) == {
        8: (12, 8, 8),
        12: (8, 12, 12),
        16: (6, 16, 16),
        24: (4, 20, 24),
        32: (3, 20, 32),
        48: (2, 20, 40),
    }
    assert [*bucket_shapes(12, 9, 64, fine=True)] == [8, 12]
    assert bucket_shapes(40, 40, 16) == {16: (1, 16, 16), 32: (1, 32, 32), 64: (1, 40, 40)}


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_buckets_hold_every_pair_once_in_rows_of_its_own(seed, fine):
    rng = np.random.default_rng(seed)
    pairs = random_pairs(rng, 100, 70, 50)
    sources, targets = (ragged([pair[side] for pair in pairs]) for side in (0, 1))
    batches = list(bucket(sources, targets, 70, 50, 256, **IDS, fine=fine))
    shapes = bucket_shapes(70, 50, 256, fine=fine)
    longest = []
    for batch in batches:
        assert max(batch.source_segments.max(), batch.target_segments.max()) == 1
        lengths = np.maximum(*(x.sum(1) for x in (batch.source_segments, batch.target_segments)))
        buckets = [min(b for b in shapes if b >= n) for n in lengths[lengths > 0].tolist()]
        # The first row needs the batch's shape; later ones may be shorter.
        assert shapes[buckets[0]] == (*batch.source.shape, batch.labels.shape[1])
        longest += buckets
    assert longest == sorted(longest, reverse=True)
    assert all(batch.target_segments.any(1).all() for batch in batches[:-1])
    assert Counter(pair for batch in batches for pair in unpack(batch)) == as_tuples(pairs)


def test_pairs_of_a_bucket_keep_their_order():
    pairs = [([3, n], [n]) for n in range(4, 40)]
    sources, targets = (ragged([pair[side] for pair in pairs]) for side in (0, 1))
    found = [p for batch in bucket(sources, targets, 9, 9, 45, **IDS) for p in unpack(batch)]
    assert found == [(tuple(s), tuple(t)) for s, t in pairs]


def test_buckets_of_no_pairs():
    assert list(bucket(ragged([]), ragged([]), 64, 64, 64, **IDS)) == []


def test_filling_appends_rows_of_padding():
    batch = packed([([7, 5], [8, 5])], 3, 3)
    filled = fill_rows(batch, 4, 9)
    np.testing.assert_array_equal(filled.source, [[7, 5, 0]] + [[9, 9, 9]] * 3)
    for x, before in zip(filled, batch, strict=True):
        np.testing.assert_array_equal(x[:1], before)
    assert not np.any([x[1:] for x in (filled.source_segments, filled.target_segments)])
    assert (filled.labels[1:] == 9).all()
    assert (filled.decoder_input[1:] == 9).all()
    same = fill_rows(batch, 1, 9)
    jax.tree.map(np.testing.assert_array_equal, same, batch)
