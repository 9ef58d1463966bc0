"""From the pieces of a vocabulary to aligned words, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from nmt.config import InputError, TransformerConfig
from nmt.decoding.alignment import (
    Aligner,
    PieceAttention,
    align,
    choose_aligner,
    merge_words,
    owners,
    parse_pharaoh,
    pharaoh,
    read_aligner,
    to_json,
    whitespace_words,
)

MODEL = TransformerConfig(num_layers=3, num_heads=2, emb_dim=16)


@pytest.mark.parametrize(
    ("text", "starts", "expected"),
    [
        ("a bc", [0, 1], [0, 1]),
        ("a bc", [0, 1, 3], [0, 1, 1]),  # "a", " b", "c"
        ("a bc ", [0, 1, 4, 5], [0, 1, 2, 2]),  # a space behind the last word is no word's
        (" é  ü", [0, 3, 5], [0, 1, 1]),  # bytes: é and ü have two
        ("漢字 x", [0, 3, 3, 3, 6], [0, 0, 0, 0, 1]),  # pieces of a single byte
        ("", [0], [0]),
    ],
)
def test_a_piece_belongs_to_the_word_that_ends_behind_its_beginning(text, starts, expected):
    assert owners(text, starts, whitespace_words(text)).tolist() == expected


def test_words_are_what_stands_between_spaces():
    assert whitespace_words("") == []
    assert whitespace_words(" Ein Hund,\u00a0läuft.\u2028 ") == [(1, 4), (5, 10), (11, 17)]


def test_weights_add_over_source_pieces_and_average_over_target_pieces():
    weights = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]])
    merged = merge_words(weights, np.array([0, 0, 1]), np.array([0, 0, 1]))
    np.testing.assert_allclose(merged, [[0.45, 0.55], [1.0, 0.0]])


def test_a_word_without_a_piece_attends_to_nothing():
    merged = merge_words(np.eye(2), np.array([0, 2]), np.array([1, 1]))
    np.testing.assert_array_equal(merged, [[0, 0, 0], [0.5, 0, 0.5]])


def attention(layer: int, head: int) -> PieceAttention:
    """One head looks from each target word to the source word of the same number.

    The words of the target's pieces are 0, 1, 1, 2, those of the source's 0, 1, 2.
    """
    weights = np.full((3, 2, 5, 4), 0.25)
    target = np.array([0, 1, 1, 2])
    for place, word in enumerate(target):
        weights[layer, head, place] = [0.1, 0.1, 0.1, 0.5]  # the end draws most; it does not count
        weights[layer, head, place, word] = 0.3
    return PieceAttention(weights, np.arange(3), target, (3, 3))


def test_each_target_word_is_aligned_to_what_it_looks_at_most():
    looks = attention(layer=1, head=0)
    gold = ((0, 0), (1, 1), (2, 2))
    assert align(looks, Aligner(1, 0)) == gold
    assert align(looks, Aligner(1, None)) == gold
    assert align(looks, Aligner(1, 1)) == ((0, 0), (0, 1), (0, 2))


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (2, 0)])
def test_the_best_layer_and_head_are_found(layer, head):
    looks = attention(layer, head)
    gold = [[(0, 0), (1, 1), (2, 2)]]
    assert choose_aligner([looks], gold, [[]]) == Aligner(layer, None)
    weights = looks.weights.copy()
    weights[layer, 1 - head] = [[0.9, 0, 0, 0.1]]
    looks = looks._replace(weights=weights)
    assert choose_aligner([looks], gold, [[]]) == Aligner(layer, head)


def test_nothing_is_aligned_to_nothing():
    weights = np.ones((3, 2, 1, 1))
    none = np.array([], int)
    empty = PieceAttention(weights, none, none, (0, 0))
    assert align(empty, Aligner(0, None)) == ()
    looks = attention(0, 0)._replace(num_words=(3, 4))  # a last word that has no piece
    assert [target for _, target in align(looks, Aligner(0, 0))] == [0, 1, 2]
    looks = attention(0, 0)._replace(target=np.array([0, 2, 2, 2]))  # one in the middle
    assert [target for _, target in align(looks, Aligner(0, 0))] == [0, 2]


def test_pharaoh_is_written_and_read():
    assert pharaoh([(0, 0), (12, 3)]) == "0-0 12-3"
    assert parse_pharaoh("0-0 12-3\n") == ({(0, 0), (12, 3)}, set())
    assert parse_pharaoh("1p2 0-0") == ({(0, 0)}, {(1, 2)})
    for wrong in ("0:0", "0-", "-1-0", "0-0-0", "a-b"):
        with pytest.raises(ValueError, match=f"'{wrong}' is no link; expected 0-0"):
            parse_pharaoh(f"1-1 {wrong}")


def test_a_damaged_aligner_is_refused(tmp_path):
    assert read_aligner(tmp_path, MODEL) == Aligner(1, None)
    path = tmp_path / "alignment.json"
    chosen = Aligner(2, 1)
    good = to_json(chosen)
    path.write_text(good)
    assert read_aligner(tmp_path, MODEL) == chosen
    assert read_aligner(tmp_path, replace(MODEL, num_layers=8)) == chosen
    wrong = [to_json(Aligner(*x)) for x in ((3, None), (0, -1), (1.0, None), (True, False))]
    fields = ("", "[]", "{}", "null", '{"layer": 2, "head": 1}', "[" * 10_000)
    for text in (*wrong, *fields, good.replace("2", "2.0", 1)):
        path.write_text(text)
        with pytest.raises(InputError, match=r"alignment.json"):
            read_aligner(tmp_path, MODEL)
    # Any bit: it is refused, or says the same (a space, say, that became another).
    for bit in range(8 * len(good)):
        data = bytearray(good.encode())
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            assert read_aligner(tmp_path, MODEL) == chosen
        except InputError as error:
            assert "alignment.json" in str(error)  # noqa: PT017, most bits are refused
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"alignment.json: "):
        read_aligner(tmp_path, MODEL)
