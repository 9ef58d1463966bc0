"""One small run on the embedded corpus, from training to translation, and what can befall it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from kill_and_resume import differences, read_events, without_wall_times
from sacrebleu.metrics import BLEU, CHRF
from small_run import CONFIG

import nmt
from nmt import checkpoint, parallel
from nmt.config import (
    Config,
    InputError,
    OptimizerConfig,
    RecurrentConfig,
    TokenizerConfig,
    to_json,
)
from nmt.data import tokenizer
from nmt.data.corpora import load_corpus
from nmt.decoding.alignment import Aligner
from nmt.decoding.translation import split_line
from nmt.evaluation.metrics import Measure
from nmt.models.seq2seq import build, init_params
from nmt.training.history import read_history
from nmt.training.loop import train

ROOT = Path(__file__).parents[1]


def test_a_run_leaves_what_the_documentation_says(run):
    names = {path.name for path in run.iterdir()}
    assert names == {
        "alignment.json",
        "attention.png",
        "checkpoints",
        "config.json",
        "data.json",
        "events",
        "learning_curve.png",
        "metrics.jsonl",
        "summary.json",
        "tokenizer.model",
        "translations.txt",
    }
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 12
    assert {"bleu", "chrf", "signature", "seconds", "tokens_per_second"} < summary.keys()
    assert 0 < summary["alignment_error_rate"] < 1
    chosen = json.loads((run / "alignment.json").read_text())
    assert nmt.load(run).aligner == Aligner(chosen["layer"], chosen["head"])
    assert summary["parameters"] == sum(x.size for x in jax.tree.leaves(nmt.load(run).params))
    assert len((run / "translations.txt").read_text().splitlines()) == 12
    data = json.loads((run / "data.json").read_text())
    assert data.pop("sha256").keys() == {"train", "dev", "test"}
    translator = nmt.load(run)
    source, target = load_corpus(translator.config.data).train
    sources = translator.tokenizer.encode_source(source)
    targets = translator.tokenizer.encode_target(target)
    too_long = sum(max(map(len, pair)) > 64 for pair in zip(sources, targets, strict=True))
    assert data == {"pairs": 400, "empty": 0, "too_long": too_long}
    assert too_long


def test_history_holds_each_record_once(run):
    records = [(record["step"], record["kind"]) for record in read_history(run)]
    assert records == [(5, "train"), (6, "dev"), (10, "train"), (12, "train"), (12, "dev")]


def test_event_files_hold_the_history(run):
    expected = [
        (f"{record['kind']}/{name}", record["step"], pytest.approx(value, rel=1e-6))
        for record in read_history(run)
        for name, value in record.items()
        if name not in ("step", "kind", "time")
    ]
    assert read_events(run) == expected


def test_dev_measures_are_those_of_each_sentence_alone(run):
    latest = nmt.load(run, "latest")
    vocabulary, dev = latest.tokenizer, load_corpus(CONFIG.data).dev
    params = jax.device_get(latest.params)

    @jax.jit
    def forward(*arrays):
        output = latest.model.apply({"params": params}, *arrays, deterministic=True)
        return jax.nn.log_softmax(output.logits)[0]

    loss, correct, tokens = 0.0, 0, 0
    for source, target in zip(*map(vocabulary.encode_source, dev), strict=True):
        arrays = [
            np.pad(row, (0, 128 - len(row)))[None]  # one shape
            for ids in (source, [vocabulary.bos_id, *target[:-1]])
            for row in (np.array(ids), np.ones(len(ids), int), np.arange(len(ids)))
        ]
        log_probs = np.asarray(forward(*arrays))[: len(target)]
        loss -= log_probs[np.arange(len(target)), target].sum()
        correct += (log_probs.argmax(-1) == target).sum()
        tokens += len(target)
    texts = [t.text for t in latest.translate(dev.source, beam_size=1)]
    record = read_history(run)[-1]
    assert record["kind"] == "dev"
    assert record["loss"] == pytest.approx(loss / tokens, rel=1e-4)
    assert record["perplexity"] == pytest.approx(np.exp(loss / tokens), rel=1e-3)
    assert record["accuracy"] == correct / tokens
    assert record["bleu"] == BLEU().corpus_score(texts, [dev.target]).score
    assert record["chrf"] == CHRF().corpus_score(texts, [dev.target]).score


def test_the_best_parameters_are_kept_translate_test_and_are_loaded(tmp_path, monkeypatch):
    scores = iter([0.0, 30.0, 20.0, 10.0])  # of a trial, dev at steps 6 and 12, and test
    monkeypatch.setattr(
        "nmt.training.loop.corpus_scores",
        lambda *_: [Measure("BLEU", next(scores), "none"), Measure("chrF2", 0.0, "none")],
    )
    assert train(CONFIG, tmp_path)["bleu"] == 10.0
    best, latest, sixth = (nmt.load(tmp_path, which) for which in ("best", "latest", 6))
    jax.tree.map(np.testing.assert_array_equal, best.params, sixth.params)
    test = load_corpus(CONFIG.data).test.source
    lines = (tmp_path / "translations.txt").read_text().splitlines()
    assert lines == [t.text for t in best.translate_lines(test)]
    assert lines != [t.text for t in best.with_params(latest.params).translate_lines(test)]


def test_evaluation_compiles_nothing_after_the_first_step(tmp_path, monkeypatch, caplog):
    from nmt.training import loop

    make_evaluate = loop.make_evaluate

    def make_watched(run, params):
        line = " ".join([*run.splits.dev.source, *run.splits.dev.source])  # to be split
        dev = run.splits.dev._replace(source=[line] * len(run.splits.dev.source))
        run = run._replace(splits=run.splits._replace(dev=dev))
        evaluate = counting(make_evaluate)(run, params)
        translators.append((run.translator, list(run.translator.compiled)))
        return counting(evaluate)

    def counting(function):
        def counted(*args):
            caplog.clear()
            with jax.log_compiles():
                result = function(*args)
            compiled.append(sum(m.startswith("Compiling") for m in caplog.messages))
            return result

        return counted

    compiled: list[int] = []
    translators: list[tuple[nmt.Translator, list]] = []
    monkeypatch.setattr(loop, "make_evaluate", make_watched)
    train(replace(CONFIG, decoding=replace(CONFIG.decoding, beam_size=2)), tmp_path)
    assert compiled[0] >= 2
    assert compiled[1:] == [0, 0]
    # Nor does the translation of test, by its beam, nor that of the sentence that is drawn. What
    # aligns words does, a forward pass that needs less than a training step.
    ((translator, before),) = translators
    assert [x for x in translator.compiled if x[0] != "cross_attention"] == before
    lengths = [length for _, (_, length) in before]
    assert len(lengths) > len(set(lengths))  # greedy and beam of the same


def test_a_finished_run_does_not_train_again(run):
    before = {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*")}
    assert train(CONFIG, run) == json.loads((run / "summary.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in (run / "checkpoints").rglob("*")} == before


def test_a_different_configuration_is_refused_by_name(run, capsys):
    other = replace(CONFIG, model=replace(CONFIG.model, dropout_rate=0.2))
    with pytest.raises(InputError, match="another configuration"):
        train(other, run)
    assert "model.dropout_rate: this run has 0.1, now given 0.2" in capsys.readouterr().err
    assert checkpoint.read_config(run) == CONFIG


def test_a_mistake_does_not_claim_the_folder(tmp_path):
    mistaken = replace(CONFIG, data=replace(CONFIG.data, path=str(tmp_path / "nowhere")))
    small = replace(CONFIG, tokenizer=TokenizerConfig(vocab_size=262))
    for config, message in ((mistaken, "nowhere"), (small, "vocab_size"), (mistaken, "nowhere")):
        with pytest.raises(InputError, match=message):
            train(config, tmp_path / "run")


def test_fewer_steps_are_refused(run):
    fewer = replace(CONFIG, training=replace(CONFIG.training, num_steps=8))
    with pytest.raises(InputError, match="another configuration"):
        train(fewer, run)


def text_config(folder, sources):
    folder.mkdir(exist_ok=True)
    for split in ("train", "dev", "test"):
        for language in ("en", "pt"):
            (folder / f"{split}.{language}").write_text("\n".join(sources) + "\n")
    return replace(CONFIG, data=replace(CONFIG.data, path=str(folder)))


def test_a_run_goes_on_only_with_its_own_text_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr("nmt.training.loop.take_steps", lambda *_: pytest.skip("went on"))
    lines = [f"The boy sees {number} red houses, and she sleeps." for number in range(60)]
    config = text_config(tmp_path / "here", lines)
    with pytest.raises(pytest.skip.Exception):
        train(config, tmp_path / "run")
    moved = text_config(tmp_path / "there", lines)
    with pytest.raises(pytest.skip.Exception):
        train(moved, tmp_path / "run")
    text_config(tmp_path / "there", [*lines[:-1], "Something else."])
    with pytest.raises(InputError, match="text of train, dev, test is not that"):
        train(moved, tmp_path / "run")


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, monkeypatch):
    config = replace(CONFIG, optimizer=OptimizerConfig(learning_rate=1e30, warmup_steps=1))
    with pytest.raises(InputError, match=r"step \d+: the loss is (nan|inf)"):
        train(config, tmp_path)


class InterruptionError(Exception):
    """Stands for whatever ends a process."""


def train_interrupted(config: Config, workdir: Path, *steps: int) -> None:
    """Trains; something breaks as each of some steps is taken; trains again, to the end."""
    from nmt.training import loop

    count = loop.count
    for at in steps:

        def interrupt(progress, step, at=at):
            if step.number == at:
                raise InterruptionError
            return count(progress, step)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "count", interrupt)
            with pytest.raises(InterruptionError):
                train(config, workdir)
    train(config, workdir)


def test_an_interrupted_run_ends_as_one_left_alone(run, tmp_path):
    train_interrupted(CONFIG, tmp_path, 3, 7, 11)  # before anything is saved, and behind steps 4, 8
    assert list(differences(run, tmp_path)) == []


def test_a_run_killed_behind_its_last_checkpoint_loses_no_event(run, tmp_path):
    # The process was killed before the event files held what it had buffered.
    shutil.copytree(run, tmp_path / "run")
    for name in ("summary.json", "translations.txt"):
        (tmp_path / "run" / name).unlink()
    for path in (tmp_path / "run" / "events").iterdir():
        path.write_bytes(b"")
    train(CONFIG, tmp_path / "run")
    assert list(differences(run, tmp_path / "run")) == []


RECURRENT = replace(
    CONFIG,
    data=replace(CONFIG.data, max_source_length=16, max_target_length=16),
    model=RecurrentConfig(emb_dim=8, hidden_dim=16, encoder_dim=8, readout_dim=8, dropout_rate=0.1),
)
ALIGNED = {"alignment.json", "attention.png"}


def test_a_recurrent_model_trains_in_buckets(tmp_path, monkeypatch, capsys, caplog):
    def split_global(batch):
        assert batch.source_segments.max() == 1
        met.add((*batch.source.shape, batch.labels.shape[1]))
        return split(batch)

    met: set[tuple[int, ...]] = set()
    split = parallel.split_global
    monkeypatch.setattr(parallel, "split_global", split_global)
    config = replace(RECURRENT, training=replace(CONFIG.training, micro_batches=3))
    with jax.log_compiles():
        summary = train(config, tmp_path / "alone")
    assert "alignment_error_rate" in summary
    assert {path.name for path in (tmp_path / "alone").iterdir()} >= ALIGNED
    assert nmt.load(tmp_path / "alone").config == config
    # 512 // 8 = 64 rows, 42 and 32, filled up for 8 devices of 3 micro-batches.
    shapes = [(72, 8, 8), (48, 12, 12), (48, 16, 16)]
    assert f"training compiles at most 3 shape(s): {shapes}" in capsys.readouterr().err
    assert met <= set(shapes)
    # pmap drops names: the step is known by its first argument, the number of steps taken.
    compiled = [
        re.match(r"Compiling jit\(_fun\) .*? types \(ShapedArray\(int32\[\]\)", m)
        for m in caplog.messages
    ]
    assert len(list(filter(None, compiled))) == len(met) > 1
    train_interrupted(config, tmp_path / "interrupted", 7)
    assert list(differences(tmp_path / "alone", tmp_path / "interrupted")) == []


def test_a_model_without_attention_leaves_a_run_without_alignments(tmp_path, capsys):
    config = replace(RECURRENT, model=replace(RECURRENT.model, attention=None))
    assert "alignment_error_rate" not in train(config, tmp_path)
    assert not ALIGNED & {path.name for path in tmp_path.iterdir()}
    assert nmt.load(tmp_path).config == config
    with pytest.raises(InputError, match="another configuration"):
        train(replace(RECURRENT, model=CONFIG.model), tmp_path)
    assert "model: this run has 'RecurrentConfig', now given 'Trans" in capsys.readouterr().err


def test_a_killed_process_resumes(run, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(
        f"from nmt.config import from_json\nconfig = from_json({to_json(CONFIG)!r})\n"
    )
    workdir, args = tmp_path / "run", ["--config", str(config)]
    command = [sys.executable, ROOT / "train.py", *args, "--workdir", workdir]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            if line.startswith(b"step 5"):
                process.kill()
    assert not (workdir / "summary.json").exists()
    train(CONFIG, workdir)
    assert list(differences(run, workdir)) == []


def test_more_steps_go_on_where_the_schedule_allows(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    longer = replace(CONFIG, training=replace(CONFIG.training, num_steps=14))
    assert train(longer, tmp_path / "run")["steps"] == 14
    assert [r["step"] for r in read_history(tmp_path / "run")][-2:] == [14, 14]


def load_or_error(workdir):
    try:
        return None, jax.device_get(nmt.load(workdir).params)
    except InputError as error:
        return str(error), None


# orbax leaves the exceptions of its other reads to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_flipped_bit_is_found_and_named(run, tmp_path):
    intact = jax.device_get(nmt.load(run).params)
    shutil.copytree(run, tmp_path / "run")
    found = 0
    for path in sorted((tmp_path / "run" / "checkpoints").rglob("params/**/d/*")):
        data = path.read_bytes()
        for place in range(100, len(data), len(data) // 6 + 1):
            path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            error, loaded = load_or_error(tmp_path / "run")
            if error is None:  # a bit of an index that nothing reads
                jax.tree.map(np.testing.assert_array_equal, loaded, intact)
            else:
                assert re.fullmatch(r"\S*checkpoints/12: .*", error)
                found += "is damaged: it differs from the digest" in error
        path.write_bytes(data)
    assert found > 3


# orbax leaves the exceptions of its other reads to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("checkpoints/12/metrics/metrics", lambda _: b"", "checkpoints: metrics cannot be read"),
        ("checkpoints/12/metrics/metrics", lambda _: b"\xff", "metrics cannot be read"),
        ("checkpoints/12/metrics/metrics", lambda _: b"{}", "metrics cannot be read"),
        (
            "checkpoints/12/metrics/metrics",
            lambda data: data.replace(b": ", b": 9", 1),
            r"checkpoints: metrics cannot be read: .*the score is 9.*, which differs from its",
        ),
        (
            "tokenizer.model",
            lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
            "tokenizer.model is damaged: it differs from the digest",
        ),
        (
            "config.json",
            lambda data: data.replace(b'"norm": "post"', b'"norm": "pre"'),
            r"config.json: model.norm is 'pre', and was 'post' when checkpoint 12 was saved: it is",
        ),
        (
            "config.json",
            lambda data: data.replace(b'"mlp_dim": 32', b'"mlp_dim": 64'),
            r"config.json: model.mlp_dim is 64, and was 32 when checkpoint 12 was saved: it is",
        ),
    ],
)
def test_a_damaged_or_edited_file_is_named(path, change, message, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    data = (tmp_path / "run" / path).read_bytes()
    (tmp_path / "run" / path).write_bytes(change(data))
    assert change(data) != data
    error, _ = load_or_error(tmp_path / "run")
    assert re.search(message, error)
    assert "\n" not in error


def test_parameters_of_another_model_are_refused(run, monkeypatch):
    params = nmt.load(run).params
    table = params["target_embedding"]["embedding"]
    monkeypatch.setattr(checkpoint.Checkpoints, "params", lambda *_: params)
    params["target_embedding"]["embedding"] = table[:, :8]
    error, _ = load_or_error(run)
    assert "the parameter ['target_embedding']['embedding'] has the shape" in error
    assert "8) in the checkpoint and has the shape" in error
    del params["target_embedding"]
    error, _ = load_or_error(run)
    assert "['target_embedding']['embedding'] does not exist in the checkpoint and has" in error


def test_parameters_that_are_not_finite_are_refused(run, monkeypatch):
    params = nmt.load(run).params
    params["target_embedding"]["embedding"] = params["target_embedding"]["embedding"] * np.nan
    monkeypatch.setattr(checkpoint.Checkpoints, "params", lambda *_: params)
    error, _ = load_or_error(run)
    assert "not all values of the parameter ['target_embedding']['embedding'] are finite" in error


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("summary.json", b"{}", "summary.json: steps is None; expected int"),
        ("summary.json", b'{"steps": "x"}', "summary.json: steps is 'x'; expected int"),
        ("data.json", b"{}", "data.json: sha256 is None; expected dict"),
        ("data.json", b"[]", "data.json: sha256 is None; expected dict"),
        ("metrics.jsonl", b"5\n", "metrics.jsonl: not a record a line"),
        ("metrics.jsonl", b"\xff\n", "metrics.jsonl: not a record a line"),
    ],
)
def test_going_on_from_a_damaged_folder_names_the_file(name, data, message, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    if name != "summary.json":
        (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "run" / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        train(CONFIG, tmp_path / "run")


def test_translations_do_not_depend_on_company_or_order(translator):
    sentences = ["The boy sleeps.", "", "The old woman sees a red house and the cat.", "  "] * 5
    together = translator.translate(sentences)
    assert [t.text for t in together[1::2]] == [""] * 10
    alone = [translator.translate([sentence])[0] for sentence in sentences[:4]]
    assert together == alone * 5
    assert translator.translate(sentences[::-1]) == together[::-1]


def test_too_long_a_sentence_is_an_error_and_a_line_is_split(translator):
    line = "The old woman sees a red house. " * 30
    with pytest.raises(ValueError, match=r"sentence 0: .*max_source_length 64"):
        translator.translate([line])
    assert len(list(translator.translate_lines([line, "", "x" * 5000, "A \u2028 b"]))) == 4


def test_nothing_is_compiled_after_warming_up(run, caplog):
    translator = nmt.load(run)
    counts = []
    with jax.log_compiles():
        for call in (
            translator.warm_up,
            lambda: translator.translate(["a " * n for n in (1, 9, 25)], length_penalty=1.0),
        ):
            caplog.clear()
            call()
            counts.append(sum(m.startswith("Compiling") for m in caplog.messages))
    assert counts[0] >= len(translator.shapes())
    assert counts[1] == 0


def test_learned_positions_reach_the_largest_bucket():
    # A length between two powers of two, with as many positions as the configuration asks for.
    config = replace(
        CONFIG,
        decoding=replace(CONFIG.decoding, max_source_length=80),
        model=replace(CONFIG.model, learned_positions=130),
    )
    vocabulary = tokenizer.train(TokenizerConfig(vocab_size=270), ["a b c"] * 9, ["b a c"] * 9)
    model = build(config.model, vocabulary.vocab_sizes, vocabulary.shared)
    params = init_params(model, jax.random.key(0))
    translator = nmt.Translator(model, params, vocabulary, config)
    assert translator.shapes()[-1][1] == 80
    sentence = "d" * 70  # bytes
    assert 64 < len(vocabulary.encode_source([sentence])[0]) <= 80
    assert np.isfinite(translator.translate([sentence])[0].score)


@pytest.mark.parametrize("option", [{"beam_size": 0}, {"beam_size": -1}, {"length_penalty": -1.0}])
def test_options_out_of_range_are_named(option, translator):
    with pytest.raises(ValueError, match=next(iter(option))):
        translator.translate(["The boy sleeps."], **option)


def test_one_string_is_not_taken_for_its_characters(translator):
    with pytest.raises(ValueError, match="expected a sequence"):
        translator.translate("The boy sleeps.")


@pytest.mark.parametrize(
    "text", ["One. Two. Three. Four.", "one two three four", "onetwothree", "a"]
)
def test_split_line_loses_nothing(text):
    parts = split_line(text, lambda part: len(part) <= 6)
    assert all(len(part) <= 6 for part in parts)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


def test_declared_shapes_cover_what_may_be_translated(translator):
    devices = jax.local_device_count()
    assert translator.shapes() == [(4 * devices, 16), (3 * devices, 32), (2 * devices, 64)]


# Two processes, a device each, that train together as two hosts would.


def start_train(
    config: Path, workdir: Path, devices: int, **environment: str
) -> subprocess.Popen[bytes]:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, ROOT / "train.py", "--config", config, "--workdir", workdir],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "XLA_FLAGS": flags, **environment},
    )


def wait(process: subprocess.Popen[bytes]) -> str:
    output = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, output
    return output


def test_two_hosts_train_as_one_with_as_many_devices(tmp_path: Path):
    config, text = tmp_path / "config.py", to_json(CONFIG)
    config.write_text(f"from nmt.config import from_json\nconfig = from_json({text!r})\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hosts = [
        start_train(
            config,
            tmp_path / "two",
            devices=1,
            JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(number),
        )
        for number in range(2)
    ]
    outputs = [wait(process) for process in hosts]
    wait(start_train(config, tmp_path / "one", devices=2))
    # Parameters, optimizer, position and translations are the same to the bit. Dev is measured by
    # each host alone, on one device or on two, so its sums may round differently.
    assert set(differences(tmp_path / "one", tmp_path / "two")) <= {"metrics.jsonl"}
    histories = [read_history(tmp_path / name) for name in ("one", "two")]
    for one, two in zip(*histories, strict=True):
        assert one.pop("kind") == two.pop("kind")
        assert without_wall_times(two) == pytest.approx(without_wall_times(one), rel=1e-4)
    assert len(histories[0]) == 5
    assert any((tmp_path / "two" / "events").iterdir())
    assert '"bleu"' in outputs[0]
    assert "step" not in outputs[1]
