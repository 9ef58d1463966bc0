"""Text in, text out: buckets, compiled functions, and a run's folder made into a `Translator`."""

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from nmt import checkpoint, parallel
from nmt.config import EXTRA_TARGET_LENGTH, Config, DecodingConfig, InputError
from nmt.data.batching import bucket_length
from nmt.data.tokenizer import Tokenizer
from nmt.decoding.search import Hypotheses, beam_search, greedy_search
from nmt.models.seq2seq import Params, build, init_params
from nmt.models.transformer import Transformer

LINES_AT_ONCE = 2048
"""Lines that `translate_lines` reads before it translates them; the memory it needs."""


class Translation(NamedTuple):
    """What became of one sentence."""

    text: str
    score: float  # log-probability under the length normalisation
    tokens: tuple[str, ...]  # pieces, without the end


class Translator:
    """Translates with given parameters.

    A sentence's compiled shape depends on its own length alone: buckets of 16, 32, … source
    pieces, each with a fixed number of rows, so that its company changes nothing.

    Attributes:
      model: a sequence-to-sequence model.
      params: its parameters.
      tokenizer: of the model's vocabulary.
      config: of the experiment; `config.decoding` holds the defaults.
    """

    def __init__(
        self, model: Transformer, params: Params, tokenizer: Tokenizer, config: Config
    ) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.params = parallel.replicate_locally(params)
        self._compiled: dict[int, Callable[..., Hypotheses]] = {}  # by beam size

    def with_params(self, params: Params) -> "Translator":
        """Returns a translator with other parameters and the same compiled functions."""
        other = copy.copy(self)
        other.params = parallel.replicate_locally(params)
        return other

    def translate(
        self,
        sentences: Sequence[str],
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
    ) -> list[Translation]:
        """Translates sentences, in the order they come.

        Args:
          sentences: text; an empty one has an empty translation.
          beam_size: hypotheses kept a sentence, 1 is greedy; None is the configuration's.
          length_penalty: α of the length normalisation; None is the configuration's.

        Raises:
          ValueError: a sentence has more pieces than `config.decoding.max_source_length`, or an
            option is out of range.
        """
        if isinstance(sentences, str):
            raise ValueError("sentences is one string; expected a sequence of them")
        decoding = self._decoding(beam_size, length_penalty)
        search = self._compile(decoding.beam_size)
        alpha = float(decoding.length_penalty)  # an int would be compiled anew
        encoded = self.tokenizer.encode_source(sentences)
        for number, ids in enumerate(encoded):
            if len(ids) > decoding.max_source_length:
                raise ValueError(
                    f"sentence {number} has {len(ids)} pieces, more than "
                    f"decoding.max_source_length {decoding.max_source_length}; split it "
                    "(`translate_lines` does)"
                )
        translations = [Translation("", 0.0, ())] * len(sentences)
        for index, source in self._batches(encoded):
            hypotheses = jax.device_get(search(self.params, parallel.split_local(source), alpha))
            hypotheses = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), hypotheses)
            for row, number in enumerate(index):
                length = max(0, hypotheses.lengths[row, 0] - 1)  # without the end
                ids = hypotheses.tokens[row, 0, :length].tolist()
                translations[number] = Translation(
                    self.tokenizer.decode(ids),
                    float(hypotheses.scores[row, 0]),
                    tuple(self.tokenizer.target.id_to_piece(ids)),
                )
        return translations

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
            parts = [part for line in self._parts(lines) for part in line]
            lengths = {self._bucket(len(ids)) for ids in self.tokenizer.encode_source(parts)}
            shapes = [shape for shape in shapes if shape[1] in lengths]
        decoding = self._decoding(beam_size, None)
        search = self._compile(decoding.beam_size)
        for shape in shapes:
            empty = np.full(shape, self.tokenizer.pad_id, np.int32)
            alpha = float(decoding.length_penalty)
            jax.block_until_ready(search(self.params, parallel.split_local(empty), alpha))
        return shapes

    def translate_lines(self, lines: Iterable[str], **options: Any) -> Iterator[str]:
        """Yields one line for each line, blank ones and ones of any length included.

        A line longer than `config.decoding.max_source_length` pieces is split at the sentence end,
        else the space, nearest to its middle, as often as needed, and its parts' translations are
        joined by spaces.

        Args:
          lines: an iterable of any length; `LINES_AT_ONCE` are taken at a time.
          **options: as `translate` takes them.
        """
        lines = iter(lines)
        while chunk := list(islice(lines, LINES_AT_ONCE)):
            parts = self._parts(chunk)
            texts = iter(self.translate([part for line in parts for part in line], **options))
            for line in parts:
                yield " ".join(translation.text for translation in islice(texts, len(line)))

    def search(
        self,
        params: Params,
        source: Int[Array, "B S"],
        length_penalty: Float[ArrayLike, ""],
        *,
        beam_size: int,
    ) -> Hypotheses:
        """Searches on arrays: pure, for callers who jit, vmap, pmap or export it themselves.

        Args:
          params: of `self.model`.
          source: ids, each row one sentence with its end id, filled up with the padding id; a
            row of padding alone is empty and costs no step.
          length_penalty: α of the length normalisation.
          beam_size: K; 1 is greedy search.
        """
        apply = partial(self.model.apply, {"params": params})
        segments = (source != self.tokenizer.pad_id).astype(jnp.int32)
        lengths = segments.sum(1)
        positions = jnp.broadcast_to(jnp.arange(source.shape[1]), source.shape)
        memory = apply(source, segments, positions, deterministic=True, method="encode")
        max_length = source.shape[1] + EXTRA_TARGET_LENGTH
        constants, cache = apply(memory, max_length, method="start")
        search = (
            greedy_search
            if beam_size == 1
            else partial(beam_search, reorder=self.model.reorder, beam_size=beam_size)
        )
        return search(
            partial(apply, method="decode_step"),
            constants=constants,
            cache=cache,
            max_lengths=jnp.where(lengths > 0, lengths + EXTRA_TARGET_LENGTH, 1),
            max_length=max_length,
            pad_id=self.tokenizer.pad_id,
            bos_id=self.tokenizer.bos_id,
            eos_id=self.tokenizer.eos_id,
            length_penalty=length_penalty,
        )

    def shapes(self) -> list[tuple[int, int]]:
        """The (rows, source length) of every bucket: all shapes that translating may compile."""
        lengths = {self._bucket(n) for n in range(1, self.config.decoding.max_source_length + 1)}
        return [(self._num_rows(length), length) for length in sorted(lengths)]

    def _bucket(self, length: int) -> int:
        return min(bucket_length(length), self.config.decoding.max_source_length)

    def _num_rows(self, length: int) -> int:
        rows = self.config.decoding.batch_tokens // (length + EXTRA_TARGET_LENGTH)
        return parallel.num_local_devices() * max(1, rows)

    def _batches(
        self, encoded: Sequence[list[int]]
    ) -> Iterator[tuple[list[int], Int[np.ndarray, "B S"]]]:
        """Yields (which sentences, their ids) by bucket, filled up with empty rows."""
        members: dict[int, list[int]] = {}
        for number, ids in enumerate(encoded):
            if len(ids) > 1:  # more than the end
                members.setdefault(self._bucket(len(ids)), []).append(number)
        for length, numbers in sorted(members.items()):
            # Sentences that end together waste no steps on each other.
            numbers.sort(key=lambda number: len(encoded[number]))
            num_rows = self._num_rows(length)
            for start in range(0, len(numbers), num_rows):
                index = numbers[start : start + num_rows]
                source = np.full((num_rows, length), self.tokenizer.pad_id, np.int32)
                for row, number in enumerate(index):
                    source[row, : len(encoded[number])] = encoded[number]
                yield index, source

    def _compile(self, beam_size: int) -> Callable[..., Hypotheses]:
        if beam_size not in self._compiled:
            unbound = copy.copy(self)  # what is compiled outlives these parameters
            unbound.params = None
            search = partial(unbound.search, beam_size=beam_size)
            self._compiled[beam_size] = parallel.pmap_search(search)
        return self._compiled[beam_size]

    def _decoding(self, beam_size: int | None, length_penalty: float | None) -> DecodingConfig:
        decoding = self.config.decoding
        if beam_size is not None:
            decoding = replace(decoding, beam_size=beam_size)
        if length_penalty is not None:
            decoding = replace(decoding, length_penalty=length_penalty)
        return decoding

    def _parts(self, lines: Sequence[str]) -> list[list[str]]:
        """Returns each line as the parts that fit."""
        lengths = map(len, self.tokenizer.encode_source(lines))
        longest = self.config.decoding.max_source_length
        return [
            [line] if length <= longest else split_line(line, self._fits)
            for line, length in zip(lines, lengths, strict=True)
        ]

    def _fits(self, text: str) -> bool:
        ids = self.tokenizer.encode_source([text])[0]
        return len(ids) <= self.config.decoding.max_source_length


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
