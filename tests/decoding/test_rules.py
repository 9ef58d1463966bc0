"""Rules against plain predicates: a beam as wide as the space equals the enumeration of what is
allowed, and what a narrow beam finds is allowed and scored by the model."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_models import (
    BATCH,
    CLOSE,
    EOS,
    IDS,
    PAD,
    VOCAB,
    A,
    B,
    C,
    assert_same,
    beginning,
    decode_step,
    enumerate_all,
    listed,
    log_probs,
    random_tables,
    reorder,
)

from nmt.decoding.rules import (
    NO_PIECE,
    forbidden_phrases,
    forced_prefix,
    minimum_length,
    no_repeated_ngrams,
    required_phrases,
)
from nmt.decoding.search import Hypotheses, Progress, beam_search, greedy_search

_ = NO_PIECE

WIDTH = 6

# Whether the first and the last character of a piece are of a word: B C and B B are in one.
NO_WORDS = np.zeros((VOCAB, 2), bool)
EDGES = np.array([(piece in (B, C), piece == B) for piece in range(VOCAB)])


@partial(jax.jit, static_argnames=("kind", "beam_size"))
def search(kind: str, value, tables, alpha=0.0, beam_size=None) -> Hypotheses:
    """Searches under the rule that is called so."""
    select = None
    if kind in ("required", "words"):
        rule, select = required_phrases(value, EOS, EDGES if kind == "words" else NO_WORDS)
        rules = [rule]
    elif kind == "prefix, repeat":
        rules = [no_repeated_ngrams(2, value), forced_prefix(value)]
    else:
        make = {
            "minimum": partial(minimum_length, eos_id=EOS),
            "repeat": no_repeated_ngrams,
            "prefix": forced_prefix,
            "forbidden": forbidden_phrases,
        }[kind]
        rules = [make(value)]
    arguments = {
        "begin": beginning(tables, beam_size or 1),
        "decode_step": decode_step,
        "num_rows": 7,  # fewer than sentences: their phrases take turns
        "max_lengths": jnp.full(len(tables), WIDTH),
        "max_length": WIDTH,
        "length_penalty": alpha,
        "rules": rules,
        **IDS,
    }
    if beam_size is None:
        return greedy_search(**arguments)
    return beam_search(reorder=reorder, beam_size=beam_size, select=select, **arguments)


def contains(body: tuple, phrase: tuple) -> bool:
    return any(body[i : i + len(phrase)] == phrase for i in range(len(body) - len(phrase) + 1))


def contains_word(body: tuple, phrase: tuple) -> bool:
    """Whether a phrase that ends in B stands somewhere without its word's going on."""
    body = (*body, EOS)
    return any(contains(body, (*phrase, behind)) for behind in (A, EOS))


def repeats(body: tuple, size: int) -> bool:
    grams = [body[i : i + size] for i in range(len(body) - size + 1)]
    return len(set(grams)) < len(grams)


# A kind of rule, its value for all sentences, and what it means for a sequence without its end.
# Phrases have one shape, so that they share what is compiled.
PHRASES = [[A, B, _], [C, _, _], [_, _, _]]
RULES = {
    "minimum 0": ("minimum", 0, lambda y: True),
    "minimum 3": ("minimum", 3, lambda y: len(y) >= 3),
    "no piece twice": ("repeat", 1, lambda y: not repeats(y, 1)),
    "no pair twice": ("repeat", 2, lambda y: not repeats(y, 2)),
    "no triple twice": ("repeat", 3, lambda y: not repeats(y, 3)),
    "no prefix": ("prefix", [_, _], lambda y: True),
    "a prefix": ("prefix", [B, A], lambda y: y[:2] == (B, A)),
    "a short prefix": ("prefix", [C, _], lambda y: y[:1] == (C,)),
    "a prefix that ends": ("prefix", [B, EOS], lambda y: y == (B,)),
    "a prefix that repeats a pair, and no other twice": (
        "prefix, repeat",
        [A, A, A],
        lambda y: (
            y[:3] == (A, A, A)
            and not any(contains(y[:n], y[n - 1 : n + 1]) for n in range(3, len(y)))
        ),
    ),
    "nothing forbidden": ("forbidden", [[_] * 3] * 3, lambda y: True),
    "forbidden phrases": (
        "forbidden",
        PHRASES,
        lambda y: not contains(y, (A, B)) and not contains(y, (C,)),
    ),
    "a forbidden triple": (
        "forbidden",
        [[A, A, B], [_] * 3, [_] * 3],
        lambda y: not contains(y, (A, A, B)),
    ),
    "nothing required": ("required", [[_] * 3] * 3, lambda y: True),
    "required phrases": (
        "required",
        PHRASES,
        lambda y: contains(y, (A, B)) and contains(y, (C,)),
    ),
    "required phrases that overlap": (
        "required",
        [[A, B, A], [B, A, A], [_] * 3],
        lambda y: contains(y, (A, B, A)) and contains(y, (B, A, A)),
    ),
    "a required repetition": (
        "required",
        [[A, A, B], [_] * 3, [_] * 3],
        lambda y: contains(y, (A, A, B)),
    ),
    "a required word": ("words", [[A, B, _], [_] * 3, [_] * 3], lambda y: contains_word(y, (A, B))),
    "a required word and what may go on": (
        "words",
        [[B, _, _], [B, C, _], [_] * 3],
        lambda y: contains_word(y, (B,)) and contains(y, (B, C)),
    ),
}


