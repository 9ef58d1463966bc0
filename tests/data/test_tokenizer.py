"""Text to ids and back, of whatever text."""

import io
import json
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nmt.config import InputError, TokenizerConfig
from nmt.data import grammar
from nmt.data.tokenizer import Tokenizer, clean, train

GERMAN = ["Der Hund läuft über die Straße.", "Zwei Kinder lachen laut.", "Ein Mann liest."] * 9
ENGLISH = ["The dog runs across the street.", "Two children laugh aloud.", "A man reads."] * 9

HOSTILE = {
    "NUL": "a\0b",
    "control characters": "a\x01\x02\x07\x08\x1b[31m\x7f\x9fb",
    "tabs and line ends": "a\tb\r\nc\x0bd\x0ce\rf\n",
    "separators": "a\u2028b\u2029c\x85d",
    "byte-order mark": "\ufeffa\ufeff",
    "lone surrogates": "a\ud800b\udfffc",
    "surrogates in the wrong order": "\udc00\ud83d",
    "long": "Hund " * 20_000,
    "long, one word": "x" * 100_000,
    "unknown": "漢字かな交じり文",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
    "right to left": "\u202eשלום\u202c عليكم",
    "combining": "e" + "\u0301" * 50,
    "the mark of a word": "▁▁ a▁b ▁",
    "names of special ids": "<s></s><unk><pad><0x0A>",
    "zero width": "\u200b\u200d\u00ad\u2060",
    "not a character": "\uffff\ufffe\U0010ffff",
    "spaces": " \u00a0\u3000 ",
    "empty": "",
}


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "separate"])
def tokenizer(request) -> Tokenizer:
    return train(TokenizerConfig(vocab_size=330, shared=request.param), GERMAN, ENGLISH)


def breaks(text: str) -> bool:
    return len(f"{text}.".splitlines()) > 1


# Text.


def test_text_survives(tokenizer):
    texts = [*ENGLISH[:3], "Ünïcode, was sonst: 漢字!", "  two   spaces  "]
    for text, ids in zip(texts, tokenizer.encode_target(texts), strict=True):
        assert tokenizer.decode(ids) == " ".join(text.split())


def test_each_side_is_encoded_by_its_own_vocabulary(tokenizer):
    assert tokenizer.encode_source(GERMAN[:1]) == [
        [*tokenizer.source.encode(GERMAN[0]), tokenizer.eos_id]
    ]
    assert tokenizer.encode_target(GERMAN[:1]) == [
        [*tokenizer.target.encode(GERMAN[0]), tokenizer.eos_id]
    ]
    same = tokenizer.encode_source(GERMAN) == tokenizer.encode_target(GERMAN)
    assert same == tokenizer.shared


def test_special_ids_are_four_and_vanish_from_text(tokenizer):
    special = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id]
    assert len({*special, tokenizer.unk_id}) == 4
    (ids,) = tokenizer.encode_target(["A man reads."])
    assert ids[-1] == tokenizer.eos_id
    assert not {*special, tokenizer.unk_id} & set(ids[:-1])
    assert tokenizer.decode([tokenizer.bos_id, *ids, *special]) == "A man reads."
    assert tokenizer.encode_source([""]) == tokenizer.encode_target([""]) == [[tokenizer.eos_id]]
    assert tokenizer.encode_source([]) == []


# Hostile text.


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_becomes_ids_and_one_line(tokenizer, text):
    special = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id}
    for encode in (tokenizer.encode_source, tokenizer.encode_target):
        (ids,) = encode([text])
        assert ids[-1] == tokenizer.eos_id
        assert not special & set(ids)
        assert ids.count(tokenizer.eos_id) == 1
    decoded = tokenizer.decode(ids)
    assert not breaks(decoded)
    decoded.encode()
    assert not any(ord(character) < 32 for character in decoded)
    for sample in (tokenizer.sample_source, tokenizer.sample_target):
        ids = sample(text[:500], 0.1, 0.5)
        assert ids[-1] == tokenizer.eos_id


def test_any_ids_decode_to_one_line(tokenizer):
    rng = np.random.default_rng(0)
    size = tokenizer.vocab_sizes[1]
    for ids in [*rng.integers(0, size, (300, 20)).tolist(), list(range(size))]:
        decoded = tokenizer.decode(ids)
        assert not breaks(decoded)
        decoded.encode()


def test_a_line_end_made_of_bytes_is_folded(tokenizer):
    for text in ("\n", "\r", "\u2028", "\x85"):
        ids = [tokenizer.target.piece_to_id(f"<0x{byte:02X}>") for byte in text.encode()]
        assert tokenizer.unk_id not in ids
        assert not breaks(tokenizer.decode(ids))


