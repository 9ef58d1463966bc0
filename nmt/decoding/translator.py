"""Text in, text out: buckets, compiled functions, and a run's folder made into a `Translator`."""

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from nmt import checkpoint, parallel
from nmt.config import EXTRA_TARGET_LENGTH, Config, InputError, SearchOptions
from nmt.data.batching import bucket_length
from nmt.data.tokenizer import Tokenizer
from nmt.decoding import decoder
from nmt.decoding.decoder import Ids, Phrases, Sampling, Values
from nmt.decoding.rules import NO_PIECE
from nmt.decoding.search import Hypotheses
from nmt.models.seq2seq import Params, build, init_params
from nmt.models.transformer import Transformer

LINES_AT_ONCE = 2048
"""Lines that are read before they are translated, unless the caller says otherwise."""


class Translation(NamedTuple):
    """What became of one sentence."""

    text: str
    score: float  # the sum of token_log_probs under the length normalisation
    tokens: tuple[str, ...]  # pieces, without the end
    token_log_probs: tuple[float, ...]  # of each piece and of the end
    alternatives: tuple["Translation", ...] = ()  # the next best, or more samples


NOTHING = Translation("", 0.0, (), ())
"""What an empty sentence becomes."""

MAX_PHRASES, MAX_PHRASE_LENGTH = 16, 16
"""Phrases that a translation may be asked to contain or not to, and pieces of one of them."""


class _Item(NamedTuple):
    """A sentence and what is asked of its translation, as ids."""

    source: list[int]
    prefix: Sequence[int] = ()
    forbidden: tuple[Sequence[int], ...] = ()
    required: tuple[Sequence[int], ...] = ()


