"""The order of the training data: exact, complete, and resumable at every batch."""

import dataclasses
import itertools
from collections import Counter

import grain
import jax
import numpy as np
import pytest

from nmt import parallel
from nmt.config import Config, DataConfig, InputError, TokenizerConfig, TrainingConfig
from nmt.data import pipeline, tokenizer
from nmt.data.corpora import Corpus

WORDS = [
    "ein",
    "Hund",
    "läuft",
    "über",
    "die",
    "grüne",
    "Wiese",
    "und",
    "zwei",
    "Kinder",
    "lachen",
    "laut",
    "dabei",
]
PAIRS = 150
WINDOW = 40  # the last of an epoch holds 30


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """150 different pairs of up to 17 words, the number of each pair on both sides."""
    rng = np.random.default_rng(0)

    def sentence(number):
        return " ".join([str(number), *rng.choice(WORDS, rng.integers(0, 17))])

    return Corpus([sentence(n) for n in range(PAIRS)], [sentence(n) for n in range(PAIRS)])


@pytest.fixture(scope="module")
def vocabulary(corpus):
    return tokenizer.train(TokenizerConfig(vocab_size=340), *corpus)


@pytest.fixture(autouse=True)
def small_window(monkeypatch):
    monkeypatch.setattr(pipeline, "WINDOW", WINDOW)


def make_config(alpha: float | None = None, seed: int = 0, length: int = 16) -> Config:
    return Config(
        data=DataConfig("de", "en", max_source_length=length, max_target_length=length),
        tokenizer=TokenizerConfig(vocab_size=340, sampling_alpha=alpha),
        training=TrainingConfig(num_steps=9999, batch_tokens=7 * length, seed=seed),
    )


CONFIG, SAMPLED = make_config(), make_config(alpha=0.2)


