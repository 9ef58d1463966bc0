"""What is asked of a translation in words, and the pieces that words are cut into.

A phrase stands in a text where no word runs across its edges. A word is made of letters, the marks
upon them, and digits; of scripts that put no spaces between words every character is its own.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from nmt.data.tokenizer import Tokenizer, clean
from nmt.decoding.alignment import Span

_WITHOUT_SPACES = re.compile(  # Thai, Lao, Burmese, Khmer, kana, Chinese characters
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)

_OPENING = '"#&*@\u00a1\u00bf'
"""Punctuation that may stand before a word, though its category does not say so."""


def occurrences(text: str, phrase: str) -> Iterator[Span]:
    """Yields where a phrase stands in a text, whole."""
    start = text.find(phrase)
    while phrase and start >= 0:
        end = start + len(phrase)
        if not (_is_inside(text, start) or _is_inside(text, end)):
            yield start, end
        start = text.find(phrase, start + 1)


def word_edges(tokenizer: Tokenizer) -> Bool[np.ndarray, "V 2"]:
    """Tells of which target pieces the first and the last character are of a word.

    Where both of two that meet are, a word runs from one piece into the next. Bytes count as such.
    """
    target = tokenizer.target
    pieces = target.id_to_piece(list(range(target.get_piece_size())))
    edges = np.array([(_in_word(piece[0]), _in_word(piece[-1])) for piece in pieces])
    for number in range(len(pieces)):
        if target.is_byte(number):
            edges[number] = True
        elif target.is_control(number) or target.is_unknown(number):
            edges[number] = False
    return edges


def cut(phrase: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Cuts a phrase into target pieces as it stands in a sentence.

    The first follows a space, except where the phrase begins with a mark that closes, or with a
    script that has no spaces.
    """
    shown = normalized(phrase, tokenizer)
    if _follows_without_space(shown[:1]):
        behind = tokenizer.encode_target([f"a{shown}"])[0][:-1]
        for number in range(1, len(behind)):
            if tokenizer.decode(behind[:number]) == "a":
                return tuple(behind[number:])
    return tuple(tokenizer.encode_target([shown])[0][:-1])


def normalized(phrase: str, tokenizer: Tokenizer) -> str:
    """Writes a phrase as translations write it: as the vocabulary normalises text."""
    return tokenizer.decode(tokenizer.encode_target([phrase])[0])


def cut_otherwise(
    ids: Sequence[int], phrases: Sequence[str], tokenizer: Tokenizer
) -> list[tuple[int, ...]]:
    """Finds the pieces of which phrases are made where they stand in a translation.

    Args:
      ids: of the translation, without its end.
      phrases: as `normalized` writes them.
      tokenizer: of the translation.
    """
    text, starts = tokenizer.decoded_starts(ids)
    first_byte = np.cumsum([0, *(len(character.encode()) for character in text)])
    # The bytes of a character begin, and so end, together.
    bounds = np.unique([*starts, first_byte[-1]])
    ends = bounds[np.searchsorted(bounds, starts, side="right")]
    found = []
    for phrase in phrases:
        for start, end in occurrences(clean(text), phrase):
            own = (ends > first_byte[start]) & (np.asarray(starts) < first_byte[end])
            found.append(tuple(np.asarray(ids)[own].tolist()))
    return found


def _is_inside(text: str, place: int) -> bool:
    """Tells whether a word runs across a place in a text."""
    return 0 < place < len(text) and _in_word(text[place - 1]) and _in_word(text[place])


def _follows_without_space(character: str) -> bool:
    if not character or character in _OPENING:
        return False
    closes = unicodedata.category(character) in ("Pd", "Pe", "Pf", "Po")
    return closes or bool(_WITHOUT_SPACES.match(character))


def _in_word(character: str) -> bool:
    if not character or _WITHOUT_SPACES.match(character):
        return False
    return unicodedata.category(character)[0] in "LMN"
