"""The `nmt` command: what it reads and writes, and what it makes of what tries to break it."""

import dataclasses
import errno
import functools
import inspect
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest.mock import MagicMock

import pytest

import nmt
from nmt import cli, parallel, progress
from nmt.config import InputError, SearchOptions
from nmt.decoding.translation import Translation

COMMAND = [sys.executable, "-m", "nmt"]


class Result(NamedTuple):
    status: int
    out: bytes
    err: str


@pytest.fixture(scope="module")
def loaded() -> Callable[..., nmt.Translator]:
    """Loads a folder once: most commands here use the same."""
    return functools.cache(nmt.load)


@pytest.fixture
def command(monkeypatch, capsys, loaded):
    """Runs the command in this process."""
    monkeypatch.setattr(cli, "load", loaded)

    def call(*arguments: object, text: str | bytes = b"", out: io.BytesIO | None = None) -> Result:
        data = text.encode() if isinstance(text, str) else text
        out = out or io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["nmt", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))
            patch.setattr(sys, "unraisablehook", sys.unraisablehook)
            status = cli.main()
            return Result(status, out.getvalue(), capsys.readouterr().err)

    return call


def in_a_process(
    *arguments: object, text: str, environment: Mapping[str, str] = os.environ
) -> Result:
    """Runs the command in a process of its own."""
    command = [*COMMAND, *map(str, arguments)]
    process = subprocess.run(
        command, input=text.encode(), env=environment, capture_output=True, check=False
    )
    return Result(process.returncode, process.stdout, process.stderr.decode())


MAYBE_CUT = (
    r"warning: \d+ translation.s. are as long as they may be, and perhaps cut there; the first"
)
"""What is said of a model that was trained too little to end its sentences."""


def mistakes(result: Result) -> list[str]:
    """What is said beside what is always said."""
    assert b"Traceback" not in result.out
    assert "Traceback" not in result.err
    usual = "compiles at most |translated |score: |align: |" + MAYBE_CUT
    return [line for line in result.err.splitlines() if not re.match(usual, line)]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_explains_every_option_in_lines_as_wide_as_the_terminal(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "2000")
    monkeypatch.setattr(sys, "argv", ["nmt", name, "--help"])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert raised.value.code == 0
    text = capsys.readouterr().out
    options = [*inspect.signature(cli.COMMANDS[name]).parameters]
    explained = explanations(cli.COMMANDS[name])
    if "options" in options:
        options.remove("options")
        options += [field.name for field in dataclasses.fields(SearchOptions)]
        explained |= explanations(SearchOptions)
    for option in options:
        assert re.search(rf"{re.escape(explained[option])} \((default: |required\))", text), option


def explanations(documented: Callable) -> dict[str, str]:
    """What a docstring says of each argument or attribute."""
    found = re.findall(r"^( +)(\w+): (.*(?:\n\1 +.*)*)", inspect.getdoc(documented), re.MULTILINE)
    return {name: " ".join(text.split()) for _, name, text in found}


# Reading and writing.


def test_a_line_for_each_line_and_what_was_compiled_is_kept(run, translator, tmp_path):
    lines = [
        "The boy sleeps.",
        "",
        "a\x00b\x0bc\u2028d\u0085e",
        "\ufeffThe girls",
        "日本語 🙂",
        "end",
    ]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    text = "\r\n".join(lines)
    result = in_a_process("translate", "--workdir", run, text=text, environment=environment)
    assert result.status == 0, result.err
    if sys.platform == "linux":
        assert any((tmp_path / "nmt" / "compiled").iterdir())
    expected = [t.text for t in translator.translate_lines(lines)]
    assert result.out.decode().split("\n")[:-1] == expected
    shapes, counts, maybe_cut = result.err.splitlines()
    assert shapes.startswith("compiles at most 3 shapes of search: ")
    assert counts == "translated 6 lines; compiled: 2 search"  # the largest is always one
    cut = [number for number, t in enumerate(translator.translate_lines(lines), 1) if t.cut]
    assert maybe_cut == (
        f"warning: {len(cut)} translation(s) are as long as they may be, and perhaps cut there; "
        f"the first of them is line {cut[0]}"
    )