def assert_equal(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def pairs_of(batch, vocabulary) -> list[tuple[str, str]]:
    """The text of the pairs of a batch."""
    pairs = []
    for row in range(len(batch.source)):
        for segment in range(1, batch.source_segments[row].max() + 1):
            source = batch.source[row][batch.source_segments[row] == segment]
            target = batch.labels[row][batch.target_segments[row] == segment]
            pairs.append((vocabulary.decode(source.tolist()), vocabulary.decode(target.tolist())))
    return pairs


def usable(corpus, vocabulary, length: int) -> Counter:
    encoded = vocabulary.encode_source(corpus.source), vocabulary.encode_target(corpus.target)
    return Counter(
        pair
        for pair, source, target in zip(zip(*corpus, strict=True), *encoded, strict=True)
        if 2 <= len(source) <= length and 2 <= len(target) <= length
    )


def packed_window(*place):
    """All rows of a window."""
    corpus, vocabulary, config, epoch, window = place
    blocks = pipeline.window_blocks(corpus, vocabulary, config, True, epoch, window)
    return jax.tree.map(lambda *x: np.concatenate(x), *blocks)


def epoch_rows(corpus, vocabulary, config, epoch: int) -> list:
    windows = range(-(-len(corpus.source) // WINDOW))
    return [packed_window(corpus, vocabulary, config, epoch, w) for w in windows]


# The order.


@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=["likeliest", "sampled"])
@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("packable", [True, False])
def test_going_on_from_any_batch_gives_the_same_batches(
    corpus, vocabulary, config, threads, packable
):
    def iterator():
        batches = pipeline.TrainBatches(corpus, vocabulary, config, packable)
        return grain.experimental.ThreadPrefetchDatasetIterator(batches, 2) if threads else batches

    whole = iterator()
    states, batches = [], []
    for _ in range(24):
        states.append(whole.get_state())
        batches.append(next(whole))
    epochs = {state["epoch"] for state in states if "epoch" in state}
    assert threads or epochs >= {0, 1}
    for n in range(0, 24, 1 if not threads else 5):
        resumed = iterator()
        resumed.set_state(states[n])
        for expected in batches[n : n + 3]:
            assert_equal(next(resumed), expected)


@pytest.mark.parametrize("packable", [True, False])
def test_a_position_is_three_integers_and_going_back_is_possible(corpus, vocabulary, packable):
    batches = pipeline.TrainBatches(corpus, vocabulary, CONFIG, packable)
    assert batches.get_state() == {"epoch": 0, "window": 0, "block": 0}
    first = next(batches)
    state = batches.get_state()
    assert {name: type(value) for name, value in state.items()} == dict.fromkeys(
        ("epoch", "window", "block"), int
    )
    for _ in range(10):
        next(batches)
    batches.set_state({"epoch": 0, "window": 0, "block": 0})
    assert_equal(next(batches), first)
    assert batches.get_state() == state


def test_batches_are_the_rows_of_all_windows_one_after_another(corpus, vocabulary):
    windows = [w for epoch in range(2) for w in epoch_rows(corpus, vocabulary, CONFIG, epoch)]
    rows = jax.tree.map(lambda *x: np.concatenate(x), *windows)
    batches = pipeline.TrainBatches(corpus, vocabulary, CONFIG, packable=True)
    for n in range(len(rows.source) // 7):
        batch = next(batches)
        assert batch.source.shape == (7, 16)
        assert_equal(batch, jax.tree.map(lambda x, n=n: x[7 * n : 7 * n + 7], rows))


def test_each_epoch_holds_each_usable_pair_once(corpus, vocabulary):
    expected = usable(corpus, vocabulary, 16)
    assert PAIRS / 2 < len(expected) < PAIRS
    for epoch in (0, 1):
        windows = epoch_rows(corpus, vocabulary, CONFIG, epoch)
        found = Counter(pair for rows in windows for pair in pairs_of(rows, vocabulary))
        assert found == expected


def test_order_differs_between_epochs_and_seeds(corpus, vocabulary):
    def first_window(seed, epoch):
        return packed_window(corpus, vocabulary, make_config(seed=seed), epoch, 0)

    windows = [first_window(*place) for place in ((0, 0), (0, 1), (1, 0), (1, 1))]
    for a, b in itertools.combinations(windows, 2):
        assert Counter(pairs_of(a, vocabulary)) != Counter(pairs_of(b, vocabulary))
    assert_equal(first_window(1, 1), windows[3])


def test_rows_of_a_window_are_shuffled(corpus, vocabulary, monkeypatch):
    # Packing opens each row with the longest pair that is left.
    monkeypatch.setattr(pipeline, "WINDOW", PAIRS)
    rows = packed_window(corpus, vocabulary, CONFIG, 0, 0)
    longest = np.maximum(rows.source_positions.max(1), rows.target_positions.max(1))
    assert np.any(np.diff(longest) > 0)


# Batches for models that cannot take several pairs in a row.


def test_bucketed_epoch_holds_each_usable_pair_once_in_declared_shapes(corpus, vocabulary):
    config = make_config(length=24)
    shapes = pipeline.training_shapes(config, packable=False)
    # 7 rows of 24 are 168 positions.
    assert shapes == [(21, 8, 8), (14, 12, 12), (10, 16, 16), (7, 24, 24)]
    for epoch in (0, 1):
        found: Counter = Counter()
        for window in range(-(-PAIRS // WINDOW)):
            batches = pipeline.window_blocks(corpus, vocabulary, config, False, epoch, window)
            full = [bool(batch.target_segments.any(1).all()) for batch in batches]
            assert full.count(False) <= 1
            for batch in batches:
                assert batch.source.shape + batch.labels.shape[1:] in shapes
                assert batch.source_segments.max() == 1
                found += Counter(pairs_of(batch, vocabulary))
        assert found == usable(corpus, vocabulary, 24)


def test_bucketed_batches_of_a_window_are_shuffled_and_of_all_windows_follow(corpus, vocabulary):
    config = make_config(length=24)
    windows = [
        pipeline.window_blocks(corpus, vocabulary, config, False, epoch, window)
        for epoch in (0, 1)
        for window in range(-(-PAIRS // WINDOW))
    ]
    widths = [[batch.source.shape[1] for batch in batches] for batches in windows]
    assert any(window != sorted(window, reverse=True) for window in widths)
    assert len(set(widths[0])) == 3
    assert len(set(widths[0][:3])) == 3  # the first of all begin with one of each shape
    batches = pipeline.TrainBatches(corpus, vocabulary, config, packable=False)
    for expected in itertools.chain(*windows):
        assert_equal(next(batches), expected)


@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=["likeliest", "sampled"])
@pytest.mark.parametrize("packable", [True, False])
def test_layout_differs_between_seeds_epochs_and_windows(
    corpus, vocabulary, monkeypatch, config, packable
):
    # The same pairs in each window, so that nothing but the layout can tell windows apart.
    same_pairs = Corpus(*(side[:WINDOW] * 2 for side in corpus))
    monkeypatch.setattr(pipeline, "epoch_order", lambda num_pairs, *_: np.arange(num_pairs))

    def layout(seed, epoch, window):
        # Batches so small that there are many.
        training = dataclasses.replace(
            config.training, seed=seed, batch_tokens=config.data.max_target_length
        )
        own = dataclasses.replace(config, training=training)
        blocks = pipeline.window_blocks(same_pairs, vocabulary, own, packable, epoch, window)
        return [x.tobytes() for block in blocks for x in block]

    places = [(0, 1, 0), (0, 1, 1), (0, 2, 0), (1, 1, 0)]
    assert layout(*places[0]) == layout(*places[0])
    for a, b in itertools.combinations(places, 2):
        assert layout(*a) != layout(*b)


# Sampling.


def test_sampling_is_a_function_of_seed_epoch_and_window(corpus, vocabulary):
    def window(*place, config=SAMPLED):
        return packed_window(corpus, vocabulary, config, *place)

    first = window(0, 1)
    assert_equal(window(0, 1), first)
    assert not same(window(0, 1, config=CONFIG), first)
    text = pairs_of(first, vocabulary)
    pieces = {pair: [] for pair in text}
    for epoch in range(6):
        for rows in epoch_rows(corpus, vocabulary, SAMPLED, epoch):
            for row, segment in zip(*np.nonzero(rows.source_positions == 1), strict=True):
                number = rows.source_segments[row, segment]
                ids = rows.source[row][rows.source_segments[row] == number]
                target = rows.labels[row][rows.target_segments[row] == number]
                pair = vocabulary.decode(ids.tolist()), vocabulary.decode(target.tolist())
                if pair in pieces:
                    pieces[pair].append(tuple(ids.tolist()))
    assert sum(len(set(drawn)) > 1 for drawn in pieces.values()) > len(pieces) / 2


@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_samples_never_exceed_a_row(corpus, vocabulary, alpha):
    # A sample is longer than the likeliest segmentation, by which a pair is judged.
    config = make_config(alpha=alpha)
    expected = usable(corpus, vocabulary, 16)
    windows = epoch_rows(corpus, vocabulary, config, 0)
    assert all(x.shape[1] == 16 for rows in windows for x in rows)
    assert Counter(p for rows in windows for p in pairs_of(rows, vocabulary)) == expected


# What is left out.


def test_unusable_pairs_are_counted_by_reason(vocabulary):
    fine, long = "ein Hund", "Wiese " * 40
    corpus = Corpus(
        [fine, "", fine, long, fine, "", " "] * 10, [fine, fine, "", fine, long, long, ""] * 10
    )
    counts = pipeline.count_pairs(corpus, vocabulary, CONFIG.data)
    assert counts == {"pairs": 70, "empty": 40, "too_long": 20}
    found = [p for w in epoch_rows(corpus, vocabulary, CONFIG, 0) for p in pairs_of(w, vocabulary)]
    assert found == [(fine, fine)] * 10


def test_no_usable_pair_is_an_error_in_one_line(vocabulary):
    corpus = Corpus(["", "Wiese " * 40], ["ein", "ein"])
    with pytest.raises(InputError, match=r"none of the 2 .* 1 are empty .* 1 longer") as raised:
        pipeline.count_pairs(corpus, vocabulary, CONFIG.data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=["likeliest", "sampled"])
@pytest.mark.parametrize("packable", [True, False])
def test_a_window_without_a_usable_pair_is_passed_over(vocabulary, config, packable):
    gap = ["Wiese " * 40] * 90 + ["ein Hund"] * 2
    batches = pipeline.TrainBatches(Corpus(gap, gap), vocabulary, config, packable)
    found = Counter(pair for _ in range(3) for pair in pairs_of(next(batches), vocabulary))
    assert set(found) == {("ein Hund", "ein Hund")}


# Evaluation.


def test_evaluation_holds_every_pair_and_cuts_what_is_too_long(corpus, vocabulary):
    longest = 12
    batches = pipeline.eval_batches(corpus, vocabulary, 128, longest)
    assert {batch.source.shape for batch in batches} == {(10, 12)}
    found = Counter()
    for batch in batches:
        for source, target, segments, labels in zip(
            batch.source, batch.target_segments, batch.source_segments, batch.labels, strict=True
        ):
            if segments.any():
                key = tuple(source[segments == 1].tolist()), tuple(labels[target == 1].tolist())
                found[key] += 1
    encoded = vocabulary.encode_source(corpus.source), vocabulary.encode_target(corpus.target)
    assert any(len(ids) > longest for ids in encoded[0])
    expected = Counter(
        (tuple(s[:longest]), tuple(t[:longest])) for s, t in zip(*encoded, strict=True)
    )
    assert found == expected


# Hosts.


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_rows_of_all_hosts_are_the_global_batch(corpus, vocabulary, monkeypatch, hosts):
    config = dataclasses.replace(CONFIG, training=TrainingConfig(9999, batch_tokens=16 * 16))
    batch = next(pipeline.TrainBatches(corpus, vocabulary, config, packable=True))
    monkeypatch.setattr(jax, "process_count", lambda: hosts)
    monkeypatch.setattr(jax, "local_device_count", lambda: 8 // hosts)
    shares = []
    for host in range(hosts):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        share = parallel.split_global(batch)
        assert share.source.shape == (8 // hosts, 2, 16)
        shares.append(share)
    joined = jax.tree.map(lambda *x: np.concatenate(x).reshape(16, -1), *shares)
    assert_equal(joined, batch)
