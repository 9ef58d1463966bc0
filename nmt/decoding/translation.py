"""What a translation is, and how a line that is too long becomes several and one again."""

import heapq
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from nmt.decoding.alignment import Link, PieceAttention, whitespace_words


class Translation(NamedTuple):
    """What became of one sentence."""

    text: str
    score: float  # the sum of token_log_probs under the length normalisation
    tokens: tuple[str, ...]  # pieces, without the end
    token_log_probs: tuple[float, ...]  # of each piece and of the end
    alternatives: tuple["Translation", ...] = ()  # the next best, or more samples
    alignment: tuple[Link, ...] | None = None  # words of source and text, counted from 0
    attention: PieceAttention | None = None  # cross-attention of all layers and heads
    overlong: bool = False  # its line was longer than fits, and split or cut
    cut: bool = False  # it has as many pieces as it may have: its end was perhaps not chosen


NOTHING = Translation("", 0.0, (), ())
"""What an empty sentence becomes."""

UNMET = NOTHING._replace(score=-math.inf)
"""What a sentence becomes of which no translation was found that is as was asked."""


def joined(
    parts: Sequence[str], translations: Sequence[Translation], *, sampled: bool = False
) -> Translation:
    """Joins the translations of a line's parts: texts by spaces, and the sum of the scores.

    Args:
      parts: sources.
      translations: of each; they have alternatives where the line is to have them.
      sampled: whether these are samples, of which the k-th are joined; else the line has as many
        of the best ways to choose one of each part.
    """
    if len(parts) == 1:
        return translations[0]
    listed = [(part, *part.alternatives) for part in translations]
    ways: Iterable[tuple[Translation, ...]] = zip(*listed, strict=False)
    if not sampled:
        ways, number = [()], max(map(len, listed))
        for own in listed:
            longer = [(*way, part) for way in ways for part in own]
            ways = heapq.nlargest(number, longer, key=lambda way: sum(part.score for part in way))
    best, *others = (_joined(parts, way) for way in ways)
    return best._replace(alternatives=tuple(others))


def _joined(parts: Sequence[str], translations: Sequence[Translation]) -> Translation:
    found: list[Link] | None = None
    if all(part.alignment is not None for part in translations):
        found, before, words = [], "", 0
        for part, translation in zip(parts, translations, strict=True):
            # The first word of a part may be the rest of the last one before.
            first = len(whitespace_words(before + part)) - len(whitespace_words(part))
            found += [(first + s, words + t) for s, t in translation.alignment or ()]
            before, words = before + part, words + len(whitespace_words(translation.text))
    return Translation(
        " ".join(part.text for part in translations if part.text),
        sum(part.score for part in translations),
        tuple(chain.from_iterable(part.tokens for part in translations)),
        tuple(chain.from_iterable(part.token_log_probs for part in translations)),
        alignment=None if found is None else tuple(found),
        cut=any(part.cut for part in translations),
    )


def split_line(line: str, fits: Callable[[str], bool]) -> list[str]:
    """Halves a line until each part fits: at sentence ends, else at spaces, else anywhere."""
    if fits(line) or len(line) < 2:
        return [line]
    begin, middle = len(line) - len(line.lstrip()), len(line) // 2
    for pattern in (r"(?<=[.!?…;:。！？])\s+", r"\s+"):
        ends = [match.end() for match in re.finditer(pattern, line)]
        places = [place for place in ends if begin < place < len(line)]
        if places:
            middle = min(places, key=lambda place: abs(place - middle))
            break
    return split_line(line[:middle], fits) + split_line(line[middle:], fits)


def truncate_line(line: str, fits: Callable[[str], bool]) -> list[str]:
    """Keeps the words of a line that fit, the first of them cut if it is longer."""
    number = bisect_left(range(1, len(line) + 1), True, key=lambda number: not fits(line[:number]))
    words = re.match(r".*\S(?=\s)", line[: number + 1], re.DOTALL)
    return [words[0] if words else line[: max(number, 1)]]