def test_files_in_files_out_and_all_that_is_known_as_json(run, translator, tmp_path, command):
    lines = ["The boy sleeps.", "", "The old woman sees a red house. " * 9]
    source, output, links = (tmp_path / name for name in ("source", "output", "links"))
    source.write_text("\n".join(lines))
    result = command(
        *("translate", "--workdir", run, "--input", source, "--output", output),
        *("--format", "json", "--beam-size", 2, "--n-best", 2, "--alignments", links),
    )
    assert (result.status, result.out) == (0, b"")
    assert mistakes(result) == [
        "warning: 1 line(s) of more pieces than fit (decoding.max_source_length 64) were split, "
        "the first of them line 3"
    ]
    expected = list(translator.translate_lines(lines, beam_size=2, n_best=2, alignments=True))
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [x["text"] for x in found] == [t.text for t in expected]
    assert [x["overlong"] for x in found] == [False, False, True]
    assert [x["alternatives"][0]["score"] for x in (found[0], found[2])] == [
        t.alternatives[0].score for t in (expected[0], expected[2])
    ]
    assert [[tuple(link) for link in x["alignment"]] for x in found] == [
        list(t.alignment) for t in expected
    ]
    assert links.read_text().splitlines() == [
        " ".join(f"{s}-{t}" for s, t in translation.alignment) for translation in expected
    ]
    assert links.read_text().splitlines()[1] == ""


def test_blank_lines_of_pairs_stay_blank(run, translator, command):
    pairs = [("The boy sleeps.", "O menino dorme."), ("Maria!", "")]
    text = "".join(f"{source}\t{target}\n \n" for source, target in pairs)
    scored = command("score", "--workdir", run, text=text).out.decode().split("\n")
    assert (scored[1], scored[3:]) == ("", ["", ""])
    assert [float(x) for x in scored[:3:2]] == pytest.approx(
        [t.score for t in translator.score(pairs)], abs=1e-6
    )
    scored = command("score", "--workdir", run, "--format", "json", text=text).out.splitlines()
    assert [len(json.loads(line)["token_log_probs"]) > 0 for line in scored] == [1, 0, 1, 0]
    aligned = command("align", "--workdir", run, text=text).out.decode()
    assert [len(line.split()) for line in aligned.split("\n")[:-1]] == [3, 0, 0, 0]
    for subcommand in ("score", "align"):
        blank = command(subcommand, "--workdir", run, text="\n\r\n  \n\ufeff\n")
        assert (blank.status, blank.out) == (0, b"\n\n\n\n")


def test_given_translations_are_scored_and_aligned(run, translator, tmp_path, command):
    pairs = [("The boy sleeps.", "O menino dorme."), ("", ""), ("The cat  sleeps", "O gato\u00a0")]
    text = "".join(f"{source}\t{target}\n" for source, target in pairs)
    result = command("score", "--workdir", run, text=text)
    assert [float(line) for line in result.out.split()] == pytest.approx(
        [t.score for t in translator.score(pairs)], abs=1e-6
    )
    options = "--length-penalty", 1, "--length-offset", 0
    averages = command("score", "--workdir", run, *options, text=text)
    expected = translator.score(pairs, length_penalty=1.0, length_offset=0.0)
    assert [float(line) for line in averages.out.split()] == pytest.approx(
        [t.score for t in expected], abs=1e-6
    )
    shapes = f"{translator.shapes()} (rows, source pieces)"
    declared, counted = result.err.splitlines()
    assert declared == f"compiles at most 3 shapes of force: {shapes}"
    assert counted.startswith("score: 3 lines; compiled: ")
    assert " 2 force" in counted  # the shortest and the longest are always compiled
    result = command("align", "--workdir", run, text=text)
    declared, counted = result.err.splitlines()
    assert declared == f"compiles at most 3 shapes of cross_attention: {shapes}"
    assert counted.startswith("align: 3 lines; compiled: ")
    assert " cross_attention" in counted
    found = translator.align(pairs)
    assert result.out.decode() == "".join(
        " ".join(f"{s}-{t}" for s, t in links) + "\n" for links in found
    )
    assert [len(links) for links in found] == [3, 0, 2]  # one for each word of the target
    gold = tmp_path / "gold"
    s, t = found[0][0]
    gold.write_text(f"{s}-{t} {s}p{t + 1}\n\n\n")
    result = command("align", "--workdir", run, "--gold", gold, "--format", "json", text=text)
    assert [json.loads(line)["alignment"] for line in result.out.splitlines()] == [
        [list(link) for link in links] for links in found
    ]
    hits = 1 + 1 + ((s, t + 1) in found[0])
    assert mistakes(result) == [f"alignment error rate: {1 - hits / (5 + 1):.4f}"]
    gold.write_text("0-0\n")
    result = command("align", "--workdir", run, "--gold", gold, text=text)
    assert result.status == 2
    assert mistakes(result) == [f"error: {gold}: 1 line; expected 3, one for each line read"]
    gold.write_text("0-0\n0:0\n0-0\n")
    result = command("align", "--workdir", run, "--gold", gold, text=text)
    assert result.status == 2
    assert "gold, line 2: '0:0' is no link" in mistakes(result)[0]