def test_hostile_text_trains_and_stays_out_of_the_vocabulary():
    texts = [text[:2000] for text in HOSTILE.values()] + GERMAN
    tokenizer = train(TokenizerConfig(vocab_size=420), texts, ENGLISH)
    bytes_and_special = 256 + 4
    for id in range(bytes_and_special, tokenizer.vocab_sizes[0]):
        piece = tokenizer.source.id_to_piece(id)
        assert piece == clean(piece)
    assert tokenizer.decode(tokenizer.encode_target(ENGLISH[:1])[0]) == ENGLISH[0]


def test_cleaning_leaves_text_as_it_is():
    for text in (*GERMAN, HOSTILE["emoji"], HOSTILE["combining"], HOSTILE["unknown"]):
        assert clean(text) == text
    assert clean("a\0b\u2028c\ufeffd\ud800") == "a b c d\ufffd"


# Vocabularies.


def test_data_that_cannot_fill_a_vocabulary_gets_a_smaller_one():
    tokenizer = train(TokenizerConfig(vocab_size=8000), GERMAN, ENGLISH)
    assert 260 < tokenizer.vocab_sizes[0] < 1000


def test_a_frequent_word_is_one_piece_even_if_it_stands_before_no_punctuation():
    texts = [f"{name} says that {name} because of them" for name in ("Ana", "Bruno", "Otto")] * 9
    tokenizer = train(TokenizerConfig(vocab_size=1000), texts, ENGLISH)
    for word in ("says", "that", "because"):
        assert tokenizer.target.encode(word, out_type=str) == [f"▁{word}"]


def test_a_word_that_always_stands_before_the_same_mark_is_one_piece():
    texts = [f"Yesterday, {name} saw the house." for name in ("Ana", "Bruno", "Otto")] * 9
    tokenizer = train(TokenizerConfig(vocab_size=1000), texts, ENGLISH)
    for word, mark in (("Yesterday", ","), ("house", ".")):
        assert tokenizer.target.encode(word + mark, out_type=str) == [f"▁{word}", mark]


def test_frequent_words_and_their_letters_are_whole_in_the_embedded_corpus():
    corpus = grammar.generate((5000, 0, 0)).train
    source, target = ([getattr(pair, side) for pair in corpus] for side in ("source", "target"))
    tokenizer = train(TokenizerConfig(vocab_size=3000), source, target)
    words = Counter(re.findall(r"\w+", " ".join(source + target)))
    for word, _ in words.most_common(200):
        assert tokenizer.source.encode(word, out_type=str) == [f"▁{word}"]
    letters = Counter("".join(source + target).replace(" ", ""))
    frequent = [letter for letter, count in letters.items() if count >= 20]
    assert "G" in frequent
    for letter in frequent:
        assert not any(map(tokenizer.source.is_byte, tokenizer.source.encode(letter)))


def test_a_letter_of_few_words_is_a_piece_and_one_of_a_single_line_in_thousands_is_none():
    texts = ["Zwei Kinder lachen laut."] * 6000 + ["Übung macht Meister."] * 30 + ["Ø ist leer."]
    tokenizer = train(TokenizerConfig(vocab_size=400), texts, texts)
    assert tokenizer.source.piece_to_id("Ü") != tokenizer.unk_id
    assert tokenizer.source.piece_to_id("Ø") == tokenizer.unk_id
    assert tokenizer.decode(tokenizer.encode_target(texts[-1:])[0]) == texts[-1]


@pytest.mark.parametrize("shared", [True, False])
def test_vocabulary_too_small_for_its_characters_is_an_error_in_one_line(shared):
    many = ["".join(map(chr, range(0x4E00, 0x4E00 + 200)))]
    with pytest.raises(InputError, match=r"tokenizer\.vocab_size is 300") as raised:
        train(TokenizerConfig(vocab_size=300, shared=shared), many, many)
    assert "\n" not in str(raised.value)


def test_what_is_no_sentence_does_not_shape_the_vocabulary():
    lines = [*GERMAN, "x" * 100_000]
    tokenizer = train(TokenizerConfig(vocab_size=330), lines, [*ENGLISH, "y" * 100_000])
    pieces = [tokenizer.source.id_to_piece(number) for number in range(tokenizer.vocab_sizes[0])]
    assert not any("xx" in piece or "yy" in piece for piece in pieces)
    assert (
        tokenizer.to_bytes() == train(TokenizerConfig(vocab_size=330), GERMAN, ENGLISH).to_bytes()
    )


