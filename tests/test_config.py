"""Configurations: from files, flags and JSON; and what is said of wrong ones."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from nmt.config import (
    Config,
    DataConfig,
    DecodingConfig,
    InputError,
    OptimizerConfig,
    RecurrentConfig,
    SearchKeywords,
    SearchOptions,
    TokenizerConfig,
    TrainingConfig,
    TransformerConfig,
    differences,
    from_json,
    load_config,
    parse_command_line,
    to_json,
)

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.py"))

FILE = """
from nmt.config import *
config = Config(
    data=DataConfig("de", "en", path="somewhere"),
    training=TrainingConfig(num_steps=5000, batch_tokens=1280),
)
"""


@pytest.fixture
def config() -> Config:
    return Config(
        data=DataConfig("de", "en", train_files=("a", "b"), path="c"),
        training=TrainingConfig(num_steps=9000, batch_tokens=1280),
        optimizer=OptimizerConfig(learning_rate=1e-3),
    )


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(FILE)
    return path


def one_line(raised) -> str:
    message = str(raised.value)
    assert "\n" not in message
    return message


def changed_json(config: Config, group: str, **fields) -> str:
    data = json.loads(to_json(config))
    data[group].update(fields)
    return json.dumps(data)


def all_fields() -> list[str]:
    config = Config(DataConfig("de", "en"), TrainingConfig(5000, 1280))
    return [
        f"{group.name}.{field.name}"
        for group in dataclasses.fields(config)
        for field in dataclasses.fields(getattr(config, group.name))
    ]


# JSON.


def test_json_holds_every_field(config):
    assert from_json(to_json(config)) == config
    found = {
        f"{group}.{field}"
        for group, fields in json.loads(to_json(config)).items()
        for field in fields
    }
    assert found == set(all_fields())


@pytest.mark.parametrize(
    ("group", "fields", "expected"),
    [
        ("model", {"embdim": 3}, "model.embdim"),
        ("model", {"emb_dim": "512"}, "model.emb_dim"),
        ("model", {"emb_dim": 512.5}, "model.emb_dim"),
        ("model", {"emb_dim": None}, "model.emb_dim"),
        ("model", {"num_layers": True}, "model.num_layers"),
        ("model", {"norm": "both"}, "model.norm"),
        ("model", {"dropout_rate": 1.0}, "model.dropout_rate"),
        ("model", {"num_heads": 7}, "model.num_heads"),
        ("model", {"emb_dim": 0}, "model.emb_dim"),
        ("model", {"key_dim": 0}, "model.key_dim"),
        ("model", {"key_dim": -8}, "model.key_dim"),
        ("model", {"learned_positions": 0}, "model.learned_positions"),
        ("model", {"learned_positions": 100}, "model.learned_positions"),
        ("data", {"source_language": ""}, "data.source_language"),
        ("data", {"source_language": "../de"}, "data.source_language"),
        ("data", {"source_language": "en", "train_files": None}, "both 'en'"),
        ("data", {"train_files": ["a"]}, "data.train_files"),
        ("data", {"train_files": ["a", "b"], "path": None}, "data.dev_files"),
        ("data", {"tfds_name": "x"}, "data.tfds_name"),
        ("data", {"grammar_sizes": [1, 0, 1]}, "data.grammar_sizes"),
        ("data", {"max_target_length": 1}, "data.max_target_length"),
        ("data", {"max_target_length": 100}, "training.batch_tokens"),
        ("decoding", {"batch_tokens": 10**8 + 1}, "decoding.batch_tokens"),
        ("decoding", {"length_penalty": 10.5}, "decoding.length_penalty"),
        ("tokenizer", {"vocab_size": 260}, "tokenizer.vocab_size"),
        ("tokenizer", {"sampling_alpha": 0}, "tokenizer.sampling_alpha"),
        ("tokenizer", {"shared": 1}, "tokenizer.shared"),
        ("optimizer", {"warmup_steps": 9001}, "optimizer.warmup_steps"),
        ("optimizer", {"warmup_steps": 0}, "optimizer.warmup_steps"),
        ("optimizer", {"learning_rate": -1.0}, "optimizer.learning_rate"),
        ("optimizer", {"learning_rate": 0.0}, "optimizer.learning_rate"),
        ("optimizer", {"clip_norm": 0.0}, "optimizer.clip_norm"),
        ("optimizer", {"epsilon": -1.0}, "optimizer.epsilon"),
        ("optimizer", {"beta2": 1.0}, "optimizer.beta2"),
        ("optimizer", {"weight_decay": 1.0}, "optimizer.weight_decay"),
        ("optimizer", {"weight_decay": -0.1}, "optimizer.weight_decay"),
        (
            "optimizer",
            {"algorithm": "adadelta", "learning_rate": None},
            "optimizer.learning_rate is None; expected a number with adadelta",
        ),
        ("training", {"num_steps": 0}, "training.num_steps"),
        ("training", {"label_smoothing": -0.1}, "training.label_smoothing"),
        ("training", {"label_smoothing": 1}, "training.label_smoothing"),
        ("training", {"seed": -1}, "training.seed"),
        ("training", {"micro_batches": 0}, "training.micro_batches"),
        ("decoding", {"beam_size": 0}, "decoding.beam_size"),
        ("decoding", {"length_penalty": -0.1}, "decoding.length_penalty"),
        ("decoding", {"max_source_length": 0}, "decoding.max_source_length"),
        # JSON as Python writes it: not a number, and more than any number.
        ("optimizer", {"learning_rate": float("nan")}, "optimizer.learning_rate"),
        ("model", {"dropout_rate": float("nan")}, "model.dropout_rate"),
        ("decoding", {"length_penalty": float("inf")}, "decoding.length_penalty"),
        ("optimizer", {"learning_rate": float("inf")}, "optimizer.learning_rate"),
    ],
)
def test_a_wrong_field_is_named_in_one_line(config, group, fields, expected):
    with pytest.raises(InputError) as raised:
        from_json(changed_json(config, group, **fields), "run/config.json")
    message = one_line(raised)
    assert message.startswith("run/config.json: ")
    assert expected in message


def test_a_wrong_field_of_a_recurrent_model_is_named(config):
    recurrent = dataclasses.replace(config, model=RecurrentConfig(attention=None))
    assert from_json(to_json(recurrent)) == recurrent
    with pytest.raises(InputError, match=r"run: model\.cell: .*'gru' or 'lstm', found 'rnn'"):
        from_json(changed_json(recurrent, "model", cell="rnn"), "run")
    with pytest.raises(InputError, match=r"run: model\.num_heads: Unexpected .* found 8"):
        from_json(changed_json(recurrent, "model", num_heads=8), "run")


def test_a_missing_field_is_named_in_one_line(config):
    data = json.loads(to_json(config))
    del data["training"]["num_steps"]
    with pytest.raises(InputError, match=r"training\.num_steps.*required") as raised:
        from_json(json.dumps(data))
    one_line(raised)


def test_an_unknown_group_is_named_in_one_line(config):
    data = json.loads(to_json(config)) | {"modell": {}}
    with pytest.raises(InputError, match="modell") as raised:
        from_json(json.dumps(data))
    one_line(raised)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "3", '{"data": 3}', "\0", "{}"])
def test_what_is_no_configuration_is_an_error_in_one_line(text):
    with pytest.raises(InputError) as raised:
        from_json(text, "somewhere")
    assert one_line(raised).startswith("somewhere: ")


def test_reading_json_executes_nothing(config, tmp_path):
    marker = tmp_path / "executed"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    text = changed_json(config, "data", path=code)
    assert from_json(text).data.path == code
    with pytest.raises(InputError):
        from_json(code)
    assert not marker.exists()


def test_whole_numbers_are_taken_where_fractions_are_meant(config):
    assert (
        from_json(changed_json(config, "decoding", length_penalty=1)).decoding.length_penalty == 1
    )


# Files.


def test_every_configuration_of_the_repository_loads():
    assert CONFIGS
    for path in CONFIGS:
        config = load_config(path)
        assert from_json(to_json(config)) == config
        # What is longer than what it was trained on, a model translates badly.
        assert config.decoding.max_source_length == max(64, config.data.max_source_length)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config = (", "SyntaxError"),
        ("x = 3", "config = Config"),
        ("config = 3", "config = Config"),
        ("from nmt.config import *\nconfig = DataConfig('de', 'en')", "config = Config"),
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(0)", "SystemExit"),
        (FILE.replace("num_steps=5000", "steps=5000"), "steps"),
        (FILE.replace("num_steps=5000", "num_steps=0"), "training.num_steps"),
    ],
)
def test_a_wrong_file_is_an_error_in_one_line(file, text, expected):
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        load_config(file)
    message = one_line(raised)
    assert message.startswith(f"{file}: ")
    assert expected in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("num_steps=5000", "num_steps='5000'", "training.num_steps"),
        ("batch_tokens=1280", "batch_tokens=None", "training.batch_tokens"),
        ('path="somewhere"', "path=3", "data.path"),
        ('"de"', "3", "data.source_language"),
    ],
)
def test_a_wrong_type_in_a_file_is_named(file, old, new, expected):
    # In a process of its own: here the types of all calls are checked before they are made.
    file.write_text(FILE.replace(old, new))
    code = "import sys; from nmt.config import load_config; load_config(sys.argv[1])"
    command = [sys.executable, "-c", code, str(file)]
    message = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr
    last = message.strip().splitlines()[-1]
    assert last.startswith(f"nmt.config.InputError: {file}: ")
    assert expected in last


def test_what_is_no_python_file_is_not_run(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{}")
    with pytest.raises(InputError, match=r"config\.json: .*a configuration is a \.py file"):
        load_config(path)


def test_a_missing_file_is_an_error_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"none\.py") as raised:
        load_config(tmp_path / "none.py")
    one_line(raised)


def test_a_configuration_builds_on_another(file):
    child = file.with_name("child.py")
    child.write_text(
        "import dataclasses\nfrom pathlib import Path\nfrom nmt.config import *\n"
        "base = load_config(Path(__file__).with_name('small.py'))\n"
        "model = dataclasses.replace(base.model, num_layers=2)\n"
        "config = dataclasses.replace(base, model=model)\n"
    )
    changed = differences(load_config(file), load_config(child))
    assert list(changed) == [("model.num_layers", 6, 2)]
    file.write_text("config = 3")
    with pytest.raises(InputError, match=r"small\.py: ") as raised:
        load_config(child)
    one_line(raised)


def test_differences_name_every_field_that_differs(config):
    assert list(differences(config, config)) == []
    other = dataclasses.replace(
        config,
        training=dataclasses.replace(config.training, seed=3, num_steps=9001),
        tokenizer=TokenizerConfig(shared=False),
    )
    assert sorted(differences(config, other)) == [
        ("tokenizer.shared", True, False),
        ("training.num_steps", 9000, 9001),
        ("training.seed", 0, 3),
    ]


def test_another_family_is_one_difference(config):
    other = dataclasses.replace(config, model=RecurrentConfig())
    names = "TransformerConfig", "RecurrentConfig"
    assert list(differences(config, other)) == [("model", *names)]


@pytest.mark.parametrize(
    ("cls", "name"),
    [(TransformerConfig, "emb_dim"), (DecodingConfig, "beam_size"), (TokenizerConfig, "shared")],
)
def test_configurations_are_frozen(cls, name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(cls(), name, 3)


# The command line.


def test_the_command_line_changes_single_fields_of_the_file(file):
    flags = (
        "--model.emb-dim 64 --model.num-heads 4 --training.num-steps 7000 --model.norm pre "
        "--optimizer.learning-rate 2e-3 --tokenizer.no-shared --data.path None "
        "--data.grammar-sizes 5 6 7 --workdir /tmp/elsewhere"
    )
    config, workdir = parse_command_line(["--config", str(file), *flags.split()], "no default")
    assert workdir == Path("/tmp/elsewhere")
    base = load_config(file)
    assert {name: new for name, _, new in differences(base, config)} == {
        "model.emb_dim": 64,
        "model.num_heads": 4,
        "training.num_steps": 7000,
        "model.norm": "pre",
        "optimizer.learning_rate": 2e-3,
        "tokenizer.shared": False,
        "data.path": None,
        "data.grammar_sizes": (5, 6, 7),
    }
    assert type(config) is Config
    assert from_json(to_json(config)) == config


def test_the_file_chooses_the_family_of_the_model(file, capsys):
    file.write_text(
        "from dataclasses import replace\nfrom nmt.config import *\n"
        f"base = load_config({str(CONFIGS[0])!r})\n"
        "config = replace(base, model=RecurrentConfig(attention='general'))\n"
    )
    flags = ["--config", str(file), "--model.hidden-dim", "64", "--model.attention", "None"]
    config, _ = parse_command_line(flags, "no default")
    assert config.model == RecurrentConfig(hidden_dim=64, attention=None)
    for wrong in ("--model.num-heads", "--model.mlp-dim"):
        with pytest.raises(SystemExit) as raised:
            parse_command_line([*flags, wrong, "8"], "no default")
        assert raised.value.code == 2
        assert wrong in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_command_line([*flags, "--help"], "no default")
    text = " ".join(capsys.readouterr().out.split())
    assert "--model.attention" in text
    assert "default: general" in text
    assert "num-heads" not in text


def test_without_flags_the_default_file_and_its_name_are_taken(file):
    assert parse_command_line([], file) == (load_config(file), Path("runs/small"))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model.embdim", "64"], "--model.emb-dim"),
        (["--trainig.seed", "1"], "--training.seed"),
        (["--model.emb-dim", "many"], "many"),
        (["--model.emb-dim", "7.5"], "7.5"),
        (["--model.norm", "both"], "both"),
        (["--training.num-steps", "0"], "training.num_steps"),
        (["--optimizer.warmup-steps", "6000"], "optimizer.warmup_steps"),
        (["stray"], "stray"),
        (["--workdir"], "workdir"),
    ],
)
def test_a_wrong_flag_exits_with_2_and_says_why(file, flags, expected, capsys):
    with pytest.raises(SystemExit) as raised:
        parse_command_line(["--config", str(file), *flags], "no default")
    assert raised.value.code == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert "Traceback" not in captured.err
    assert not captured.out


def test_a_wrong_file_of_the_command_line_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.py"):
        parse_command_line(["--config", str(tmp_path / "none.py")], "no default")


def test_help_describes_every_field_and_shows_the_files_values(file, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")  # one column of flags
    with pytest.raises(SystemExit) as raised:
        parse_command_line(["--config", str(file), "--help"], "no default")
    assert raised.value.code == 0
    text = re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out)
    assert "somewhere" in text
    flags = [f"--{name.replace('_', '-')}" for name in all_fields()] + ["--config", "--workdir"]
    descriptions = set()
    for flag in flags:
        negated = flag.replace(".", ".no-")
        # From this flag to the next: its metavar, its description, its default.
        match = re.search(rf"{re.escape(flag)}(?![\w-])(.*?)(?=\n\s*--|\Z)", text, re.DOTALL)
        assert match, flag
        described = match[1].replace(negated, "")
        described = re.sub(r"\{.*?\}|\((default|fixed|required).*?\)|\b[A-Z|]+\b", " ", described)
        assert len(re.findall(r"[a-z]{2,}", described)) >= 3, (flag, match[0])
        descriptions.add(" ".join(described.split()))
    # A field without a comment of its own would be given that of the field above it.
    assert len(descriptions) == len(flags)


def test_keywords_of_a_search_are_its_options():
    fields = {field.name for field in dataclasses.fields(SearchOptions)}
    assert get_type_hints(SearchKeywords) == {
        name: kind for name, kind in get_type_hints(SearchOptions).items() if name in fields
    }
    assert SearchKeywords.__required_keys__ == frozenset()