def test_the_translation_that_agrees_most(run, command, monkeypatch):
    options = ("translate", "--workdir", run, "--samples", 5, "--format", "json")
    plain = command(*options, text="The boy sleeps.\n")
    chosen = command(*options, "--mbr", "chrf", text="The boy sleeps.\n")
    plain, chosen = (json.loads(result.out) for result in (plain, chosen))
    texts = [
        sorted(x["text"] for x in (found, *found["alternatives"])) for found in (plain, chosen)
    ]
    assert texts[0] == texts[1]
    weighed = MagicMock(wraps=cli.minimum_bayes_risk)
    monkeypatch.setattr(cli, "minimum_bayes_risk", weighed)
    for kind, sampled in ("--samples", True), ("--n-best", False):
        options = kind, 2, "--beam-size", 2, "--mbr", "bleu"
        result = command("translate", "--workdir", run, *options, text="The boy sleeps.\n")
        assert result.status == 0
        assert weighed.call_args.args[1:] == ("bleu",)
        assert weighed.call_args.kwargs == {"sampled": sampled}
    result = command("translate", "--workdir", run, "--mbr", "chrf")
    assert result.status == 2
    assert mistakes(result) == [
        "error: --mbr compares several translations; give --samples or --n-best"
    ]


def test_systems_are_measured_and_compared(run, translator, tmp_path, command):
    sources = ["The boy sleeps.", "The girl sees the old house of the woman in the city.", "Maria!"]
    references = ["O menino dorme bem.", "A menina vê a casa velha da mulher na cidade.", "Maria!"]
    files = {"source": sources, "references": references, "baseline": references}
    for name, lines in files.items():
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
    texts = [t.text for t in translator.translate(sources)]
    (tmp_path / "hypotheses").write_text("".join(text + "\n" for text in texts))
    given = [x for name in files for x in (f"--{name}", tmp_path / name)]
    picture = tmp_path / "lengths.png"
    result = command("evaluate", *given, "--workdir", run, "--format", "json", "--figure", picture)
    assert result.status == 0
    report = json.loads(result.out)
    assert report["num_sentences"] == 3
    assert [x["name"] for x in report["hypotheses"]] == ["BLEU", "chrF2", "TER"]
    assert [x["score"] for x in report["baseline"]] == pytest.approx([100, 100, 0])
    assert len(report["comparisons"]) == 6
    bins = report["bleu_by_source_words"]
    assert bins.keys() == {"hypotheses", "baseline"}
    for own in bins.values():
        assert [(x["start"], x["num_sentences"]) for x in own] == [(0, 2), (10, 1)]
    assert [x["bleu"] for x in bins["baseline"]] == pytest.approx([100, 100])
    assert picture.read_bytes().startswith(b"\x89PNG")
    precomputed = command(
        "evaluate", *given, "--hypotheses", tmp_path / "hypotheses", "--format", "json"
    )
    assert json.loads(precomputed.out) == report
    text, output = (tmp_path / "hypotheses").read_text(), tmp_path / "measures"
    piped = command("evaluate", *given, "--format", "json", "--output", output, text=text)
    assert (piped.status, piped.out) == (0, b"")
    assert json.loads(output.read_text()) == report
    (tmp_path / "source").write_text("\n".join([*sources[:2], "Maria! " * 90]))
    split = command("evaluate", *given, "--workdir", run)
    assert split.status == 0
    assert split.err.startswith("compiles at most 3 shapes of search")
    assert "1 line(s) of more pieces than fit" in mistakes(split)[0]
    table = command("evaluate", *given, "--hypotheses", tmp_path / "hypotheses").out.decode()
    assert f"hypotheses  chrF2  {report['hypotheses'][1]['score']:7.2f}  chrF2|nrefs:1" in table
    assert "baseline    BLEU  100.00  sources of 10-19 words, 1 sentences" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir", "run"], "give either --hypotheses, or --workdir and --source"),
        (["--workdir", "run", "--source", "two"], "run/config.json"),
        ([], "standard input: 0 lines; expected 2, as many as two has"),
        (["--hypotheses", "two", "--workdir", "run"], "give either --hypotheses, or --workdir"),
        (["--hypotheses", "one"], "one: 1 line; expected 2, as many as two has"),
        (["--hypotheses", "two", "--figure", "x.png"], "--figure needs --source"),
        (["--hypotheses", "two", "--source", "one", "--figure", "x"], "ends in .png, .pdf or .svg"),
        (
            ["--hypotheses", "two", "--source", "two", "--figure", "none/x.png"],
            "--figure is none/x.png; its folder does not exist",
        ),
        (
            ["--hypotheses", "two", "--source", "two", "--figure", "x.png"],
            "--figure is x.png, which is a",
        ),
        (["--hypotheses", "none"], "none: No such file"),
        (["--hypotheses", "two", "--precision", "int8"], "are for what --workdir translates"),
        (["--hypotheses", "two", "--beam-size", "2"], "are for what --workdir translates"),
        (["--checkpoint", "latest"], "are for what --workdir translates"),
        (["--workdir", "run", "--source", "two", "--n-best", "2"], "one translation of a line is"),
        (["--workdir", "run", "--source", "two", "--samples", "2"], "one translation of a line is"),
        (["--hypotheses", "two", "--language", "ja"], "pip install"),
        (["--hypotheses", "bytes"], "bytes, line 2: byte 1 is 0xff, which is not UTF-8"),
    ],
)
def test_mistakes_of_an_evaluation_are_named(arguments, message, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("one").write_text("a\n")
    Path("two").write_text("a\nb\n")
    Path("bytes").write_bytes(b"a\n\xff\n")
    Path("dear").write_text("dear")
    Path("x.png").mkdir()
    result = command("evaluate", "--references", "two", "--output", "dear", *arguments)
    assert result.status == 2
    assert Path("dear").read_text() == "dear"
    (line,) = mistakes(result)
    assert message in line


def test_a_mistake_writes_over_nothing(run, tmp_path, command):
    output, source = tmp_path / "output", tmp_path / "source"
    output.write_text("dear")
    source.write_text("one\tpair\nno pair\n")
    for arguments, message in (
        (("--n-best", 9), "n_best is 9; expected at most beam_size 1"),
        (("--samples", 2), "a line of text holds one translation; give --format json, or --mbr"),
        (("--lines-at-once", 2**63), "expected 1 or more, less than 2^31"),
        (("--bucket", 65), "bucket is 65; expected at most decoding.max_source_length 64"),
        (("--input", output), "--input and --output are one file: it would be destroyed"),
        (("--alignments", output), "--alignments and --output are one file: it would be"),
        (("--alignments", tmp_path / "no" / "file"), "no/file: No such file or directory"),
        (("--max-length-extra", 0), "options.max_length_extra is 0; expected at least 1"),
        (("--seed", 2**31), f"options.seed is {2**31}; expected 0 or more, less than 2^31"),
        (("--checkpoint", 7), "no checkpoint 7; there are [12]"),
        (("--checkpoint",), "--workdir names 1 and --checkpoint 0; expected as many, or one"),
    ):
        result = command("translate", "--workdir", run, "--output", output, *arguments)
        assert result.status == 2
        assert message in mistakes(result)[-1]
        assert output.read_text() == "dear"
    for command_line in (
        ("score", "--output", output, "--length-penalty", -1),
        ("score", "--output", output, "--input", output),
        ("align", "--output", output, "--gold", output),
        ("translate", "--input", output, "--alignments", output),
        ("translate", "--input", tmp_path / "none", "--alignments", output),
        ("translate", "--output", tmp_path / "new", "--alignments", tmp_path / "x" / ".." / "new"),
    ):
        result = command(*command_line, "--workdir", run)
        assert result.status == 2
        assert len(mistakes(result)) == 1
        assert output.read_text() == "dear"
    result = command("score", "--workdir", run, "--input", source, "--output", output)
    assert result.status == 2
    assert "source, line 2: 0 tabs; expected a source, a tab" in mistakes(result)[0]
    assert len(output.read_text().splitlines()) == 1


def test_what_cannot_fit_is_refused_before_anything_is_read(run, command, monkeypatch):
    monkeypatch.setattr(cli, "load", nmt.load)
    monkeypatch.setattr(parallel, "memory_available", lambda: 1000)
    result = command("translate", "--workdir", run, text="Maria!\n")
    assert (result.status, result.out) == (2, b"")
    (line,) = mistakes(result)
    assert line.startswith("error: search of 16 rows of 64 source pieces needs ")
    assert (
        " MB, and 0 MB are available: not one row fits; lower decoding.max_source_length in" in line
    )
    for name, function in (("score", "force"), ("align", "cross_attention")):
        (line,) = mistakes(command(name, "--workdir", run, text="Maria!\tMaria!\n"))
        assert line.startswith(f"error: {function} of 16 rows of 64 source pieces needs ")
    monkeypatch.setattr(parallel, "memory_available", lambda: None)
    result = command("translate", "--workdir", run, text="Maria!\n")
    assert result.status == 0
    assert mistakes(result)[0].startswith("search of 16 rows of 64 source pieces needs ")


def test_a_closed_stream_is_named_and_nothing_goes_where_it_does_not_belong(run, tmp_path):
    output = tmp_path / "output"
    (tmp_path / "input").write_text("Maria!\n")
    line = f"'{sys.executable}' -m nmt translate --workdir '{run}' --input '{tmp_path}/input'"

    def shell(redirection: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(line + redirection, shell=True, capture_output=True, check=False)

    result = shell(" >&-")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == b"error: standard output is closed; give --output"
    result = shell(f" 2>&- > '{output}'")
    assert result.returncode == 0
    assert len(output.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        ("--output x < x", "the redirected input and --output are one file"),
        ("--alignments x < x", "--alignments and the redirected input are one file"),
        ("--input x >> x", "--input and the redirected output are one file"),
        ("--input x --alignments /dev/stdout > y", "--alignments and the redirected output are"),
    ],
)
def test_what_the_shell_opened_is_not_destroyed(redirection, message, run, tmp_path):
    (tmp_path / "x").write_text("Maria!\n")
    line = f"'{sys.executable}' -m nmt translate --workdir '{run}' {redirection}"
    result = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, check=False)
    assert result.returncode == 2
    (error,) = result.stderr.decode().splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert (tmp_path / "x").read_text() == "Maria!\n"


