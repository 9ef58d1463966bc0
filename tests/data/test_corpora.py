"""Corpora from text files, from builders that TFDS prepares here, and from the grammar."""

import gzip
import importlib.util
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from tensorboardX.record_writer import RecordWriter

from nmt.config import DataConfig, InputError
from nmt.data.corpora import Corpus, Lines, load_corpus

GERMAN = ["Guten Morgen .", "Die Straße ist naß .", "Ein Haus ."]
ENGLISH = ["Good morning .", "The street is wet .", "A house ."]
NAMES = [f"{split}.{language}" for split in ("train", "dev", "test") for language in ("de", "en")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        sentences = GERMAN if name.endswith("de") else ENGLISH
        (tmp_path / name).write_text("\n".join(sentences) + "\n", encoding="utf-8")
    return tmp_path


def de_en(**fields) -> DataConfig:
    return DataConfig(source_language="de", target_language="en", **fields)


def as_lists(corpus: Corpus) -> tuple[list[str], list[str]]:
    return list(corpus.source), list(corpus.target)


def error_of(data: DataConfig) -> str:
    """The message that loading this corpus ends in: one line."""
    with pytest.raises(InputError) as raised:
        load_corpus(data)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\n\n", ["a", ""]),
        (b"\n\na", ["", "", "a"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\nb", ["a", "b"]),
        (b"a\rb\nc", ["a\rb", "c"]),
        (b"a\0b\x01\x7f\nc", ["a\0b\x01\x7f", "c"]),
        (
            "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\nh".encode(),
            ["a\u2028b\u2029c\x85d\x0be\x0cf\x1cg", "h"],
        ),
        ("\U0001f600\nj\u0301\ufeff\n".encode(), ["\U0001f600", "j\u0301\ufeff"]),
    ],
)
def test_only_newline_ends_a_line(text, lines):
    assert list(Lines(text, "text")) == lines


def test_lines_are_a_sequence():
    lines = Lines(b"a\nb\nc\n", "text")
    assert len(lines) == 3
    assert (lines[0], lines[-1], lines[1:], lines[::-2]) == ("a", "c", ["b", "c"], ["c", "a"])
    assert "b" in lines
    with pytest.raises(IndexError):
        lines[3]


def test_long_line_and_many_lines():
    lines = Lines(b"x" * 100_000 + b"\n" + b"y\n" * 70_000, "text")
    assert (len(lines), len(lines[0]), lines[70_000]) == (70_001, 100_000, "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"ab\ncd\xff\n", "text, line 2: byte 3 is 0xff"),
        (b"\xef\xbb\xbfab\xe9", "text, line 1: byte 3 is 0xe9"),
        (b"y\n" * 70_000 + b"ab\xc3\nc", "text, line 70001: byte 3 is 0xc3"),
        (b"a\n\xed\xa0\x80\n", "text, line 2: byte 1 is 0xed"),
        (b"a\n\xc0\x80\n", "text, line 2: byte 1 is 0xc0"),
    ],
)
def test_byte_that_is_not_utf8_is_located(text, message):
    with pytest.raises(InputError, match=message):
        Lines(text, "text")


# Text files


def test_folder(folder):
    splits = load_corpus(de_en(path=str(folder)))
    assert [as_lists(split) for split in splits] == [(GERMAN, ENGLISH)] * 3


def test_gzip_reads_as_plain(folder):
    for name in NAMES[1:]:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    splits = load_corpus(de_en(path=str(folder)))
    assert [as_lists(split) for split in splits] == [(GERMAN, ENGLISH)] * 3


def test_explicit_files_take_the_place_of_the_folders(folder, tmp_path):
    (tmp_path / "other").write_text("drei\n", encoding="utf-8")
    (tmp_path / "another.gz").write_bytes(gzip.compress(b"three"))
    files = (str(tmp_path / "other"), str(tmp_path / "another.gz"))
    splits = load_corpus(de_en(path=str(folder), test_files=files))
    assert as_lists(splits.dev) == (GERMAN, ENGLISH)
    assert as_lists(splits.test) == (["drei"], ["three"])
    splits = load_corpus(de_en(train_files=files, dev_files=files, test_files=files))
    assert [as_lists(split) for split in splits] == [(["drei"], ["three"])] * 3