def test_lines_longer_than_sentencepiece_takes_by_itself_count():
    long = ["Hund läuft " * 350]  # 4,200 bytes
    tokenizer = train(TokenizerConfig(vocab_size=290), long, ["a b c"])
    assert all(tokenizer.source.piece_to_id(piece) != tokenizer.unk_id for piece in "Hä")


@pytest.mark.parametrize("text", ["\x00", "\xa0", "\u200b", ""])
def test_text_without_a_character_is_an_error_in_one_line(text):
    with pytest.raises(InputError, match="no vocabulary can be trained") as raised:
        train(TokenizerConfig(vocab_size=290), [text] * 3, [text] * 3)
    assert "\n" not in str(raised.value)


# Bytes.


def test_bytes_hold_all_of_a_tokenizer(tokenizer):
    data = tokenizer.to_bytes()
    copy = Tokenizer.from_bytes(data)
    assert copy.to_bytes() == data
    assert (copy.shared, copy.vocab_sizes) == (tokenizer.shared, tokenizer.vocab_sizes)
    assert copy.encode_source(GERMAN) == tokenizer.encode_source(GERMAN)
    assert copy.encode_target(ENGLISH) == tokenizer.encode_target(ENGLISH)


def test_training_twice_gives_the_same_bytes():
    config = TokenizerConfig(vocab_size=330, shared=False)
    first, second = (train(config, GERMAN, ENGLISH).to_bytes() for _ in range(2))
    assert first == second


def zip_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.model", content)
    return buffer.getvalue()


DAMAGED = {
    "empty": b"",
    "text": b"not a model",
    "zeros": bytes(1000),
    "the beginning of a zip": b"PK\x03\x04",
    "an empty zip": zip_of(),
    "a zip of one": zip_of(source=b""),
    "a zip of text": zip_of(source=b"no", target=b"no"),
    "a zip of empty files": zip_of(source=b"", target=b""),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_bytes_are_an_error_in_one_line(data):
    with pytest.raises(InputError) as raised:
        Tokenizer.from_bytes(data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.9, 0.99])
def test_truncated_bytes_are_an_error_in_one_line(tokenizer, part):
    data = tokenizer.to_bytes()
    with pytest.raises(InputError) as raised:
        Tokenizer.from_bytes(data[: int(part * len(data))])
    assert "\n" not in str(raised.value)


def test_a_zip_with_a_flipped_bit_is_an_error():
    data = bytearray(
        train(TokenizerConfig(vocab_size=330, shared=False), GERMAN, ENGLISH).to_bytes()
    )
    data[len(data) // 3] ^= 1
    with pytest.raises(InputError):
        Tokenizer.from_bytes(bytes(data))


# Sampling.


UNIFORMS = [number / 20 for number in range(20)]


def test_samples_are_segmentations_of_the_sentence(tokenizer):
    sources = [tokenizer.sample_source(GERMAN[0], 0.1, u) for u in UNIFORMS]
    targets = [tokenizer.sample_target(ENGLISH[0], 0.1, u) for u in UNIFORMS]
    assert len(set(map(tuple, sources))) > 5
    for source, target in zip(sources, targets, strict=True):
        assert source[-1] == target[-1] == tokenizer.eos_id
        assert tokenizer.decode(target) == ENGLISH[0]
        assert tokenizer.source.decode(source) == GERMAN[0]


def test_sampling_at_zero_or_of_one_sharp_distribution_is_the_likeliest(tokenizer):
    likeliest = tokenizer.encode_source([GERMAN[0]])[0]
    assert tokenizer.sample_source(GERMAN[0], 0.1, 0.0) == likeliest
    assert tokenizer.sample_source(GERMAN[0], 1e3, 0.999) == likeliest


def test_samples_are_the_same_in_another_process(tmp_path):
    tokenizer = train(TokenizerConfig(vocab_size=330), GERMAN, ENGLISH)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tokenizer.to_bytes())
    drawn = [tokenizer.sample_source(GERMAN[0], 0.1, uniform) for uniform in UNIFORMS]
    code = (
        "import json, pathlib, sys\n"
        "from nmt.data.tokenizer import Tokenizer\n"
        "tokenizer = Tokenizer.from_bytes(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "draw = tokenizer.sample_source\n"
        "print(json.dumps([draw(sys.argv[2], 0.1, n / 20) for n in range(20)]))\n"
    )
    command = [sys.executable, "-c", code, str(path), GERMAN[0]]
    root = Path(__file__).parents[2]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == drawn
