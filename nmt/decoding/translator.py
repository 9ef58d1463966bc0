"""Text in, text out: a model, its tokenizer, buckets and compiled functions."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, tee
from typing import Any, Literal, Unpack, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Int

from nmt import parallel
from nmt.config import Config, SearchKeywords, SearchOptions
from nmt.data.tokenizer import Tokenizer, clean
from nmt.decoding import alignment, buckets, decoder
from nmt.decoding.alignment import Aligner, Link, PieceAttention, Span, owners, whitespace_words
from nmt.decoding.buckets import MAX_WAYS, QUEUE, Batch, Request
from nmt.decoding.compiled import Call, Compiled, Function
from nmt.decoding.decoder import Ids, Phrases, Sampling, Values
from nmt.decoding.phrases import word_edges
from nmt.decoding.requests import (
    Sentence,
    check_pair,
    each_of_sentences,
    of_pairs,
    of_sentences,
    parts_that_fit,
    stricter,
)
from nmt.decoding.search import Hypotheses
from nmt.decoding.translation import (
    NOTHING,
    UNMET,
    Translation,
    joined,
    split_line,
    truncate_line,
)
from nmt.models.seq2seq import Params, SequenceModel
from nmt.progress import progress_bar

LINES_AT_ONCE = 2048
"""Lines that are read before they are translated, unless the caller says otherwise."""

Overlong = Literal["split", "truncate", "error"]
"""What becomes of a line that is longer than fits."""

Method = Literal["translate", "score", "align"]
"""Which of a `Translator` is to be made ready."""

MakeCall = Callable[[Batch], Call]
"""(batch) -> the call of a function that computes what is asked of its sentences."""


class Translator:
    """Translates with given parameters.

    A sentence's compiled shape depends on its own length and what is asked of it: buckets of 16,
    32, … source pieces, each with a fixed number of rows, so that its company changes nothing.

    Attributes:
      model: a sequence-to-sequence model.
      params: its parameters.
      tokenizer: of the model's vocabulary.
      config: of the experiment; `config.decoding` holds the defaults.
      aligner: which attention says what words are aligned; None in a model without.
      compiled: what has been compiled so far: the function of `nmt.decoding.decoder`, and the shape
        of its source, as `shapes` gives it.
    """

    def __init__(
        self,
        model: SequenceModel,
        params: Params,
        tokenizer: Tokenizer,
        config: Config,
        aligner: Aligner | None = None,
    ) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.params = parallel.replicate_locally(params)
        self.aligner = aligner or Aligner.default(config.model)
        ids = tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id
        self._ids = Ids(*ids, word_edges(tokenizer))
        self._compiled = Compiled(model, self._ids)
        self.compiled = self._compiled.shapes

    def with_params(self, params: Params) -> "Translator":
        """Returns a translator with other parameters and the same compiled functions."""
        other = copy.copy(self)
        other.params = parallel.replicate_locally(params)
        return other

    def translate(
        self,
        sentences: Iterable[str | Sentence],
        *,
        alignments: bool = False,
        attention: bool = False,
        **options: Unpack[SearchKeywords],
    ) -> list[Translation]:
        """Translates sentences, in the order they come.

        A translation does not depend on the other sentences, nor on their number and order.

        Args:
          sentences: text, and what is asked of its translation; an empty one has an empty one.
          alignments: aligns the words of the best translation, by one teacher-forced pass.
          attention: keeps the cross-attention of the best translation, of all layers and heads.
          **options: fields of `nmt.config.SearchOptions`, where each is explained, as it is by
            `nmt translate --help`.

        Returns:
          A translation each. Where prefix and phrases leave none, its score is -inf.

        Raises:
          ValueError: a sentence has more pieces than `config.decoding.max_source_length`, an option
            is out of range, or attention is asked for of a model that has none.
          InputError: a shape that is needed takes more memory than there is; nothing was run then.
        """
        sentences = _as_sentences(sentences)
        choice = self._choice(options)  # names an option that is out of range before a sentence
        requests = of_sentences(sentences, self.tokenizer, self.config.decoding, choice)
        return self._translate(sentences, requests, choice, alignments, attention)

    def _translate(
        self,
        sentences: Sequence[Sentence],
        requests: Sequence[Request],
        choice: SearchOptions,
        alignments: bool,
        attention: bool,
    ) -> list[Translation]:
        """Translates sentences as `translate` does, behind what refuses them."""
        if alignments or attention:
            self._expect_attention()
            # Before the search, as `_run` does.
            kinds = buckets.kinds(requests, self.config.decoding, choice)
            for shape in dict.fromkeys(shape for shape, _ in kinds):
                for call in self._calls("align", shape, choice):
                    self._compiled.compile(self.params, call)
        nothing = NOTHING._replace(alignment=() if alignments else None)
        translations = [nothing] * len(sentences)
        for number, (best, *others) in self._searched(sentences, requests, choice):
            translations[number] = best._replace(
                alternatives=tuple(others), alignment=nothing.alignment
            )
        if not (alignments or attention):
            return translations
        targets = [
            [*self.tokenizer.ids(found.tokens), self._ids.eos] if found.token_log_probs else []
            for found in translations
        ]
        forced = [
            Request(request.source if target else [], target, max_length=request.max_length)
            for request, target in zip(requests, targets, strict=True)  # in the shape of the search
        ]
        for number, weights in self._weights(decoder.cross_attention, forced, choice):
            target = self.tokenizer.decoded_starts(targets[number][:-1])
            looks = self._piece_attention(weights, sentences[number].text, target, whitespace_words)
            translations[number] = translations[number]._replace(
                alignment=self._align(looks) if alignments else None,
                attention=looks if attention else None,
            )
        return translations

    def _searched(
        self, sentences: Sequence[Sentence], requests: Sequence[Request], choice: SearchOptions
    ) -> Iterator[tuple[int, list[Translation]]]:
        """Yields the number of a sentence that is not blank, and its translations, best first.

        A search knows what is forbidden as the vocabulary cuts it. Where that stands in a
        translation cut otherwise, the sentence is searched again and may not contain these either.
        """
        found: Hypotheses
        left = dict(enumerate(requests))
        while left:
            numbers, asked, left = list(left), list(left.values()), {}
            for batch, found in self._run(self._search_call(choice), asked, choice, QUEUE):
                for row, place in batch.rows:
                    number = numbers[place]
                    most = asked[place].max_length
                    listed = self._listed(found, row, choice.samples or choice.n_best, most)
                    tokens = [translation.tokens for translation in listed]
                    forbidden = sentences[number].forbidden
                    again = stricter(asked[place], forbidden, tokens, self.tokenizer)
                    if again is None:
                        yield number, listed
                    elif len(again.forbidden) > MAX_WAYS:
                        yield number, [UNMET]
                    else:
                        left[number] = again

    def _search_call(self, options: SearchOptions) -> MakeCall:
        num_hypotheses, values = self._values(options)

        def searched(batch: Batch) -> Call:
            static = {"num_hypotheses": num_hypotheses, "num_rows": batch.num_rows}
            return Call(decoder.search, (batch.source, batch.phrases), (values,), static)

        return searched

    def score(
        self,
        pairs: Iterable[tuple[str, str | Translation]],
        *,
        length_penalty: float | None = None,
        length_offset: float = 5.0,
    ) -> list[Translation]:
        """Scores given translations, as a search would that found them.

        Blank ones too, which `translate` does not search for: their end has a log-probability.

        Args:
          pairs: source and target sentences. A target is text, which is cut into pieces as in
            training; or a `Translation`, whose pieces are scored as they are: a search may find
            others for the same text.
          length_penalty: α of the length normalisation; None is the configuration's.
          length_offset: c of the length normalisation.

        Raises:
          ValueError: a source has more pieces than `config.decoding.max_source_length`, or a
            target more than `config.decoding.max_target_length`.
        """
        options = SearchOptions(length_penalty=length_penalty, length_offset=length_offset)
        _, values = self._values(options)
        pairs = list(pairs)
        requests = of_pairs(pairs, self.tokenizer, self.config.decoding)
        result = [NOTHING] * len(pairs)

        make_call = _forced(decoder.force, values)
        for batch, (log_probs, scores) in self._run(make_call, requests, options):
            for row, number in batch.rows:
                ids = list(requests[number].prefix)
                own = log_probs[row, : len(ids)].tolist()
                result[number] = self._translation(ids[:-1], own, float(scores[row]))
        return result

    def align(
        self,
        pairs: Iterable[tuple[str, str | Translation]],
        words: Callable[[str], list[Span]] = whitespace_words,
    ) -> list[tuple[Link, ...]]:
        """Aligns the words of given pairs.

        Args:
          pairs: as `score` takes them.
          words: finds the words of a sentence.

        Raises:
          ValueError: as `score` does, or the model has no attention.
        """
        found = {
            number: self._align(attention) for number, attention in self._attentions(pairs, words)
        }
        return [found[number] for number in range(len(found))]

    def attentions(
        self,
        pairs: Iterable[tuple[str, str | Translation]],
        words: Callable[[str], list[Span]] = whitespace_words,
        *,
        by: Literal["attention", "saliency"] = "attention",
    ) -> list[PieceAttention]:
        """Returns where the pieces of given translations look.

        Args:
          pairs: as `score` takes them.
          words: finds the words of a sentence.
          by: cross-attention of all layers and heads, or, of any model, one map of what each choice
            depends on; see `nmt.decoding.decoder.saliency`.

        Raises:
          ValueError: as `score` does, or the model has no attention.
        """
        found = dict(self._attentions(pairs, words, by))
        return [found[number] for number in range(len(found))]

    def _align(self, attention: PieceAttention) -> tuple[Link, ...]:
        assert self.aligner is not None
        return alignment.align(attention, self.aligner)

    def _expect_attention(self) -> None:
        if self.aligner is None:
            raise ValueError("the model has no attention, so that it aligns no words")

    def _attentions(
        self,
        pairs: Iterable[tuple[str, str | Translation]],
        words: Callable[[str], list[Span]],
        by: str = "attention",
    ) -> Iterator[tuple[int, PieceAttention]]:
        """Yields the number of a pair and where its pieces look, batch by batch."""
        functions = {"attention": decoder.cross_attention, "saliency": decoder.saliency}
        if by not in functions:
            raise ValueError(f"by is {by!r}; expected one of {tuple(functions)}")
        if by == "attention":
            self._expect_attention()
        pairs = list(pairs)
        requests = of_pairs(pairs, self.tokenizer, self.config.decoding)
        for number, weights in self._weights(functions[by], requests, SearchOptions()):
            source, given = pairs[number]
            if isinstance(given, Translation):
                target = self.tokenizer.decoded_starts(self.tokenizer.ids(given.tokens))
            else:
                target = clean(given), self.tokenizer.target_starts(clean(given))
            yield number, self._piece_attention(weights, source, target, words)

    def _weights(
        self, function: Function, requests: Sequence[Request], options: SearchOptions
    ) -> Iterator[tuple[int, Float[np.ndarray, "L N T S"]]]:
        """Yields the number of a sentence and where the pieces of its whole target look."""
        for batch, weights in self._run(_forced(function), requests, options):
            for row, number in batch.rows:
                target, source = len(requests[number].prefix), len(requests[number].source)
                yield number, weights[row, :, :, :target, :source]

    def warm_up(
        self,
        lines: Sequence[str | Sentence] | None = None,
        *,
        method: Method = "translate",
        alignments: bool = False,
        **options: Unpack[SearchKeywords],
    ) -> list[tuple[int, int]]:
        """Compiles shapes and takes the memory they need, so that no later call has to.

        What a sentence asks for that is not among `lines` is compiled when it is first met.

        Args:
          lines: those whose shapes `translate_lines` will need, and the kinds of what they ask for;
            None is all that `shapes` lists, for sentences that ask for nothing.
          method: what is to be called; `score` and `align` have one set of shapes, of no options.
          alignments: with what `translate` needs for alignments, or attention.
          **options: as `translate` takes them.

        Returns:
          The (rows, source length) of what was compiled.

        Raises:
          ValueError: an option is out of range, or given for another method than `translate`, or
            attention is needed of a model that has none.
          InputError: a shape needs more memory than there is.
        """
        _expect_method(method, lines is not None or alignments or options)
        choice = self._choice(options)
        kinds = [(shape, 0) for shape in buckets.shapes(self.config.decoding, choice)]
        if lines is not None:
            given = self.tokenizer, self.config.decoding, choice
            parts = parts_that_fit(
                _as_sentences(lines), self.tokenizer, self.config.decoding, split_line
            )
            requests = of_sentences(list(chain.from_iterable(parts)), *given)
            kinds = buckets.kinds(requests, self.config.decoding, choice)
        for shape, asks in progress_bar(kinds[::-1], "compile", leave=False):
            calls = self._calls(method, shape, choice, alignments, asks)
            for _ in self._compiled.run(self.params, calls):
                pass
        return list(dict.fromkeys(shape for shape, _ in kinds))

    def check_memory(
        self,
        *,
        method: Method = "translate",
        alignments: bool = False,
        phrases: bool = False,
        **options: Unpack[SearchKeywords],
    ) -> None:
        """Compiles the largest shapes that a method may need, and reads how much they take.

        Args:
          method: as in `warm_up`.
          alignments: as in `warm_up`.
          phrases: with what sentences may ask for.
          **options: as `translate` takes them.

        Raises:
          ValueError: as `warm_up` does.
          InputError: it needs more memory than there is.
        """
        _expect_method(method, alignments or phrases or options)
        choice = self._choice(options)
        asks = 0 if not phrases else 1 if choice.samples else 2
        for shape in buckets.largest(buckets.shapes(self.config.decoding, choice)):
            for call in self._calls(method, shape, choice, alignments, asks):
                self._compiled.compile(self.params, call)

    def _calls(
        self,
        method: Method,
        shape: tuple[int, int],
        options: SearchOptions,
        alignments: bool = False,
        asks: int = 0,
    ) -> Iterator[Call]:
        """Yields a method's calls for empty sentences in a shape, as of a `buckets.kind`."""
        pad_id, (_, values) = self.tokenizer.pad_id, self._values(options)
        if method == "translate":
            yield self._search_call(options)(buckets.empty(shape, asks, pad_id, QUEUE))
        if method == "score":
            yield _forced(decoder.force, values)(buckets.empty(shape, 1, pad_id))
        if method == "align" or alignments:
            self._expect_attention()
            yield _forced(decoder.cross_attention)(buckets.empty(shape, 1, pad_id))

    def translate_lines(
        self,
        lines: Iterable[str | Sentence],
        *,
        overlong: str = "split",
        lines_at_once: int = LINES_AT_ONCE,
        alignments: bool = False,
        attention: bool = False,
        **options: Unpack[SearchKeywords],
    ) -> Iterator[Translation]:
        """Returns one translation for each line, blank ones and ones of any length included.

        Args:
          lines: an iterable of any length.
          overlong: what becomes of a line of more pieces than `config.decoding.max_source_length`.
            It is split at the sentence end, else the space, nearest to its middle, as often as
            needed, and its parts' translations are joined ("split"); or as much of it as fits is
            translated, in whole words ("truncate"); or a ValueError ends the job behind the lines
            before ("error"). A prefix and required phrases are asked of the first part, what is
            forbidden of each.
          lines_at_once: how many are read before they are translated: the more, the fewer rows of
            a batch are empty.
          alignments: as in `translate`.
          attention: as in `translate`, of lines that are not split.
          **options: as `translate` takes them.

        Raises:
          ValueError: an option is out of range; or, behind the lines before, what is asked of one
            is not as it should be. So is raised what `lines` raises.
          InputError: as `translate` does, of some lines at once; `check_memory` tells before.
        """
        choice = self._choice(options)  # now, not when the first line is asked for
        if alignments or attention:
            self._expect_attention()
        if not (isinstance(lines_at_once, int | np.integer) and 1 <= lines_at_once < 2**31):
            raise ValueError(
                f"lines_at_once is {lines_at_once!r}; expected 1 or more, less than 2^31"
            )
        if overlong not in get_args(Overlong):
            raise ValueError(f"overlong is {overlong!r}; expected one of {get_args(Overlong)}")
        if isinstance(lines, str | Sentence):
            raise ValueError("lines is one string; expected an iterable of them")
        translate = partial(
            self._translate, choice=choice, alignments=alignments, attention=attention
        )
        return self._translate_lines(iter(lines), choice, overlong, lines_at_once, translate)

    def _translate_lines(
        self,
        lines: Iterator[str | Sentence],
        choice: SearchOptions,
        overlong: str,
        lines_at_once: int,
        translate: Callable[[list[Sentence], list[Request]], list[Translation]],
    ) -> Iterator[Translation]:
        given = self.tokenizer, self.config.decoding, choice
        number = 0
        error: Exception | None = None
        while not error:
            chunk, error = read_until(Exception, islice(lines, lines_at_once))
            if not chunk:
                break
            read, wrong = read_until(ValueError, map(_as_sentence, chunk))
            taken = [[line] for line in read]
            if overlong != "error":
                split = split_line if overlong == "split" else truncate_line
                taken = parts_that_fit(read, self.tokenizer, self.config.decoding, split)
            found = each_of_sentences(list(chain.from_iterable(taken)), *given)
            requests, refused = read_until(
                ValueError, ([next(found) for _ in own] for own in taken)
            )
            kept = taken[: len(requests)]
            sentences = list(chain.from_iterable(kept))
            translations = iter(translate(sentences, list(chain.from_iterable(requests))))
            for line, own in zip(read, kept, strict=False):
                of_parts = list(islice(translations, len(own)))
                sources = [part.text for part in own]
                translation = joined(sources, of_parts, sampled=choice.samples > 0)
                yield translation._replace(overlong=own != [line])
            number += len(kept)
            if why := refused or wrong:
                error = ValueError(f"line {number + 1}: {why}")
        if error:
            raise error

    def search(
        self,
        params: Params,
        source: Int[ArrayLike, "B S"],
        phrases: Phrases = Phrases(),  # noqa: B008, a constant
        values: Values | None = None,
        *,
        num_hypotheses: int | None = None,
    ) -> Hypotheses:
        """Searches on arrays, as the configuration says where nothing else is given.

        Pure: to be jitted, vmapped, pmapped or exported (in a function that makes a tuple of what
        it returns: `jax.export` serialises no other). See `nmt.decoding.decoder.search`.
        """
        beam_size, own = self._values(SearchOptions())
        number = beam_size if num_hypotheses is None else num_hypotheses
        most = self.tokenizer.vocab_sizes[1]
        if not 1 <= number <= most:
            raise ValueError(
                f"num_hypotheses is {number}; expected 1 to the {most} pieces there are"
            )
        phrases = jax.tree.map(jnp.asarray, phrases)  # NumPy's cannot be indexed by what is traced
        given = jnp.asarray(source), phrases, values or own
        return decoder.search(self.model, self._ids, params, *given, num_hypotheses=number)

    def shapes(self, **options: Unpack[SearchKeywords]) -> list[tuple[int, int]]:
        """The (rows, source length) of every bucket: all shapes that translating may compile.

        Raises:
          ValueError: an option is out of range.
        """
        return buckets.shapes(self.config.decoding, self._choice(options))

    def _choice(self, options: SearchKeywords) -> SearchOptions:
        """Reads the options of a call, numbers of NumPy's among them; refuses what is no choice."""
        given: Any = {x: v.item() if isinstance(v, np.generic) else v for x, v in options.items()}
        choice = SearchOptions(**given)
        self._values(choice)
        return choice

    def _values(self, options: SearchOptions) -> tuple[int, Values]:
        """Returns the number of hypotheses, and what of the options is traced."""
        decoding = self.config.decoding
        beam_size = decoding.beam_size if options.beam_size is None else options.beam_size
        alpha = options.length_penalty
        if options.n_best > beam_size:
            raise ValueError(f"n_best is {options.n_best}; expected at most beam_size {beam_size}")
        vocab_size = self.tokenizer.vocab_sizes[1]
        if beam_size > vocab_size:
            raise ValueError(f"beam_size is {beam_size}; the vocabulary has {vocab_size} pieces")
        if options.bucket > decoding.max_source_length:
            raise ValueError(
                f"bucket is {options.bucket}; expected at most decoding.max_source_length "
                f"{decoding.max_source_length}"
            )
        longest = decoding.max_target_length
        if options.min_length >= longest:
            raise ValueError(
                f"min_length is {options.min_length}; a translation may have {longest} pieces, the "
                "end being one"
            )
        values = Values(
            float(decoding.length_penalty if alpha is None else alpha),
            float(options.length_offset),
            options.n_best,
            float(options.max_length_factor),
            min(options.max_length_extra, longest),  # a sum with more may exceed int32
            options.min_length or None,
            options.no_repeat_ngram or None,
        )
        if not options.samples:
            return beam_size, values
        top_p = None if options.top_p is None else float(options.top_p)
        sampling = Sampling(options.seed, float(options.temperature), options.top_k, top_p)
        return options.samples, values._replace(sampling=sampling)

    def check_pair(self, source: str, target: str) -> None:
        """Raises the ValueError that scoring or aligning this pair would."""
        check_pair(source, target, self.tokenizer, self.config.decoding)

    def _run(
        self,
        make_call: MakeCall,
        requests: Sequence[Request],
        options: SearchOptions,
        queue: int = 1,
    ) -> Iterator[tuple[Batch, Any]]:
        """Puts sentences into batches; yields each with what its call gives."""
        decoding, pad_id = self.config.decoding, self.tokenizer.pad_id
        # What does not fit costs no result. The first kind is compiled before anything runs anyway.
        for shape, asks in buckets.kinds(requests, decoding, options)[1:]:
            batch = buckets.empty(shape, asks, pad_id, queue)
            self._compiled.compile(self.params, make_call(batch))
        batches, called = tee(buckets.batches(requests, decoding, options, pad_id, queue=queue))
        found = self._compiled.run(self.params, map(make_call, called))
        total = sum(not buckets.is_blank(request) for request in requests)
        with progress_bar(None, "sentences", total, leave=False, delay=1) as bar:
            for batch, of_batch in zip(batches, found, strict=True):
                yield batch, of_batch
                bar.update(len(batch.rows))

    def _listed(
        self, found: Hypotheses, row: int, n_best: int, max_length: int
    ) -> list[Translation]:
        """Lists the hypotheses of a sentence; what was not found leaves a place empty."""
        translations = []
        for k in range(n_best):
            if length := int(found.lengths[row, k]):
                ids = found.tokens[row, k, : length - 1].tolist()
                log_probs = found.log_probs[row, k, :length].tolist()
                score = float(found.scores[row, k])
                translation = self._translation(ids, log_probs, score)
                translations.append(translation._replace(cut=length == max_length))
        return translations or [UNMET]

    def _translation(self, ids: list[int], log_probs: Sequence[float], score: float) -> Translation:
        """Turns the ids of one hypothesis, without the end, into text."""
        pieces = tuple(self.tokenizer.target.id_to_piece(ids))
        return Translation(self.tokenizer.decode(ids), score, pieces, tuple(log_probs))

    def _piece_attention(
        self,
        weights: Float[np.ndarray, "L N T S"],
        source: str,
        target: tuple[str, Sequence[int]],
        words: Callable[[str], list[Span]],
    ) -> PieceAttention:
        """Finds the words of pieces; the target's are given by their text and where they begin."""
        source = clean(source)
        spans = words(source), words(target[0])
        return PieceAttention(
            weights.copy(),  # not the whole batch's
            owners(source, self.tokenizer.source_starts(source), spans[0]),
            owners(*target, spans[1]),
            (len(spans[0]), len(spans[1])),
        )


