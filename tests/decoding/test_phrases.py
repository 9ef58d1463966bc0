"""Phrases are of whole words, whatever pieces these are cut into."""

import re

import pytest

from nmt.config import TokenizerConfig
from nmt.data import tokenizer
from nmt.decoding.buckets import MAX_PHRASE_LENGTH, Request
from nmt.decoding.phrases import cut, cut_otherwise, occurrences, word_edges
from nmt.decoding.requests import stricter

LINES = ["a cat and the cats", "a cat, the cat's hat", "the man in a hat.", "mankind is here."] * 30
TOKENIZER = tokenizer.train(TokenizerConfig(vocab_size=400), LINES, LINES)


def shown(ids) -> list[str]:
    return TOKENIZER.target.id_to_piece(list(ids))


def ids(*pieces: str) -> list[int]:
    """Pieces as a search may find them: any that the vocabulary has."""
    found = TOKENIZER.ids(pieces)
    assert TOKENIZER.unk_id not in found
    return found


@pytest.mark.parametrize(
    ("text", "phrase", "expected"),
    [
        ("cat cats concat cat", "cat", [0, 16]),
        ("cat's cat-like (cat) 2cat cat2", "cat", [0, 6, 16]),
        ("the cat. cat the cat", "the cat", [0, 13]),
        ("a..., b.", ".", [1, 2, 3, 7]),
        ("\u0928\u094d\u0926", "\u0928", []),  # goes on with a mark upon it
        ("\u9ed2\u732b\u304c\u3044\u308b", "\u732b", [1]),  # no spaces between words
        ("aa aa", "aa", [0, 3]),
        ("xna na na", "na na", [4]),  # behind one that begins inside a word, and into it
        ("anything", "", []),
    ],
)
def test_a_phrase_stands_where_no_word_runs_across_its_edges(text, phrase, expected):
    assert list(occurrences(text, phrase)) == [(n, n + len(phrase)) for n in expected]


def test_of_latin_text_these_are_what_a_regular_expression_finds():
    text = "the cat, the cats; the-cat the cat the  cat bathe cat. the cat"
    for phrase in ("the", "cat", "the cat", "he", "cat,", "-", "s; t"):
        before, behind = (
            r"\b" if character.isalnum() else "" for character in (phrase[0], phrase[-1])
        )
        pattern = f"(?={before}{re.escape(phrase)}{behind})"
        expected = [match.start() for match in re.finditer(pattern, text)]
        assert [start for start, _ in occurrences(text, phrase)] == expected


def test_edges_are_of_the_characters_of_pieces():
    edges = dict(
        zip(shown(range(len(word_edges(TOKENIZER)))), word_edges(TOKENIZER).tolist(), strict=True)
    )
    assert edges["\u2581cat"] == [False, True]
    assert edges["s"] == [True, True]
    assert edges["."] == edges["\u2581"] == edges["</s>"] == edges["<unk>"] == [False, False]
    assert edges["<0xE7>"] == [True, True]  # of what, only its neighbours tell


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("cat", ["\u2581cat"]),
        ("the cat", ["\u2581the", "\u2581cat"]),
        (".", ["."]),
        (" . ", ["."]),
        ("'s hat", ["'", "s", "\u2581hat"]),
        ("\u732b", ["<0xE7>", "<0x8C>", "<0xAB>"]),
        (" ", []),
        ("(cat)", ["\u2581", "<0x28>", "c", "a", "t", "<0x29>"]),  # opens behind a space
        ('"', ["\u2581", "<0x22>"]),
        ("\u2116", ["\u2581", "<0x4E>", "<0x6F>"]),  # a symbol that becomes letters
    ],
)
def test_a_phrase_is_cut_as_it_stands_in_a_sentence(phrase, expected):
    assert shown(cut(phrase, TOKENIZER)) == expected


@pytest.mark.parametrize(
    ("pieces", "phrases", "expected"),
    [
        (["\u2581a", "\u2581cat"], ["cat"], [["\u2581cat"]]),
        (["\u2581", "c", "a", "t", "."], ["cat"], [["\u2581", "c", "a", "t"]]),
        (["\u2581cat", "s", "\u2581a"], ["cat", "s"], []),
        (["\u2581a", "\u2581", "c", "a", "t"], ["a cat"], [["\u2581a", "\u2581", "c", "a", "t"]]),
        (["\u2581a", "\u2581", "c", "a", "t"], ["cat"], [["c", "a", "t"]]),
        (
            ["\u2581a", "\u2581", "c", "a", "t", "\u2581cat"],
            ["cat"],
            [["c", "a", "t"], ["\u2581cat"]],
        ),
        (
            ["\u2581a", "<0xE7>", "<0x8C>", "<0xAB>", "s"],
            ["\u732b"],
            [["<0xE7>", "<0x8C>", "<0xAB>"]],
        ),
        (["\u2581a", "\u2581", "c", "<0x61>", "t"], ["cat"], [["c", "<0x61>", "t"]]),
        ([], ["cat"], []),
    ],
)
def test_where_a_phrase_stands_its_pieces_are_found(pieces, phrases, expected):
    assert [shown(way) for way in cut_otherwise(ids(*pieces), phrases, TOKENIZER)] == expected


def test_of_a_way_that_is_too_long_its_end_is_forbidden():
    phrase = "a cat and the cats"
    pieces = ["\u2581" if character == " " else character for character in f" {phrase}"]
    assert len(pieces) > MAX_PHRASE_LENGTH
    asked = Request(ids("\u2581a"), forbidden=(cut(phrase, TOKENIZER),))
    again = stricter(asked, [phrase], [pieces], TOKENIZER)
    assert [shown(way) for way in again.forbidden[1:]] == [pieces[-MAX_PHRASE_LENGTH:]]