def test_what_has_no_translation_is_strict_json():
    nothing = Translation("", -math.inf, (), ())
    listed = nothing._replace(alternatives=(nothing, nothing._replace(score=-1.5)))
    found = json.loads(cli.as_json(listed), parse_constant=pytest.fail)
    assert (found["text"], found["score"], found["tokens"]) == ("", None, [])
    assert [other["score"] for other in found["alternatives"]] == [None, -1.5]


def test_where_a_sentence_looks_is_drawn(run, tmp_path, command):
    options = ("--workdir", run, "--output", tmp_path / "new" / "looks")
    (tmp_path / "new" / "looks").mkdir(parents=True)
    (tmp_path / "new" / "looks" / "cross.png").write_bytes(b"of another run")
    result = command(
        "attend", *options, "The boy sleeps.", "--translation", "O menino dorme 猫 já."
    )
    names = ["attention.html", "encoder.png", "decoder.png", "cross.png", "saliency.png"]
    written = result.out.decode().splitlines()
    assert {Path(path).name for path in written} == set(names)
    page = Path(written[0]).read_text()
    for word in ("boy", "menino", "saliency"):
        assert f'"{word}"' in page
    for path in written[1:]:
        assert Path(path).read_bytes().startswith(b"\x89PNG")
    for sentence, message in (
        ((" ",), "error: the sentence is empty"),
        (("The boy.", "--translation", " "), "error: the translation is empty"),
        (("a " * 300,), "error: sentence 0: 301 pieces, more than"),
    ):
        refused = command("attend", "--workdir", run, "--output", tmp_path / "none", *sentence)
        assert refused.status == 2
        assert mistakes(refused)[0].startswith(message)
    assert not (tmp_path / "none").exists()