def _forced(function: Function, *values: Values) -> MakeCall:
    """Makes the calls of a function of whole targets, which stand in the place of prefixes."""
    return lambda batch: Call(function, (batch.source, batch.phrases.prefix), values)


def _as_sentences(sentences: Iterable[str | Sentence]) -> list[Sentence]:
    if isinstance(sentences, str | Sentence):
        raise ValueError("sentences is one string; expected a sequence of them")
    return [_as_sentence(sentence) for sentence in sentences]


def _as_sentence(given: object) -> Sentence:
    sentence = Sentence(given) if isinstance(given, str) else given
    if not isinstance(sentence, Sentence) or not isinstance(sentence.text, str):
        raise ValueError(f"{given!r} is no sentence; expected a string or an nmt.Sentence")
    return sentence


def read_until(
    kind: type[Exception] | tuple[type[Exception], ...], items: Iterable[Any]
) -> tuple[list[Any], Exception | None]:
    """Reads items up to an error of a kind, and returns both: what came before is not lost."""
    read: list[Any] = []
    try:
        read.extend(items)
    except kind as error:
        return read, error
    return read, None


def _expect_method(method: str, given: object) -> None:
    if method not in get_args(Method):
        raise ValueError(f"method is {method!r}; expected one of {get_args(Method)}")
    if given and method != "translate":
        raise ValueError(f"{method!r} has one set of shapes; leave out all but the method")