def test_hostile_lines_keep_their_numbers(folder):
    hostile = ["a\0b", "", "x\u2028y", "\x1b[0m\x85", "l" * 100_000, "end"]
    (folder / "train.de").write_bytes("\r\n".join(hostile).encode("utf-8-sig"))
    (folder / "train.en").write_bytes(b"1\n2\n3\n4\n5\n6\n")
    train = load_corpus(de_en(path=str(folder))).train
    assert as_lists(train) == (hostile, list("123456"))


def test_missing_file(folder):
    (folder / "dev.en").unlink()
    message = error_of(de_en(path=str(folder)))
    assert f"{folder} holds neither dev.en nor dev.en.gz" in message
    assert "data.dev_files" in message


def test_missing_explicit_file(folder):
    missing = str(folder / "absent.de")
    message = error_of(de_en(path=str(folder), dev_files=(missing, missing)))
    assert f"cannot read {missing}: No such file or directory" in message


def test_missing_folder(folder):
    assert "nowhere: No such file" in error_of(de_en(path=str(folder / "nowhere")))
    assert "train.de: Not a directory" in error_of(de_en(path=str(folder / "train.de")))


def test_folder_in_place_of_a_file(folder):
    (folder / "dev.de").unlink()
    (folder / "dev.de").mkdir()
    assert "dev.de: Is a directory" in error_of(de_en(path=str(folder)))


def test_file_that_may_not_be_read(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "train.de: Permission denied" in error_of(de_en(path=str(folder)))


@pytest.mark.parametrize("text", [b"", b"\n", b"\xef\xbb\xbf", b" \r\n\t\n"])
def test_empty_file(folder, text):
    (folder / "test.en").write_bytes(text)
    assert "test.en is empty" in error_of(de_en(path=str(folder)))


def test_unequal_line_counts(folder):
    with (folder / "dev.de").open("a") as file:
        file.write("\n")
    message = error_of(de_en(path=str(folder)))
    assert "dev.de has 4 lines and " in message
    assert "dev.en has 3;" in message


def test_file_that_is_not_utf8(folder):
    (folder / "dev.de").write_bytes("\n".join(GERMAN).encode("latin-1"))
    assert "dev.de, line 2: byte 9 is 0xdf" in error_of(de_en(path=str(folder)))


@pytest.mark.parametrize("damage", ["plain", "truncated", "flipped", "trailing"])
def test_damaged_gzip(folder, damage):
    whole = gzip.compress((folder / "dev.de").read_bytes())
    damaged = {
        "plain": (folder / "dev.de").read_bytes(),
        "truncated": whole[:-10],
        "flipped": whole[:15] + bytes([whole[15] ^ 0xFF]) + whole[16:],
        "trailing": whole + b"more",
    }
    (folder / "dev.de").unlink()
    (folder / "dev.de.gz").write_bytes(damaged[damage])
    assert "dev.de.gz is not a whole gzip file" in error_of(de_en(path=str(folder)))


# The grammar


def test_grammar():
    data = DataConfig(source_language="en", target_language="pt", grammar_sizes=(7, 3, 2))
    splits = load_corpus(data)
    for split, size in zip(splits, (7, 3, 2), strict=True):
        assert len(split.source) == len(split.target) == size
        assert all(isinstance(sentence, str) for column in split for sentence in column)


def test_grammar_has_one_direction():
    assert "en to pt, not de to en" in error_of(de_en())


# TFDS: builders registered and prepared here, from local text

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
HOSTILE = ("zwei\nZeilen\r\n\u2028\0", "")


class LocalText(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="de-en")]  # noqa: RUF012  as TFDS declares it
    folder = Path()
    languages = ("de", "en")

    def _info(self):
        features = tfds.features.Translation(self.languages)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {name: self._generate_examples(split) for name, split in SPLITS.items()}

    def _generate_examples(self, split):
        columns = [
            (self.folder / f"{split}.{language}").read_text(encoding="utf-8").splitlines()
            for language in ("de", "en")
        ]
        for number, (german, english) in enumerate(zip(*columns, strict=True)):
            yield number, {"de": german, "en": english}
        yield "hostile", {"de": HOSTILE[0], "en": HOSTILE[1]}