def test_what_is_asked_of_a_translation_is_read_as_json(run, command, translator):
    asked = [
        {"text": "The boy sleeps.", "prefix": "Não", "forbidden": ["menino"]},
        {"text": ""},
        {"required": ["casa"], "text": "The boy sleeps.\u2028\ud800"},
    ]
    lines = [json.dumps(fields) + "\n" for fields in asked]
    json_lines = ("translate", "--workdir", run, "--input-format", "json", "--beam-size", 2)
    result = command(*json_lines, text="".join(lines))
    expected = translator.translate([nmt.Sentence(**fields) for fields in asked], beam_size=2)
    assert result.status == 0
    assert result.out.decode().split("\n") == [*(t.text for t in expected), ""]
    marked = command(*json_lines, text=f"\ufeff{lines[0]}" * 2)
    assert marked.out.decode() == f"{expected[0].text}\n" * 2
    blank = command(*json_lines, text=f"\n{lines[0]}  \n")
    assert (blank.status, blank.out) == (0, f"\n{expected[0].text}\n\n".encode())
    for line, message in {
        "The boy sleeps.": "no JSON",
        "[" * 100_000: "no JSON",
        '"The boy sleeps."': "expected a JSON object of text and of prefix, forbidden, required",
        '{"prefix": "Não"}': "expected a JSON object of text and of",
        '{"text": "a", "forbiden": []}': "expected a JSON object of text and of",
        '{"text": 5}': "text is 5; expected a string",
        '{"text": "a", "prefix": null}': "prefix is null; expected a string",
        '{"text": "a", "required": "casa"}': 'required is "casa"; expected a list of strings',
        '{"text": "a", "forbidden": ["b", 1]}': 'forbidden is ["b", 1]; expected a list of strings',
    }.items():
        refused = command(*json_lines, text=lines[0] + line + "\n" + lines[1])
        assert (refused.status, refused.out) == (2, f"{expected[0].text}\n".encode())
        assert mistakes(refused)[0].startswith(f"error: standard input, line 2: {message}")
    many = json.dumps({"text": "a", "required": ["a"] * 17})
    refused = command(*json_lines, text=lines[0] + many)
    assert (refused.status, refused.out) == (2, f"{expected[0].text}\n".encode())
    assert mistakes(refused)[0].startswith(
        "error: standard input, line 2: 17 phrases of up to 1 pieces; expected"
    )
    long = json.dumps({"text": "The boy sleeps. " * 40})
    refused = command(*json_lines, text=f"{long}\n{many}")
    warning, error = mistakes(refused)
    assert "were split, the first of them line 1" in warning
    assert error.startswith("error: standard input, line 2: 17 phrases")
    assert "translated 1 line;" in refused.err
    kinds = "; search once more for prefixes and forbidden phrases"
    assert f"{kinds}, and for required ones\n" in result.err
    sampled = command(*json_lines[:-2], "--samples", 1, text="")
    assert f"{kinds}\n" in sampled.err


