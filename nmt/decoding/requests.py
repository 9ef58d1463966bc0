"""What is asked of a translator, as ids, and refused where no shape has room for it."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nmt.config import DecodingConfig, SearchOptions
from nmt.data.tokenizer import Tokenizer
from nmt.decoding.buckets import MAX_PHRASE_LENGTH, MAX_PHRASES, Request
from nmt.decoding.phrases import cut, cut_otherwise, normalized
from nmt.decoding.translation import Translation


class Sentence(NamedTuple):
    """A sentence, or a line, and what is asked of its translation.

    Phrases are of whole words, written as they shall be or not be: "cats" is not "cat". A phrase
    that is forbidden bars longer words too where the vocabulary cuts these into it and more. Of a
    line that is split, each part is looked at alone. There may be `MAX_PHRASES` in all, of up to
    `MAX_PHRASE_LENGTH` pieces (16, both): more than that is refused.
    """

    text: str
    prefix: str = ""  # how it has to begin
    forbidden: Sequence[str] = ()  # phrases that it may not contain
    required: Sequence[str] = ()  # phrases that it must contain; a wider beam finds better ways


def of_sentences(
    sentences: Sequence[Sentence],
    tokenizer: Tokenizer,
    decoding: DecodingConfig,
    options: SearchOptions,
) -> list[Request]:
    """Encodes sentences and what is asked of their translations.

    Raises:
      ValueError: what is asked is not as it should be, or no shape has room for it.
    """
    requests: list[Request] = []
    try:
        requests.extend(each_of_sentences(sentences, tokenizer, decoding, options))
    except ValueError as error:  # behind those that are as they should be
        raise ValueError(f"sentence {len(requests)}: {error}") from None
    return requests


def each_of_sentences(
    sentences: Sequence[Sentence],
    tokenizer: Tokenizer,
    decoding: DecodingConfig,
    options: SearchOptions,
) -> Iterator[Request]:
    """Encodes sentences one by one; ends at the first that is refused, by a ValueError."""
    sources = tokenizer.encode_source([sentence.text for sentence in sentences])
    for sentence, ids in zip(sentences, sources, strict=True):
        yield _of_sentence(sentence, ids, tokenizer, decoding, options)


def stricter(
    request: Request,
    forbidden: Sequence[str],
    found: Sequence[Sequence[str]],
    tokenizer: Tokenizer,
) -> Request | None:
    """Forbids phrases in the ways, too, in which they are cut where they were found.

    Args:
      request: that was searched for.
      forbidden: phrases.
      found: translations, as pieces.
      tokenizer: of the translations.

    Returns:
      Another request; None if none of the phrases was found.
    """
    if not forbidden:  # as mostly
        return None
    phrases = [normalized(phrase, tokenizer) for phrase in forbidden]
    ways = {
        way[-MAX_PHRASE_LENGTH:]
        for pieces in found
        for way in cut_otherwise(tokenizer.ids(pieces), phrases, tokenizer)
    }
    return request._replace(forbidden=(*request.forbidden, *sorted(ways))) if ways else None


def of_pairs(
    pairs: Sequence[tuple[str, str | Translation]], tokenizer: Tokenizer, decoding: DecodingConfig
) -> list[Request]:
    """Encodes pairs, of which the whole target is prescribed: text, or pieces that were found.

    Raises:
      ValueError: one has more pieces than fit, or is no translation by this vocabulary.
    """
    for number, pair in enumerate(pairs):
        match pair:
            case (str(), str() | Translation()):
                pass
            case _:
                raise ValueError(f"pair {number} is {pair!r}; expected a source and a target")
    sources = tokenizer.encode_source([source for source, _ in pairs])
    texts = iter(tokenizer.encode_target([x for _, x in pairs if isinstance(x, str)]))
    requests = []
    for number, (source, (_, given)) in enumerate(zip(sources, pairs, strict=True)):
        try:
            target = next(texts) if isinstance(given, str) else _of_translation(given, tokenizer)
            requests.append(_of_pair(source, target, decoding))
        except ValueError as error:
            raise ValueError(f"pair {number}: {error}") from None
    return requests


def check_pair(source: str, target: str, tokenizer: Tokenizer, decoding: DecodingConfig) -> None:
    """Raises the ValueError that `of_pairs` would."""
    encoded = tokenizer.encode_source([source]), tokenizer.encode_target([target])
    _of_pair(encoded[0][0], encoded[1][0], decoding)


def parts_that_fit(
    lines: Sequence[Sentence],
    tokenizer: Tokenizer,
    decoding: DecodingConfig,
    split: Callable[[str, Callable[[str], bool]], Iterable[str]],
) -> list[list[Sentence]]:
    """Makes parts of lines that are too long.

    Prefix and required phrases are asked of the first part, what is forbidden of each.

    Args:
      lines: of any length.
      tokenizer: of the sources.
      decoding: of the run.
      split: (line, fits) -> the parts of it that are to be translated, each of which fits.
    """

    def fits(text: str) -> bool:
        return len(tokenizer.encode_source([text])[0]) <= decoding.max_source_length

    def parts(line: Sentence, ids: list[int]) -> list[Sentence]:
        if len(ids) <= decoding.max_source_length:
            return [line]
        first, *others = split(line.text, fits)
        return [line._replace(text=first)] + [
            Sentence(text, forbidden=line.forbidden) for text in others
        ]

    encoded = tokenizer.encode_source([line.text for line in lines])
    return [parts(line, ids) for line, ids in zip(lines, encoded, strict=True)]


def _max_length(ids: list[int], decoding: DecodingConfig, options: SearchOptions) -> int:
    """Computes the most pieces of a translation, in float32 as the compiled search does."""
    share = np.float32(options.max_length_factor) * np.float32(len(ids))
    return min(int(share) + options.max_length_extra, decoding.max_target_length)


def _of_sentence(
    sentence: Sentence,
    ids: list[int],
    tokenizer: Tokenizer,
    decoding: DecodingConfig,
    options: SearchOptions,
) -> Request:
    for name in ("forbidden", "required"):
        _expect_phrases(name, getattr(sentence, name))
    if not isinstance(sentence.prefix, str):
        raise ValueError(f"prefix is {sentence.prefix!r}; expected a string")
    if len(ids) == 1:  # the end: an empty sentence has an empty translation, whatever is asked
        return Request(ids)
    if sentence.required and options.samples:
        raise ValueError("samples cannot be made to contain phrases; leave out `required`")
    request = Request(
        ids,
        tokenizer.encode_target([sentence.prefix])[0][:-1] if sentence.prefix else (),
        tuple(cut(phrase, tokenizer) for phrase in sentence.forbidden),
        tuple(cut(phrase, tokenizer) for phrase in sentence.required),
        _max_length(ids, decoding, options),
    )
    if () in request.forbidden + request.required:
        raise ValueError("a phrase is blank; expected words")
    _expect_room(request, decoding)
    return request


def _expect_phrases(name: str, phrases: object) -> None:
    if isinstance(phrases, str):
        raise ValueError(f"{name} is one string; expected a sequence of phrases")
    # What can be read once only would be heeded in part.
    if not isinstance(phrases, Sequence) or not all(isinstance(x, str) for x in phrases):
        raise ValueError(f"{name} is {phrases!r}; expected a sequence of phrases")


def _of_translation(given: Translation, tokenizer: Tokenizer) -> list[int]:
    """Looks up the pieces of what a search found."""
    if given.score == -math.inf:
        raise ValueError("the search found no translation")
    ids = tokenizer.ids(given.tokens)
    for piece, known in zip(given.tokens, tokenizer.target.id_to_piece(ids), strict=True):
        if piece != known:
            raise ValueError(f"the vocabulary has no piece {piece!r}; it is another model's")
    return [*ids, tokenizer.eos_id]


def _of_pair(source: list[int], target: list[int], decoding: DecodingConfig) -> Request:
    for name, ids, most in (
        ("source", source, decoding.max_source_length),
        ("target", target, decoding.max_target_length),
    ):
        if len(ids) > most:
            raise ValueError(f"the {name} has {len(ids)} pieces, more than {most}")
    return Request(source, prefix=target)


def _expect_room(request: Request, decoding: DecodingConfig) -> None:
    """Refuses what no shape holds, and what no translation can hold."""
    longest = decoding.max_source_length
    if len(request.source) > longest:
        raise ValueError(
            f"{len(request.source)} pieces, more than decoding.max_source_length {longest}; split "
            "the line"
        )
    # Phrases may overlap: whether all have room together, the search finds out.
    asked = max(map(len, (request.prefix, *request.required)))
    if asked >= request.max_length:
        raise ValueError(
            f"its translation must have {asked} pieces and an end; expected at most "
            f"{request.max_length}"
        )
    phrases = request.forbidden + request.required
    if len(phrases) > MAX_PHRASES or any(len(p) > MAX_PHRASE_LENGTH for p in phrases):
        raise ValueError(
            f"{len(phrases)} phrases of up to {max(map(len, phrases))} pieces; expected at most "
            f"{MAX_PHRASES} of {MAX_PHRASE_LENGTH}"
        )