class LocalNested(LocalText):
    """The Translation feature is one of several, as in builders with an id or a score."""

    def _info(self):
        pair = tfds.features.Translation(self.languages)
        features = {"id": tfds.features.Text(), "pair": pair}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _generate_examples(self, split):
        for number, pair in super()._generate_examples(split):
            yield number, {"id": str(number), "pair": pair}


class LocalArchive(LocalText):
    """Extracts an archive, which TFDS does with TensorFlow."""

    def _split_generators(self, dl_manager):
        archive = self.folder / "corpus.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(self.folder / "train.de", "train.de")
        dl_manager.extract(archive)


class LocalTrainOnly(LocalText):
    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples("train")}


class LocalLabels(LocalText):
    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)


@pytest.fixture
def local_text(folder, monkeypatch):
    monkeypatch.setattr(LocalText, "folder", folder)
    return de_en(tfds_name="local_text/de-en", tfds_data_dir=str(folder / "tfds"))


def to_tfrecord(data: DataConfig) -> Path:
    """Rewrites a prepared array_record data set as tfrecord, which TFDS writes with TensorFlow."""
    builder = tfds.builder(data.tfds_name, data_dir=data.tfds_data_dir)
    for split in builder.info.splits:
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        records = list(builder.as_data_source(split, deserialize_method=raw))
        (old,) = builder.info.splits[split].filepaths
        writer = RecordWriter(str(old).replace("array_record", "tfrecord"))
        for record in records:
            writer.write(record)
        writer.close()
        old.unlink()
    folder = Path(builder.data_dir)
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    return folder


def assert_holds_the_local_text(data: DataConfig) -> None:
    # TFDS stores examples in an order of its own. Inside a sentence "\n" becomes a space.
    expected = {*zip(GERMAN, ENGLISH, strict=True), ("zwei Zeilen\r \u2028\0", "")}
    for split in load_corpus(data):
        assert len(split.source) == len(split.target) == len(expected)
        assert set(zip(split.source, split.target, strict=True)) == expected


@pytest.mark.parametrize("name", ["local_text/de-en", "local_text", "local_nested"])
def test_array_record(folder, local_text, name):
    data = de_en(tfds_name=name, tfds_data_dir=local_text.tfds_data_dir)
    assert_holds_the_local_text(data)
    assert len(list(folder.glob("tfds/local_*/de-en/1.0.0/*.array_record-*"))) == 3
    (folder / "train.de").unlink()
    assert_holds_the_local_text(data)  # now prepared: the builder's own input is not needed


@pytest.mark.parametrize("name", ["local_text/de-en", "local_nested"])
def test_tfrecord(local_text, name):
    data = de_en(tfds_name=name, tfds_data_dir=local_text.tfds_data_dir)
    load_corpus(data)
    assert not list(to_tfrecord(data).glob("*array_record*"))
    assert_holds_the_local_text(data)


def test_data_without_its_builders_code(folder, local_text):
    load_corpus(local_text)
    (folder / "tfds" / "local_text").rename(folder / "tfds" / "renamed")
    for file in folder.glob("tfds/renamed/de-en/1.0.0/*"):
        text = file.read_bytes()
        if file.suffix == ".json":
            file.write_bytes(text.replace(b"local_text", b"renamed"))
        else:
            file.rename(file.with_name(file.name.replace("local_text", "renamed")))
    data = de_en(tfds_name="renamed/de-en:1.0.0", tfds_data_dir=local_text.tfds_data_dir)
    assert_holds_the_local_text(data)