def test_bars_are_on_standard_error_where_somebody_looks(run, command, monkeypatch, capsys):
    text = "The boy sleeps.\nMaria!\n"
    quiet = command("translate", "--workdir", run, text=text)
    assert "2it" not in quiet.err
    monkeypatch.setattr(progress, "watched", lambda: True)
    shown = command("translate", "--workdir", run, text=text)
    assert shown.out == quiet.out
    assert "translate: 2it" in shown.err
    pairs = "".join(f"{line}\tO menino dorme.\n" for line in text.splitlines())
    for name in ("score", "align"):
        assert f"{name}: 2it" in command(name, "--workdir", run, text=pairs).err
    nmt.load(run).warm_up(one_row=True)
    assert "compile: 100%" in capsys.readouterr().err


def test_a_bar_counts_what_is_done_and_not_what_is_read(translator, monkeypatch):
    bar, before = MagicMock(), []
    bar.__enter__.return_value = bar
    monkeypatch.setattr(cli, "progress_bar", lambda *_: bar)
    monkeypatch.setattr(cli, "LINES_AT_ONCE", 2)

    def function(pairs: list[str]) -> list[str]:
        before.append(bar.update.call_count)
        return [pair.upper() for pair in pairs]

    found = cli.by_chunks(function, "", iter(["a", None, "b"]), translator, "score")
    assert list(found) == ["A", "", "B"]
    assert (before, bar.update.call_count) == ([0, 2], 3)


def test_what_no_translation_can_be_is_said_and_empty(run, tmp_path, command):
    never = json.dumps({"text": "The boy sleeps.", "prefix": "Não", "forbidden": ["Não"]})
    blank = json.dumps({"text": "", "prefix": "Não", "required": ["casa"]})
    plain = json.dumps({"text": "The boy sleeps."})
    result = command(
        *("translate", "--workdir", run, "--input-format", "json", "--beam-size", 2),
        *("--alignments", tmp_path / "links"),
        text=f"{plain}\n{never}\n{blank}\n",
    )
    assert result.status == 0
    lines = result.out.decode().split("\n")
    assert lines[0]
    assert lines[1:] == ["", "", ""]
    assert mistakes(result) == [
        "warning: 1 line(s) were left without a translation, or a part of it: none found is as was "
        "asked; the first of them is line 2"
    ]
    links = (tmp_path / "links").read_text().split("\n")
    assert links[1:] == ["", "", ""]


# What tries to break it.