class Translator:
    """Translates with given parameters.

    A sentence's compiled shape depends on its own length alone: buckets of 16, 32, … source
    pieces, each with a fixed number of rows, so that its company changes nothing.

    Attributes:
      model: a sequence-to-sequence model.
      params: its parameters.
      tokenizer: of the model's vocabulary.
      config: of the experiment; `config.decoding` holds the defaults.
      compiled: what has been compiled so far: the method, and the shape of its source a device.
    """

    def __init__(
        self, model: Transformer, params: Params, tokenizer: Tokenizer, config: Config
    ) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.params = parallel.replicate_locally(params)
        self._ids = Ids(tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id)
        self.compiled: list[tuple[str, tuple[int, ...]]] = []
        self._functions: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def with_params(self, params: Params) -> "Translator":
        """Returns a translator with other parameters and the same compiled functions."""
        other = copy.copy(self)
        other.params = parallel.replicate_locally(params)
        return other

    def translate(
        self,
        sentences: Sequence[str],
        *,
        prefixes: Sequence[str] | None = None,
        forbidden: Sequence[Sequence[str]] | None = None,
        required: Sequence[Sequence[str]] | None = None,
        **options: Any,
    ) -> list[Translation]:
        """Translates sentences, in the order they come.

        A translation does not depend on the other sentences, nor on their number and order.

        Args:
          sentences: text; an empty one has an empty translation.
          prefixes: how each translation has to begin.
          forbidden: phrases that each translation may not contain, as the vocabulary cuts them.
          required: phrases that each translation must contain; a wider beam finds better ways.
          **options: fields of `nmt.config.SearchOptions`.

        Returns:
          A translation each. Where prefix and phrases leave none, its score is -inf.

        Raises:
          ValueError: a sentence has more pieces than `config.decoding.max_source_length`, or an
            option is out of range.
        """
        if isinstance(sentences, str):
            raise ValueError("sentences is one string; expected a sequence of them")
        choice = SearchOptions(**options)
        num_hypotheses, values = self._values(choice)
        search = self._compile("search", num_hypotheses=num_hypotheses)
        translations = [NOTHING] * len(sentences)
        items = self._items(sentences, prefixes, forbidden, required)
        if choice.samples and any(item.required for item in items):
            raise ValueError("samples cannot be made to contain phrases; leave out `required`")
        for index, source, phrases in self._batches(items):
            rows = parallel.split_local((source, phrases))
            found = parallel.join_local(search(self.params, *rows, values))
            for row, number in enumerate(index):
                best = []
                for k in range(choice.samples or choice.n_best):
                    length = int(found.lengths[row, k])
                    if length or k == 0:
                        ids = found.tokens[row, k, : max(0, length - 1)].tolist()
                        log_probs = found.log_probs[row, k, :length].tolist()
                        best.append(self._translation(ids, log_probs, float(found.scores[row, k])))
                translations[number] = best[0]._replace(alternatives=tuple(best[1:]))
        return translations

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        length_penalty: float | None = None,
        length_offset: float = 5.0,
    ) -> list[Translation]:
        """Scores given translations, as a search would that found them.

        Args:
          pairs: source and target sentences.
          length_penalty: α of the length normalisation; None is the configuration's.
          length_offset: c of the length normalisation.

        Raises:
          ValueError: a source has more pieces than `config.decoding.max_source_length`, or a
            target more than `EXTRA_TARGET_LENGTH` above that.
        """
        choice = SearchOptions(length_penalty=length_penalty, length_offset=length_offset)
        _, values = self._values(choice)
        sources, targets = zip(*pairs, strict=True) if pairs else ((), ())
        encoded = self.tokenizer.encode_target(targets)
        longest = self.config.decoding.max_source_length + EXTRA_TARGET_LENGTH
        for number, ids in enumerate(encoded):
            if len(ids) > longest:
                raise ValueError(f"target {number} has {len(ids)} pieces, more than {longest}")
        items = [
            item._replace(prefix=ids)
            for item, ids in zip(self._items(sources), encoded, strict=True)
        ]
        result = [NOTHING] * len(pairs)
        force = self._compile("force")
        for index, source, phrases in self._batches(items):
            rows = parallel.split_local((source, phrases))
            log_probs, scores = parallel.join_local(force(self.params, *rows, values))
            for row, number in enumerate(index):
                ids = encoded[number]
                own = log_probs[row, : len(ids)].tolist()
                result[number] = self._translation(ids[:-1], own, float(scores[row]))
        return result

    def warm_up(
        self, lines: Sequence[str] | None = None, *, beam_size: int | None = None
    ) -> list[tuple[int, int]]:
        """Compiles shapes and takes the memory they need, so that no later call has to.

        Args:
          lines: those whose shapes `translate_lines` will need; None is all that `shapes` lists.
          beam_size: as in `translate`.

        Returns:
          The (rows, source length) of what was compiled.
        """
        shapes = self.shapes()
        if lines is not None:
            parts = [part for line in self._parts(lines, "split") for part in line]
            lengths = {self._bucket(len(ids)) for ids in self.tokenizer.encode_source(parts)}
            shapes = [shape for shape in shapes if shape[1] in lengths]
        num_hypotheses, values = self._values(SearchOptions(beam_size=beam_size))
        search = self._compile("search", num_hypotheses=num_hypotheses)
        for shape in shapes:
            empty = parallel.split_local(np.full(shape, self.tokenizer.pad_id, np.int32))
            jax.block_until_ready(search(self.params, empty, Phrases(), values))
        return shapes

    def translate_lines(
        self,
        lines: Iterable[str],
        *,
        overlong: Literal["split", "truncate", "error"] = "split",
        lines_at_once: int = LINES_AT_ONCE,
        **options: Any,
    ) -> Iterator[Translation]:
        """Returns one translation for each line, blank ones and ones of any length included.

        Args:
          lines: an iterable of any length.
          overlong: what becomes of a line of more pieces than `config.decoding.max_source_length`.
            It is split at the sentence end, else the space, nearest to its middle, as often as
            needed, and its parts' translations are joined ("split"); or only the first such part
            is translated; or a ValueError ends the job behind the lines before.
          lines_at_once: how many are read before they are translated: the more, the fewer rows of
            a batch are empty.
          **options: as `translate` takes them.

        Raises:
          ValueError: an option is out of range.
        """
        self._values(SearchOptions(**options))  # now, not when the first line is asked for
        if lines_at_once < 1:
            raise ValueError(f"lines_at_once is {lines_at_once}; expected 1 or more")
        return self._translate_lines(iter(lines), overlong, lines_at_once, options)

    def _translate_lines(
        self, lines: Iterator[str], overlong: str, lines_at_once: int, options: dict[str, Any]
    ) -> Iterator[Translation]:
        number = 0
        while chunk := list(islice(lines, lines_at_once)):
            parts = self._parts(chunk, overlong)
            sentences = list(chain.from_iterable(parts))
            translations = iter(self.translate(sentences, **options))
            for line in parts:
                yield joined(list(islice(translations, len(line))))
            number += len(parts)
            if len(parts) < len(chunk):
                raise ValueError(
                    f"line {number + 1} has more pieces than decoding.max_source_length "
                    f"{self.config.decoding.max_source_length}"
                )

    def search(
        self,
        params: Params,
        source: Int[Array, "B S"],
        phrases: Phrases = Phrases(),  # noqa: B008, a constant
        values: Values = Values(),  # noqa: B008, a constant
        *,
        num_hypotheses: int,
    ) -> Hypotheses:
        """Searches on arrays; see `nmt.decoding.decoder.search`."""
        return decoder.search(
            self.model, self._ids, params, source, phrases, values, num_hypotheses=num_hypotheses
        )

    def force(
        self, params: Params, source: Int[Array, "B S"], phrases: Phrases, values: Values
    ) -> tuple[Float[Array, "B T"], Float[Array, " B"]]:
        """Scores whole targets, given as prefixes; see `nmt.decoding.decoder.force`."""
        assert phrases.prefix is not None
        return decoder.force(self.model, self._ids, params, source, phrases.prefix, values)

    def shapes(self) -> list[tuple[int, int]]:
        """The (rows, source length) of every bucket: all shapes that translating may compile."""
        lengths = {self._bucket(n) for n in range(1, self.config.decoding.max_source_length + 1)}
        return [(self._num_rows(length), length) for length in sorted(lengths)]

    def _bucket(self, length: int) -> int:
        return min(bucket_length(length), self.config.decoding.max_source_length)

    def _num_rows(self, length: int) -> int:
        rows = self.config.decoding.batch_tokens // (length + EXTRA_TARGET_LENGTH)
        return parallel.num_local_devices() * max(1, rows)

    def _values(self, options: SearchOptions) -> tuple[int, Values]:
        """Returns the number of hypotheses, and what of the options is traced."""
        decoding = self.config.decoding
        beam_size = decoding.beam_size if options.beam_size is None else options.beam_size
        alpha = options.length_penalty
        if options.n_best > beam_size and not options.samples:
            raise ValueError(f"n_best is {options.n_best}; expected at most beam_size {beam_size}")
        vocab_size = self.tokenizer.vocab_sizes[1]
        if beam_size > vocab_size:
            raise ValueError(f"beam_size is {beam_size}; the vocabulary has {vocab_size} pieces")
        values = Values(
            float(decoding.length_penalty if alpha is None else alpha),
            float(options.length_offset),
            options.n_best,
            options.min_length or None,
            options.no_repeat_ngram or None,
        )
        if not options.samples:
            return beam_size, values
        sampling = Sampling(options.seed, float(options.temperature), options.top_k, options.top_p)
        return options.samples, values._replace(sampling=sampling)

    def _items(
        self,
        sentences: Sequence[str],
        prefixes: Sequence[str] | None = None,
        forbidden: Sequence[Sequence[str]] | None = None,
        required: Sequence[Sequence[str]] | None = None,
    ) -> list[_Item]:
        """Encodes sentences and what is asked of their translations."""
        given = {"prefixes": prefixes, "forbidden": forbidden, "required": required}
        for name, values in given.items():
            if values is not None and len(values) != len(sentences):
                raise ValueError(
                    f"{name} are of {len(values)} sentences; expected {len(sentences)}"
                )
        items = []
        longest = self.config.decoding.max_source_length
        for number, ids in enumerate(self.tokenizer.encode_source(sentences)):
            item = _Item(
                ids,
                self._pieces(prefixes[number]) if prefixes else (),
                tuple(map(self._pieces, forbidden[number])) if forbidden else (),
                tuple(map(self._pieces, required[number])) if required else (),
            )
            if len(ids) > longest:
                raise ValueError(
                    f"sentence {number} has {len(ids)} pieces, more than "
                    f"decoding.max_source_length {longest}; split it (`translate_lines` does)"
                )
            phrases = item.forbidden + item.required
            if len(item.prefix) + sum(map(len, item.required)) >= len(ids) + EXTRA_TARGET_LENGTH:
                raise ValueError(
                    f"sentence {number} must have more pieces than its translation may: its own "
                    f"{len(ids)} and {EXTRA_TARGET_LENGTH}"
                )
            if len(phrases) > MAX_PHRASES or any(len(p) > MAX_PHRASE_LENGTH for p in phrases):
                raise ValueError(
                    f"sentence {number} has {len(phrases)} phrases of up to "
                    f"{max(map(len, phrases))} pieces; expected at most {MAX_PHRASES} of "
                    f"{MAX_PHRASE_LENGTH}"
                )
            items.append(item)
        return items

    def _pieces(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode_target([text])[0][:-1])

    def _batches(
        self, items: Sequence[_Item]
    ) -> Iterator[tuple[list[int], Int[np.ndarray, "B S"], Phrases]]:
        """Yields (which sentences, their ids, their phrases), filled up with empty rows.

        Together are sentences of one bucket that are asked for the same kinds of things.
        """
        members: dict[tuple[int, ...], list[int]] = {}
        for number, item in enumerate(items):
            if len(item.source) > 1 or item.prefix:  # more than the end
                length = self._bucket(max(len(item.source), len(item.prefix) - EXTRA_TARGET_LENGTH))
                members.setdefault((length, *map(bool, item[1:])), []).append(number)
        for (length, *asked), numbers in sorted(members.items()):
            # Sentences that end together waste no steps on each other.
            numbers.sort(key=lambda number: len(items[number].source))
            num_rows = self._num_rows(length)
            shapes = ((length + EXTRA_TARGET_LENGTH,), *[(MAX_PHRASES, MAX_PHRASE_LENGTH)] * 2)
            for start in range(0, len(numbers), num_rows):
                index = numbers[start : start + num_rows]
                source = np.full((num_rows, length), self.tokenizer.pad_id, np.int32)
                told = [np.full((num_rows, *shape), NO_PIECE, np.int32) for shape in shapes]
                for row, number in enumerate(index):
                    ids, prefix, *phrases = items[number]
                    source[row, : len(ids)] = ids
                    told[0][row, : len(prefix)] = prefix
                    for array, own in zip(told[1:], phrases, strict=True):
                        for place, phrase in enumerate(own):
                            array[row, place, : len(phrase)] = phrase
                given: list[Any] = [
                    x if asks else None for x, asks in zip(told, asked, strict=True)
                ]
                yield index, source, Phrases(*given)

    def _translation(self, ids: list[int], log_probs: Sequence[float], score: float) -> Translation:
        """Turns the ids of one hypothesis, without the end, into text."""
        pieces = tuple(self.tokenizer.target.id_to_piece(ids))
        return Translation(self.tokenizer.decode(ids), score, pieces, tuple(log_probs))

    def _compile(self, name: str, **static: int) -> Callable[..., Any]:
        """Compiles the method of this name for all devices, and counts what for."""
        key = (name, *static.values())
        if key not in self._functions:
            unbound = copy.copy(self)  # what is compiled outlives these parameters
            unbound.params = None
            method = partial(getattr(unbound, name), **static)

            def counted(params: Params, source: jax.Array, *arguments: Any) -> Any:
                unbound.compiled.append((name, source.shape))  # traced once a compilation
                return method(params, source, *arguments)

            self._functions[key] = parallel.pmap_rows(counted)
        return self._functions[key]

    def _parts(self, lines: Sequence[str], overlong: str) -> list[list[str]]:
        """Returns each line as the parts that fit; of an error, the lines before it."""
        result = []
        for line, ids in zip(lines, self.tokenizer.encode_source(lines), strict=True):
            parts = [line]
            if len(ids) > self.config.decoding.max_source_length:
                if overlong == "error":
                    break
                parts = split_line(line, self._fits)
            result.append(parts[:1] if overlong == "truncate" else parts)
        return result

    def _fits(self, text: str) -> bool:
        ids = self.tokenizer.encode_source([text])[0]
        return len(ids) <= self.config.decoding.max_source_length