def test_direction_can_be_reversed(local_text):
    data = DataConfig(
        source_language="en",
        target_language="de",
        tfds_name=local_text.tfds_name,
        tfds_data_dir=local_text.tfds_data_dir,
    )
    assert set(ENGLISH) < set(load_corpus(data).dev.source)


def test_language_that_the_builder_has_not(local_text):
    data = DataConfig(
        source_language="de",
        target_language="fr",
        tfds_name=local_text.tfds_name,
        tfds_data_dir=local_text.tfds_data_dir,
    )
    assert "no sentences in de and fr; its languages are de, en" in error_of(data)


def test_builder_without_translations(local_text):
    data = de_en(tfds_name="local_labels", tfds_data_dir=local_text.tfds_data_dir)
    assert "it has no Translation feature" in error_of(data)


def test_builder_without_a_split(local_text):
    data = de_en(tfds_name="local_train_only", tfds_data_dir=local_text.tfds_data_dir)
    assert "has no split validation or dev, only train" in error_of(data)


@pytest.mark.parametrize("name", ["no_such_builder", "local_text/fr-en", "not a name"])
def test_unknown_builder(local_text, name):
    data = de_en(tfds_name=name, tfds_data_dir=local_text.tfds_data_dir)
    assert error_of(data).startswith(f"data.tfds_name {name}: ")


def test_builder_that_needs_tensorflow(folder, local_text, capfd):
    data = de_en(tfds_name="local_archive/de-en", tfds_data_dir=local_text.tfds_data_dir)
    message = error_of(data)
    assert f"local_archive/de-en is not prepared in {folder}/tfds" in message
    assert "tensorflow" in message.partition("prepare it")[0]
    assert (
        "tfds build local_archive/de-en --imports=tensorflow_datasets.translate "
        f"--file_format=array_record --data_dir={folder}/tfds"
    ) in message
    assert capfd.readouterr().out == ""


def test_data_set_that_was_not_finished(folder, local_text):
    (folder / "tfds/local_text/de-en/1.0.0").mkdir(parents=True)
    assert "not a complete TFDS data set; delete the folder" in error_of(local_text)


def test_sentence_that_is_not_utf8(folder, local_text, monkeypatch):
    def generate(self, split):
        yield 0, {"de": b"na\xdf", "en": "wet"}

    monkeypatch.setattr(LocalText, "_generate_examples", generate)
    message = error_of(local_text)
    assert "local_text/de-en, split train, language de, line 1: byte 3 is 0xdf" in message


@pytest.mark.parametrize("damage", ["truncated", "shortened", "missing", "garbled"])
def test_damaged_tfrecord(local_text, damage):
    load_corpus(local_text)
    (shard,) = to_tfrecord(local_text).glob("*-validation.tfrecord-*")
    whole = shard.read_bytes()
    first = 16 + int.from_bytes(whole[:8], "little")
    if damage == "missing":
        shard.unlink()
    elif damage == "garbled":
        shard.write_bytes(whole[:12] + b"\xff" * (first - 16) + whole[first - 4 :])
    else:
        shard.write_bytes(whole[: -5 if damage == "truncated" else first])
    message = error_of(local_text)
    assert "split validation" in message
    if damage == "shortened":
        assert "has 1 pairs, and its dataset_info.json says 4" in message


# Imports


def test_tensorflow_is_not_here():
    # TFDS uses it where it is installed; without it, every test above shows that nothing needs it.
    assert importlib.util.find_spec("tensorflow") is None


def test_tfds_and_grain_are_imported_only_for_tfds(folder):
    code = (
        "import sys; from nmt.config import DataConfig; from nmt.data.corpora import load_corpus;"
        f"load_corpus(DataConfig('de', 'en', path={str(folder)!r}));"
        "print({'tensorflow', 'tensorflow_datasets', 'grain'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
