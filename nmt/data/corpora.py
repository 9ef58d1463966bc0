"""Where sentence pairs come from: text files, TFDS, or the embedded grammar."""

import codecs
import contextlib
import functools
import gzip
import io
import operator
import shlex
import textwrap
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex, overload

import numpy as np

from nmt.config import DataConfig, InputError
from nmt.data import grammar

_LINES_AT_ONCE = 65_536
_EXAMPLES_AT_ONCE = 4096


class Corpus(NamedTuple):
    """Sentence pairs: line n of `source` translates line n of `target`."""

    source: Sequence[str]
    target: Sequence[str]


class Splits(NamedTuple):
    """What a model is trained on, chosen by, and judged by."""

    train: Corpus
    dev: Corpus
    test: Corpus


def load_corpus(data: DataConfig) -> Splits:
    """Reads all three splits of the corpus that a configuration names.

    Args:
      data: names a TFDS builder, a folder or files of text, or neither, which is the grammar.

    Returns:
      Every pair, in the order of its file; nothing is left out and no character removed.

    Raises:
      InputError: something is missing, empty, damaged, not UTF-8, or of unequal length.
    """
    if data.tfds_name is not None:
        return _load_tfds(data.tfds_name, data)
    if _is_embedded(data):
        return _load_grammar(data)
    files = (data.train_files, data.dev_files, data.test_files)
    return Splits(*map(functools.partial(_text_corpus, data), Splits._fields, files))


def _is_embedded(data: DataConfig) -> bool:
    """Whether nothing but the embedded corpus is named."""
    named = (data.tfds_name, data.path, data.train_files, data.dev_files, data.test_files)
    return all(name is None for name in named)


class Gold(NamedTuple):
    """The alignments of a corpus, of which each link is (source word, target word)."""

    sure: Sequence[Sequence[tuple[int, int]]]
    possible: Sequence[Sequence[tuple[int, int]]]
    words: Callable[[str], list[tuple[int, int]]]  # where the words of a sentence are


def gold_alignments(data: DataConfig) -> tuple[Gold, Gold] | None:
    """Returns the alignments of dev and test where they are known: of the embedded corpus."""
    if not _is_embedded(data):
        return None
    corpus = grammar.generate(data.grammar_sizes)
    dev, test = (
        Gold([pair.sure for pair in split], [pair.possible for pair in split], grammar.word_spans)
        for split in (corpus.dev, corpus.test)
    )
    return dev, test


class Lines(Sequence[str]):
    r"""Lines of UTF-8 text, kept as one block of bytes and decoded one by one.

    Only `\n` ends a line: the other characters that `str.splitlines` breaks at (U+2028, U+0085,
    form feed, a lone `\r`) stay inside. A `\r` before the `\n` and a byte-order mark before the
    first line are dropped.

    Args:
      text: the lines, with or without a `\n` after the last.
      name: what to call the text in an error message.

    Raises:
      InputError: a byte is not UTF-8, or there is no text.
    """

    def __init__(self, text: bytes, name: str):
        self._text = text.removeprefix(codecs.BOM_UTF8)
        if not self._text or self._text.isspace():
            raise InputError(f"{name} is empty; expected sentences, one a line")
        ends = np.flatnonzero(np.frombuffer(self._text, np.uint8) == ord("\n"))
        if not self._text.endswith(b"\n"):
            ends = np.append(ends, len(self._text))
        self._starts = np.concatenate([[0], ends + 1])
        self._check_utf8(name)

    def _check_utf8(self, name: str) -> None:
        for first in range(0, len(self), _LINES_AT_ONCE):
            last = min(first + _LINES_AT_ONCE, len(self))
            start = int(self._starts[first])
            try:
                self._text[start : self._starts[last]].decode()
            except UnicodeDecodeError as error:
                offset = start + error.start
                line = int(np.searchsorted(self._starts, offset, side="right"))
                raise InputError(
                    f"{name}, line {line}: byte {offset - self._starts[line - 1] + 1} is "
                    f"0x{self._text[offset]:02x}, which is not UTF-8 ({error.reason}); "
                    "convert the text to UTF-8, for example with iconv"
                ) from None

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        i = range(len(self))[index]
        line = self._text[self._starts[i] : self._starts[i + 1] - 1]
        return line.removesuffix(b"\r").decode()


def _load_grammar(data: DataConfig) -> Splits:
    languages = data.source_language, data.target_language
    if languages != ("en", "pt"):
        raise InputError(
            f"the embedded corpus translates en to pt, not {' to '.join(languages)}; "
            "set the languages to these, or give a corpus with data.path or data.tfds_name"
        )
    corpus = grammar.generate(data.grammar_sizes)
    return Splits(
        *(
            Corpus([pair.source for pair in split], [pair.target for pair in split])
            for split in (corpus.train, corpus.dev, corpus.test)
        )
    )


# Text files.


def _text_corpus(data: DataConfig, split: str, files: tuple[str, str] | None) -> Corpus:
    if files is not None:
        source, target = map(Path, files)
    elif data.path is not None:
        source = _find(Path(data.path), split, data.source_language)
        target = _find(Path(data.path), split, data.target_language)
    else:
        raise InputError(f"no {split} corpus: give data.path or data.{split}_files")
    corpus = Corpus(_read_lines(source), _read_lines(target))
    if len(corpus.source) != len(corpus.target):
        raise InputError(
            f"{source} has {len(corpus.source)} lines and {target} has {len(corpus.target)}; "
            "expected as many, line n of one being the translation of line n of the other"
        )
    return corpus