TEXTS = {
    "right to left": "ذهب الولد إلى المدرسة. שלום עולם",
    "combining": "e\u0301" + "\u0301" * 40 + " a\u0308",
    "unknown": "\U000e0041\U0010fffd\u0378 𓂀𓂀",
    "zero width": "\u200b\u200d\ufeff\u2060",
    "controls": "\x00\x01\x7f\x85 a\x1b[31m",
    "isolates": "\u202e\u2066abc\u2069",
    "one long word": "a" * 5000,
    "long": "The boy sleeps. " * 2500,
    "spaces": " \u3000\u00a0\t ",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_becomes_one_line(text, run, command):
    result = command("translate", "--workdir", run, text=f"Maria!\n{text}\nMaria!\n")
    assert result.status == 0
    first, middle, last, rest = result.out.decode().split("\n")
    assert (first, rest) == (last, "")
    assert not any(unicodedata.category(c) == "Cc" for c in middle)


def test_a_hundred_thousand_blank_lines_stay_blank(run):
    text = "\n" * 50_000 + " \r\n" * 50_000
    result = in_a_process("translate", "--workdir", run, text=text)  # where no types are checked
    assert (result.status, result.out) == (0, b"\n" * 100_000)


@pytest.mark.parametrize(("how", "status"), [("split", 0), ("truncate", 0), ("error", 2)])
def test_a_line_of_ten_thousand_pieces(how, status, run, translator, command):
    line = "The boy sleeps and the girl runs. " * 1200
    num_pieces = len(translator.tokenizer.encode_source([line])[0])
    assert num_pieces > 10_000
    text = f"Maria!\n{line}\nMaria!\n"
    result = command("translate", "--workdir", run, "--overlong", how, text=text)
    assert result.status == status
    longer = "(decoding.max_source_length 64)"
    done = {
        "split": f"{longer} were split, the first of them line 2",
        "truncate": f"{longer} were cut, the first of them line 2",
        "error": f"line 2: {num_pieces} pieces, more than decoding.max_source_length 64",
    }
    (message,) = mistakes(result)
    assert done[how] in message
    assert result.out.count(b"\n") == (1 if how == "error" else 3)
    lengths = [len(line) for line in result.out.split(b"\n")]
    assert how == "error" or lengths[1] > lengths[0]


@pytest.mark.parametrize("subcommand", ["translate", "score", "align"])
def test_bytes_that_are_not_text_end_the_job_behind_the_lines_before(subcommand, run, command):
    good = b"The boy sleeps." + b"\tO menino dorme." * (subcommand != "translate")
    result = command(subcommand, "--workdir", run, text=good + b"\nThe girl\xff\n" + good)
    assert result.status == 2
    assert result.out.count(b"\n") == 1
    assert mistakes(result) == [
        "error: standard input, line 2: byte 9 is 0xff, which is not UTF-8 (invalid start byte)"
    ]


@pytest.mark.parametrize("subcommand", ["score", "align"])
def test_a_pair_that_is_too_long_is_named(subcommand, run, command):
    long = "The boy sleeps. " * 90
    for pair, name in ((f"{long}\tb", "source"), (f"a\t{long}", "target")):
        text = f"a\tb\n{pair}\na\tb\n"
        result = command(subcommand, "--workdir", run, text=text)
        assert result.status == 2
        (message,) = mistakes(result)
        assert message.startswith(f"error: standard input, line 2: the {name} has ")
        assert result.out.count(b"\n") == 1


def test_pairs_read_before_an_error_are_not_lost(translator, capsys):
    def pairs(error: Exception) -> Iterator[tuple[str, str]]:
        yield "Maria!", "Maria!"
        raise error

    for error in (InputError("not UTF-8"), OSError(5, "Input/output error")):
        found = cli.by_chunks(len_of_each, 0, pairs(error), translator, "score")
        assert next(found) == 2
        with pytest.raises(type(error)) as raised:
            next(found)
        assert raised.value is error
        assert capsys.readouterr().err.startswith("score: 1 line; compiled: ")


def len_of_each(pairs: list[tuple[str, str]]) -> list[int]:
    return list(map(len, pairs))


class Full(io.BytesIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("full", ["output", "alignments", "standard output"])
def test_a_full_disk_is_one_line_that_names_it(full, run, tmp_path, command):
    files = {"output": tmp_path / "output", "alignments": tmp_path / "links"}
    if full in files:
        files[full] = Path("/dev/full")
    else:
        del files["output"]
    flags = chain.from_iterable((f"--{name}", path) for name, path in files.items())
    out = None if full in files else Full()
    result = command("translate", "--workdir", run, *flags, text="Maria!\n", out=out)
    assert result.status == 2
    named = files.get(full, full)
    assert mistakes(result) == [f"error: {named}: No space left on device"]


@pytest.mark.parametrize(("good", "bad"), [("output", "alignments"), ("alignments", "output")])
def test_no_file_is_emptied_where_another_cannot_be_written(good, bad, run, tmp_path, command):
    kept = tmp_path / "kept"
    kept.write_text("dear")
    flags = f"--{good}", kept, f"--{bad}", tmp_path / "none" / "file"
    result = command("translate", "--workdir", run, *flags, text="Maria!\n")
    assert result.status == 2
    assert mistakes(result) == [f"error: {flags[-1]}: No such file or directory"]
    assert kept.read_text() == "dear"
    result = command("translate", "--workdir", run, f"--{good}", kept, text="\n\n")
    assert kept.read_text() == "\n\n"  # of what it held nothing is left


@contextmanager
def translating(run: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers each line at once, and has answered one."""
    command = [*COMMAND, "translate", "--workdir", run, "--lines-at-once", "1"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as process:
        process.stdin.write(b"Maria!\n")
        process.stdin.flush()
        assert process.stdout.readline()
        yield process


def test_a_reader_that_has_read_enough_is_no_error(run):
    with translating(run) as process:
        process.stdout.close()
        process.stdin.write(b"Maria!\n")
        process.stdin.close()
        assert process.wait() == 141
        assert len(process.stderr.read().splitlines()) == 1  # the shapes


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    reason="what is started in the background of a shell ignores interrupts",
)
@pytest.mark.parametrize("line", ["", "The boy sleeps. " * 30_000 + "\n"], ids=["waits", "works"])
def test_an_interrupted_job_says_so_and_keeps_what_was_written(line, run):
    with translating(run) as process:
        process.stdin.write(line.encode())
        process.stdin.flush()
        time.sleep(2 * bool(line))
        process.send_signal(signal.SIGINT)
        if line:
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)  # people press twice
        assert process.wait(timeout=60) == 130
        assert process.stderr.read().decode().splitlines()[1:] == ["interrupted"]


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    reason="what is started in the background of a shell ignores interrupts",
)
@pytest.mark.parametrize("after", [0.05, 0.3])
@pytest.mark.parametrize("module", ["nmt.__main__", "train"])
def test_a_command_that_still_imports_can_be_interrupted(module, after):
    # Without the installed command's own first lines, whose time Python's start alone decides.
    program = f"from {module} import main; print(flush=True); main()"
    root, pipe = Path(__file__).parents[1], subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, stdout=pipe, stderr=pipe
    ) as process:
        process.stdout.readline()
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b"interrupted\n"


def test_an_interruption_that_falls_into_a_callback_is_not_lost():
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        pytest.skip("started by something that ignores interrupts")
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012, it comes while the second line waits
        cli.unraisable(SimpleNamespace(exc_type=KeyboardInterrupt))
        time.sleep(10)


# Folders that are no run, or no longer.


def damage(folder: Path, how: str) -> None:
    checkpoint = folder / "checkpoints" / "12"
    if how == "missing":
        shutil.rmtree(folder)
    elif how == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif how == "half-written":  # as a killed save leaves it
        checkpoint.rename(checkpoint.with_name("12.orbax-checkpoint-tmp"))
    elif how == "another version":
        config = json.loads((folder / "config.json").read_text())
        config["model"]["num_experts"] = 8
        (folder / "config.json").write_text(json.dumps(config))
    elif how == "flipped digit":
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace("0.6", "2.6"))
    elif how == "truncated":
        largest = max((p for p in (checkpoint / "params").rglob("*") if p.is_file()),
                      key=lambda p: p.stat().st_size)  # fmt: skip
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    elif how == "flipped bit":
        path = folder / "tokenizer.model"
        data = bytearray(path.read_bytes())
        data[-20] ^= 4
        path.write_bytes(data)
    else:
        (folder / how).unlink()


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("missing", "config.json"),
        ("empty", "config.json"),
        ("half-written", "checkpoints"),
        ("another version", "num_experts"),
        ("truncated", "checkpoints/12"),
        ("flipped bit", "tokenizer.model"),
        ("flipped digit", "decoding.length_penalty is 2.6, and was 0.6 when checkpoint 12 was"),
        ("config.json", "config.json"),
        ("tokenizer.model", "tokenizer.model"),
    ],
)
def test_a_folder_that_is_no_run_is_one_line(how, named, run, tmp_path, command):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    damage(copy, how)
    # Behind a failed read orbax leaves threads that complain later: in a process of their own.
    command = in_a_process if how == "truncated" else command
    result = command("translate", "--workdir", copy, text="The boy sleeps.\n")
    assert (result.status, result.out) == (2, b"")
    (message,) = mistakes(result)
    assert message.startswith("error: ")
    assert named in message


@pytest.mark.parametrize(
    ("folders", "checkpoints"), [(2, []), (1, ["best", "latest"]), (2, ["best", 12])]
)
def test_several_folders_or_checkpoints_are_an_ensemble(folders, checkpoints, run, command,
                                                        monkeypatch):  # fmt: skip
    members, make = [], cli.ensemble
    monkeypatch.setattr(cli, "ensemble", lambda found: make(members.append(len(found)) or found))
    which = ["--checkpoint", *checkpoints] * bool(checkpoints)
    arguments = ("translate", "--workdir", *[run] * folders, *which)
    result = command(*arguments, text="The boy sleeps.\n")
    assert (result.status, members) == (0, [2])
    assert result.out == command("translate", "--workdir", run, text="The boy sleeps.\n").out
    (message,) = mistakes(command(*arguments[:2], run, run, run, *("--checkpoint", 12, 12)))
    assert "--workdir names 3 and --checkpoint 2; expected as many, or one" in message