def value_of(kind: str, value, batch: int = BATCH) -> jax.Array:
    """The value as the rule takes it: what is a sentence's own gets a row each."""
    array = jnp.asarray(value, jnp.int32)
    return jnp.broadcast_to(array, (batch, *array.shape)) if array.ndim else array


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize(("kind", "value", "allowed"), RULES.values(), ids=RULES)
def test_beam_as_wide_as_the_space_equals_enumeration(kind, value, allowed, alpha):
    # 364 sequences of up to 5 pieces; ends are rare, so that nothing is decided before the last.
    tables = random_tables(1, end=-40.0)[::10]
    found = jax.device_get(
        search(kind, value_of(kind, value, len(tables)), tables, alpha, beam_size=364)
    )
    for sentence, table in enumerate(tables):
        expected = enumerate_all(table, WIDTH, alpha, allowed)
        assert expected
        assert_same(listed(found, sentence), expected)


# In five pieces a beam of 1 or 5 does not always get so far as to say B C and, after it, B.
NARROW = {
    name: rule for name, rule in RULES.items() if name != "a required word and what may go on"
}


@pytest.mark.parametrize("beam_size", [None, 1, 5])
@pytest.mark.parametrize(("kind", "value", "allowed"), NARROW.values(), ids=NARROW)
def test_what_a_narrow_search_finds_is_allowed_and_scored_by_the_model(
    kind, value, allowed, beam_size
):
    if kind in ("required", "words") and beam_size is None:
        pytest.skip("greedy search has no selection")
    tables = random_tables(2)
    found = jax.device_get(search(kind, value_of(kind, value), tables, 0.0, beam_size))
    for sentence, table in enumerate(tables):
        hypotheses = listed(found, sentence)
        assert hypotheses
        for score, tokens in hypotheses:
            assert allowed(tokens[:-1])
            np.testing.assert_allclose(score, sum(log_probs(table, tokens)), **CLOSE)


def test_each_sentence_has_its_own_phrases():
    tables = random_tables(3)
    phrases = np.full((BATCH, 1, 2), NO_PIECE)
    phrases[::2, 0] = C, A
    for kind in ("forbidden", "required"):
        found = jax.device_get(search(kind, jnp.asarray(phrases), tables, beam_size=5))
        free = jax.device_get(search(kind, jnp.full_like(phrases, NO_PIECE), tables, beam_size=5))
        with_phrase = [contains(listed(found, n)[0][1], (C, A)) for n in range(BATCH)]
        assert all(with_phrase[::2]) if kind == "required" else not any(with_phrase[::2])
        for x, y in zip(found, free, strict=True):
            np.testing.assert_array_equal(x[1::2], y[1::2])


def test_a_required_word_just_said_goes_on_to_the_best_that_leaves_it_whole():
    # Hypothesis 0 ends in A B, which C would make another word; all that is likely comes of 1.
    # The best that holds both pieces, then the best that holds one.
    phrases = jnp.array([[[A, B, NO_PIECE]]])
    select = required_phrases(phrases, EOS, EDGES)[1]
    tokens = jnp.array([[[A, B, PAD], [C, C, PAD]]])
    progress = Progress(jnp.array([0]), jnp.array([2]), tokens)
    logits = jnp.array([[[-jnp.inf, -jnp.inf, -4.0, -2.0, -3.0, -1.0]] * 2])
    sums, parents, token = select(logits, jnp.array([[-90.0, 0.0]]), progress)
    assert parents.tolist() == [[0, 1]]
    assert token.tolist() == [[A, A]]
    assert sums.tolist() == [[-92.0, -2.0]]


def test_ngrams_longer_than_any_translation_bar_nothing_and_take_no_time():
    tables = random_tables(6)
    found, free = (search("repeat", jnp.int32(size), tables) for size in (2**31 - 1, WIDTH + 1))
    jax.tree.map(np.testing.assert_array_equal, found, free)
    assert (found.lengths == WIDTH).any()


def test_no_sequence_is_left_where_rules_contradict():
    tables = random_tables(4)
    found = jax.device_get(search("prefix", value_of("prefix", [A] * WIDTH), tables, beam_size=3))
    assert (found.lengths == 0).all()
    assert (found.scores == -np.inf).all()
    greedy = jax.device_get(search("prefix", value_of("prefix", [A] * WIDTH), tables))
    assert (greedy.lengths == 0).all()
    assert (greedy.scores == -np.inf).all()


def test_changing_a_value_compiles_nothing():
    tables = random_tables(5)
    for kind, values in {
        "minimum": (1, 4),
        "repeat": (2, 3),
        "prefix": ([A, _], [B, C]),
        "forbidden": ([[A, _]], [[B, C]]),
        "required": ([[A, _]], [[B, C]]),
    }.items():
        search(kind, value_of(kind, values[0]), tables, beam_size=4)
        before = search._cache_size()
        search(kind, value_of(kind, values[1]), tables, beam_size=4)
        assert search._cache_size() == before