def _find(folder: Path, split: str, language: str) -> Path:
    name = f"{split}.{language}"
    try:
        present = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise InputError(
            f"cannot read data.path {folder}: {error.strerror}; expected a folder that holds {name}"
        ) from None
    for candidate in (name, f"{name}.gz"):
        if candidate in present:
            return folder / candidate
    raise InputError(
        f"{folder} holds neither {name} nor {name}.gz; "
        f"add one, or name the files with data.{split}_files"
    )


def _read_lines(path: Path) -> Lines:
    expected = "expected a text file in UTF-8, one sentence a line"
    try:
        text = path.read_bytes()
        if path.suffix == ".gz":
            text = gzip.decompress(text)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is not a whole gzip file ({_reason(error)}); "
            "copy it again, or take .gz off its name if it is plain text"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; {expected}") from None
    return Lines(text, str(path))


# TFDS. None of this needs TensorFlow; tensorflow_datasets and grain are imported where they are
# used, because they take longer than all the rest.

_TFDS_SPLITS = {"train": ("train",), "dev": ("validation", "dev"), "test": ("test",)}


def _load_tfds(name: str, data: DataConfig) -> Splits:
    import tensorflow_datasets as tfds
    import tensorflow_datasets.translate  # some builders, wmt* among them, register here

    try:
        builder = tfds.builder(name, data_dir=data.tfds_data_dir)
    except Exception as error:
        unknown = isinstance(error, tfds.core.DatasetNotFoundError)
        raise InputError(
            f"data.tfds_name {name}: {'no such builder' if unknown else _reason(error)}; "
            "expected a builder of TFDS, or the name of prepared data in data.tfds_data_dir"
        ) from error
    languages = data.source_language, data.target_language
    keys = _find_translation(name, builder.info.features, languages)
    if not builder.is_prepared():
        _prepare(name, builder)
    return Splits(
        *(
            _tfds_corpus(name, builder, _tfds_split(name, builder, names), keys, languages)
            for names in _TFDS_SPLITS.values()
        )
    )


def _find_translation(name: str, features: Any, languages: tuple[str, str]) -> tuple[str, ...]:
    """Keys that lead from an example to its Translation feature; none where it is the example."""
    found = dict(_translations(features))
    for keys, offered in found.items():
        if set(languages) <= set(offered):
            return keys
    offers = " or ".join(", ".join(offered) for offered in found.values())
    raise InputError(
        f"data.tfds_name {name} has no sentences in {' and '.join(languages)}; "
        + (f"its languages are {offers}" if found else "it has no Translation feature")
    )


def _translations(
    features: Any, keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    import tensorflow_datasets as tfds

    if isinstance(features, tfds.features.Translation):
        yield keys, features.languages
    elif isinstance(features, tfds.features.FeaturesDict):
        for key, feature in features.items():
            yield from _translations(feature, (*keys, key))


def _prepare(name: str, builder: Any) -> None:
    root = builder.data_dir_root
    if builder.data_path.exists():
        raise InputError(f"{builder.data_dir} is not a complete TFDS data set; delete the folder")
    try:
        # TFDS prints six lines about TensorFlow when it misses it; the error below has the remedy.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(file_format="array_record")
    except Exception as error:
        raise InputError(
            f"{name} is not prepared in {root}, and cannot be here ({_reason(error)}); prepare it "
            "in another environment: pip install tensorflow tensorflow-datasets && tfds build "
            f"{shlex.quote(name)} --imports=tensorflow_datasets.translate "
            f"--file_format=array_record --data_dir={shlex.quote(str(root))}"
        ) from error


def _tfds_split(name: str, builder: Any, names: tuple[str, ...]) -> str:
    for split in names:
        if split in builder.info.splits:
            return split
    raise InputError(
        f"{name} has no split {' or '.join(names)}, only {', '.join(builder.info.splits)}; "
        "write its sentences to text files and give them with data.path"
    )


def _tfds_corpus(
    name: str, builder: Any, split: str, keys: tuple[str, ...], languages: tuple[str, str]
) -> Corpus:
    columns = bytearray(), bytearray()
    try:
        for example in _examples(builder, split):
            translation = functools.reduce(operator.getitem, keys, example)
            for column, language in zip(columns, languages, strict=True):
                column += translation[language].replace(b"\n", b" ") + b"\n"
    except Exception as error:
        raise InputError(
            f"{name}: cannot read split {split} in {builder.data_dir}: {_reason(error)}"
        ) from error
    corpus = Corpus(
        *(
            Lines(bytes(column), f"{name}, split {split}, language {language}")
            for column, language in zip(columns, languages, strict=True)
        )
    )
    expected = builder.info.splits[split].num_examples
    if len(corpus.source) != expected:
        raise InputError(
            f"{name}: split {split} in {builder.data_dir} has {len(corpus.source)} pairs, "
            f"and its dataset_info.json says {expected}; prepare it again"
        )
    return corpus


def _examples(builder: Any, split: str) -> Iterator[Any]:
    """Yields the examples of a prepared split; their sentences are bytes."""
    if builder.info.file_format.value == "tfrecord":
        import grain

        for path in builder.info.splits[split].filepaths:
            for record in grain.experimental.TFRecordIterDataset(str(path)):
                yield builder.info.features.deserialize_example_np(record)
    else:
        source = builder.as_data_source(split)
        for first in range(0, len(source), _EXAMPLES_AT_ONCE):
            last = min(first + _EXAMPLES_AT_ONCE, len(source))
            yield from source.__getitems__(list(range(first, last)))


def _reason(error: Exception) -> str:
    """An error's message in one line, or its type where it has none."""
    return textwrap.shorten(str(error), 300, placeholder=" ...") or type(error).__name__