def joined(parts: Sequence[Translation]) -> Translation:
    """Joins the translations of a line's parts: texts by spaces, and the sum of the scores."""
    if len(parts) == 1:
        return parts[0]
    alternatives = zip(*(part.alternatives for part in parts), strict=False)
    return Translation(
        " ".join(part.text for part in parts),
        sum(part.score for part in parts),
        tuple(chain.from_iterable(part.tokens for part in parts)),
        tuple(chain.from_iterable(part.token_log_probs for part in parts)),
        tuple(map(joined, alternatives)),
    )


def split_line(line: str, fits: Callable[[str], bool]) -> list[str]:
    """Halves a line until every part fits: at sentence ends, else at spaces, else anywhere."""
    if fits(line) or len(line) < 2:
        return [line]
    middle = len(line) // 2
    for pattern in (r"(?<=[.!?…;:。！？])\s+", r"\s+"):
        places = [match.end() for match in re.finditer(pattern, line.strip())]
        if places:
            middle = min(places, key=lambda place: abs(place - middle))
            line = line.strip()
            break
    return split_line(line[:middle], fits) + split_line(line[middle:], fits)


def load(workdir: str | Path, checkpoint_name: checkpoint.Which = "best") -> Translator:
    """Makes a translator of a run's folder; nothing in the folder is executed.

    Args:
      workdir: the folder that `train.py` wrote.
      checkpoint_name: "best" by dev BLEU, "latest", or a step.

    Raises:
      InputError: the folder holds no run, or a part of it is missing or damaged.
    """
    workdir = Path(workdir)
    config = checkpoint.read_config(workdir)
    tokenizer = checkpoint.read_tokenizer(workdir)
    model = build(config.model, tokenizer.vocab_sizes, tokenizer.shared)
    checkpoints = checkpoint.Checkpoints(workdir, read_only=True)
    params = checkpoints.params(checkpoint_name)
    checkpoints.close()
    expected = _shapes(jax.eval_shape(partial(init_params, model), jax.random.key(0)))
    found = _shapes(params)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise InputError(
                f"{workdir}: the parameter {name} has the shape {found.get(name)}; "
                f"{checkpoint.CONFIG} and {checkpoint.TOKENIZER} ask for {expected.get(name)}"
            )
    return Translator(model, params, tokenizer, config)


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}
