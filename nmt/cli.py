"""The `nmt` command: one function a subcommand."""

import _thread
import dataclasses
import inspect
import json
import logging
import math
import os
import re
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nmt import parallel
from nmt.analysis.attention import KINDS, attention
from nmt.analysis.page import attention_page
from nmt.checkpoint import Which, write_atomic
from nmt.config import InputError, SearchOptions
from nmt.data.tokenizer import clean
from nmt.decoding.alignment import Link, parse_pharaoh, pharaoh
from nmt.decoding.loading import Precision, ensemble, load
from nmt.decoding.mbr import minimum_bayes_risk
from nmt.decoding.requests import Sentence
from nmt.decoding.translation import NOTHING, Translation
from nmt.decoding.translator import LINES_AT_ONCE, Method, Overlong, Translator, read_until
from nmt.evaluation.alignment import alignment_error_rate
from nmt.evaluation.metrics import Bin, bleu_by_length, compare, corpus_scores
from nmt.progress import progress_bar, say
from nmt.streams import expect_distinct, lines_of, mistakes, naming, read_file, written


def translate(
    workdir: tuple[Path, ...],
    input: Path | None = None,
    output: Path | None = None,
    checkpoint: tuple[Which, ...] = ("best",),
    precision: Precision | None = None,
    input_format: Literal["text", "json"] = "text",
    format: Literal["text", "json"] = "text",
    overlong: Overlong = "split",
    lines_at_once: int = LINES_AT_ONCE,
    alignments: Path | None = None,
    mbr: Literal["bleu", "chrf"] | None = None,
    options: Annotated[SearchOptions, tyro.conf.arg(name="")] = SearchOptions(),  # noqa: B008
) -> None:
    """Translate text, one line for each line.

    Args:
        workdir: Folder of a run, as train.py writes it; of several, or of several checkpoints,
            which must share a vocabulary, the log-probabilities are averaged.
        input: File to translate; None is standard input.
        output: File to write; None is standard output.
        checkpoint: Which to load: the best by dev BLEU, the latest, or that of a step; several
            are of a run each, or all of one.
        precision: Of activations and weights; None is the model's own, as it was trained.
        input_format: A line is text, or a JSON object of "text" and of what is asked of its
            translation: a "prefix", and lists of phrases, of whole words, that are "forbidden" and
            "required": 16 in all, of up to 16 pieces.
        format: A line is the best translation, or a JSON object of all that is known of it.
        overlong: Splits a line of more than decoding.max_source_length pieces at sentence ends and
            joins the translations of its parts, or translates as many of its words as fit, or ends
            with an error.
        lines_at_once: Lines to read before they are translated: 1 answers each line at once.
        alignments: File to write the word alignments to, a line for each line: 0-0 1-2 aligns the
            first words of both, and the second with the third. JSON holds them too then.
        mbr: Takes, of the samples or the n best, not the first but the one that agrees most with
            the others, by this measure (minimum Bayes risk); None takes the first, the likeliest of
            the n best.
        options: How to search.
    """
    translator = load_all(workdir, checkpoint, precision)
    search = dataclasses.asdict(options)
    expect_distinct(
        {"input": input or sys.stdin}, {"output": output or sys.stdout, "alignments": alignments}
    )
    if mbr and (options.samples or options.n_best) < 2:
        raise InputError("--mbr compares several translations; give --samples or --n-best")
    if mbr and alignments:
        raise InputError("--alignments are of the first translation; leave out --mbr")
    how = {
        "overlong": overlong,
        "lines_at_once": lines_at_once,
        "alignments": alignments is not None,
        **search,
    }
    with mistakes():
        translator.translate_lines((), **how)  # refuses options before a file is written over
    if (options.samples or options.n_best) > 1 and format == "text" and not mbr:
        raise InputError("a line of text holds one translation; give --format json, or --mbr")
    asked = input_format == "json"
    with ExitStack() as stack:
        # First: what cannot be read must not cost a file that can be written over.
        lines = stack.enter_context(lines_of(input, read_sentence if asked else str))
        declare_shapes(translator, alignments=alignments is not None, phrases=asked, **search)
        write = stack.enter_context(written(output))
        write_links = alignments and stack.enter_context(written(alignments))
        translations = translator.translate_lines(lines, **how)
        for translation in counted(translations, translator, overlong):
            if write_links:
                write_links(pharaoh(translation.alignment or ()))
            if mbr:
                sampled = options.samples > 0
                translation = minimum_bayes_risk(translation, mbr, sampled=sampled)
            write(translation.text if format == "text" else as_json(translation))


def score(
    workdir: tuple[Path, ...],
    input: Path | None = None,
    output: Path | None = None,
    checkpoint: tuple[Which, ...] = ("best",),
    precision: Precision | None = None,
    format: Literal["text", "json"] = "text",
    length_penalty: float | None = None,
    length_offset: float = 5.0,
) -> None:
    """Score given translations: lines of a source, a tab and a target; blank ones stay blank.

    A pair that is too long ends the job. A target is cut into pieces as in training: of a search
    that found others for the same text, the score was another.

    Args:
        workdir: Folder of a run, or of several that share a vocabulary.
        input: File to score; None is standard input.
        output: File to write; None is standard output.
        checkpoint: Which to load: the best by dev BLEU, the latest, or that of a step; several
            are of a run each, or all of one.
        precision: Of activations and weights; None is the model's own, as it was trained.
        format: A line is the score, or a JSON object with the log-probabilities of the pieces.
        length_penalty: Power of the length normalisation; None is the run's configuration.
        length_offset: c of the length normalisation.
    """
    expect_distinct({"input": input or sys.stdin}, {"output": output or sys.stdout})
    translator = load_all(workdir, checkpoint, precision)
    scores = partial(translator.score, length_penalty=length_penalty, length_offset=length_offset)
    with mistakes():
        scores(())  # refuses options before a file is written over
    with lines_of(input, partial(read_pair, translator)) as pairs:
        declare_shapes(translator, "score")
        with written(output) as write:
            for scored in by_chunks(scores, NOTHING, pairs, translator, "score"):
                text = f"{scored.score:.6f}" if scored is not NOTHING else ""
                write(text if format == "text" else as_json(scored))


def align(
    workdir: tuple[Path, ...],
    input: Path | None = None,
    output: Path | None = None,
    checkpoint: tuple[Which, ...] = ("best",),
    precision: Precision | None = None,
    format: Literal["text", "json"] = "text",
    gold: Path | None = None,
) -> None:
    """Align the words of given translations: lines of a source, a tab and a target, or blank.

    A pair that is too long ends the job.

    Args:
        workdir: Folder of a run, or of several that share a vocabulary: then the first aligns.
        input: File to align, its words between spaces; None is standard input.
        output: File to write; None is standard output.
        checkpoint: Which to load: the best by dev BLEU, the latest, or that of a step; several
            are of a run each, or all of one.
        precision: Of activations and weights; None is the model's own, as it was trained.
        format: A line is 0-0 1-2, which aligns the first words of both, and the second with the
            third; or a JSON object with the list of such pairs.
        gold: File of right alignments, as many lines, possible links being written 0p0: prints the
            alignment error rate to standard error.
    """
    expect_distinct({"input": input or sys.stdin, "gold": gold}, {"output": output or sys.stdout})
    translator = load_all(workdir, checkpoint, precision)
    right = list(read_file(gold, parse_pharaoh)) if gold else None
    with mistakes():
        translator.align(())  # refuses a model without attention before a file is written over
    found: list[tuple[Link, ...]] = []
    with lines_of(input, partial(read_pair, translator)) as pairs:
        declare_shapes(translator, "align")
        with written(output) as write:
            for links in by_chunks(translator.align, (), pairs, translator, "align"):
                write(pharaoh(links) if format == "text" else json.dumps({"alignment": links}))
                found += [links] if gold else []
    if right is not None:
        if len(right) != len(found):
            raise InputError(
                f"{gold}: {as_lines(len(right))}; expected {len(found)}, one for each line read"
            )
        sure, possible = ([links[n] for links in right] for n in (0, 1))
        say(f"alignment error rate: {alignment_error_rate(found, sure, possible):.4f}")


def attend(
    workdir: Path,
    sentence: tyro.conf.Positional[str],
    translation: str | None = None,
    output: Path = Path("attention"),
    checkpoint: Which = "best",
) -> None:
    """Draw where a model looks as it translates a sentence: pictures, and a page to explore.

    Args:
        workdir: Folder of a run.
        sentence: To translate; one that begins with a dash comes last, behind two dashes.
        translation: Whose words are to look; None is the model's own.
        output: Folder to write attention.html and a picture of each kind to: cross-attention, the
            Transformer's self-attention, and saliency, which a model without attention has too.
        checkpoint: Which to load: the best by dev BLEU, the latest, or that of a step.
    """
    from nmt.analysis import figures  # matplotlib: whoever draws nothing need not wait for it

    translator = load_all((workdir,), (checkpoint,), None)
    with mistakes():
        looks = attention(translator, sentence, translation, saliency=True)
    output.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:  # of another model, perhaps
        (output / f"{kind}.png").unlink(missing_ok=True)
    paths = [output / "attention.html"]
    write_atomic(paths[0], attention_page(looks))
    for kind, layers in looks.maps.items():
        rows, columns = looks.axes(kind)
        maps = [
            {f"layer {layer}, head {head}": weights for head, weights in enumerate(heads, 1)}
            for layer, heads in enumerate(layers, 1)
        ]
        paths.append(output / f"{kind}.png")
        with warnings.catch_warnings():  # the page shows what matplotlib's font has no glyph for
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            figures.attention_maps(maps, columns, rows, paths[-1])
    print("\n".join(map(str, paths)))


def evaluate(
    references: Path,
    hypotheses: Path | None = None,
    workdir: tuple[Path, ...] = (),
    output: Path | None = None,
    source: Path | None = None,
    baseline: Path | None = None,
    checkpoint: tuple[Which, ...] = ("best",),
    precision: Precision | None = None,
    language: str = "",
    figure: Path | None = None,
    format: Literal["text", "json"] = "text",
    options: Annotated[SearchOptions, tyro.conf.arg(name="")] = SearchOptions(),  # noqa: B008
) -> None:
    """Measure translations: BLEU, chrF and TER; against another system, and by length.

    Args:
        references: File of right translations.
        hypotheses: File of translations to measure; None translates --source with --workdir, or
            without that reads standard input.
        workdir: Folder of a run, or of several that share a vocabulary.
        output: File to write the measures to; None is standard output.
        source: File of sources: BLEU is measured by their length in words too.
        baseline: File of another system's translations: tests whether the two differ, by paired
            bootstrap resampling and by approximate randomisation.
        checkpoint: Which to load: the best by dev BLEU, the latest, or that of a step; several
            are of a run each, or all of one.
        precision: Of activations and weights; None is the model's own, as it was trained.
        language: Of the translations, as a code: zh, ja and ko are cut into words in their own way.
        figure: File for a picture of BLEU by length (.png, .pdf or .svg), for which --source is
            needed.
        format: A table, or one JSON object.
        options: How to search, if --workdir translates.
    """
    if workdir and (hypotheses or source is None):
        raise InputError("give either --hypotheses, or --workdir and --source")
    if not workdir and (checkpoint, precision, options) != (("best",), None, SearchOptions()):
        raise InputError("--checkpoint, --precision and options are for what --workdir translates")
    if (options.samples or options.n_best) > 1:
        raise InputError("one translation of a line is measured: leave out --n-best and --samples")
    if figure and source is None:
        raise InputError("--figure needs --source: BLEU is drawn by the length of the sources")
    if figure and figure.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"--figure is {figure}; expected a name that ends in .png, .pdf or .svg")
    if figure and not figure.parent.is_dir():
        raise InputError(f"--figure is {figure}; its folder does not exist")
    if figure and figure.is_dir():
        raise InputError(f"--figure is {figure}, which is a folder")
    given = {"references": references, "source": source, "baseline": baseline}
    measured = hypotheses or (None if workdir else sys.stdin)
    expect_distinct(
        {**given, "hypotheses": measured}, {"figure": figure, "output": output or sys.stdout}
    )
    gold = list(read_file(references))
    systems: dict[str, list[str]] = {}
    files = {"hypotheses": hypotheses, "baseline": baseline, "source": source}
    for name, path in files.items():
        if path or (name == "hypotheses" and not workdir):
            systems[name] = list(read_file(path))
            if len(systems[name]) != len(gold):
                raise InputError(
                    f"{path or 'standard input'}: {as_lines(len(systems[name]))}; expected "
                    f"{len(gold)}, as many as {references} has"
                )
    if not gold:
        raise InputError(f"{references}: no lines")
    translations: Iterable[Translation] = ()
    with mistakes():  # before a file is written over
        evaluation_report({"hypotheses": gold[:1]}, gold[:1], language)
        if workdir:
            translator = load_all(workdir, checkpoint, precision)
            search = dataclasses.asdict(options)
            lines = translator.translate_lines(systems["source"], **search)
            declare_shapes(translator, **search)
            translations = counted(lines, translator, "split", len(gold))
    with written(output) as write, mistakes():
        if workdir:
            systems["hypotheses"] = [translation.text for translation in translations]
        report = evaluation_report(systems, gold, language)
        write(json.dumps(report, ensure_ascii=False) if format == "json" else as_table(report))
    if figure:
        draw(report, figure)


def draw(report: dict[str, Any], figure: Path) -> None:
    """Draws BLEU by the length of the sources."""
    from nmt.analysis import figures  # matplotlib: whoever draws nothing need not wait for it

    curves = {
        name: [(x.label, x.num_sentences, x.bleu) for x in (Bin(**fields) for fields in bins)]
        for name, bins in report["bleu_by_source_words"].items()
    }
    with naming(str(figure)):
        figures.bleu_by_length(curves, figure)


def evaluation_report(
    systems: dict[str, list[str]], gold: list[str], language: str
) -> dict[str, Any]:
    """Gathers all measures of the hypotheses, and of a baseline if there is one."""
    names = [name for name in ("hypotheses", "baseline") if name in systems]
    report: dict[str, Any] = {"num_sentences": len(gold)}
    for name in names:
        measures = corpus_scores(systems[name], gold, language, ["BLEU", "chrF2", "TER"])
        report[name] = [measure._asdict() for measure in measures]
    if "baseline" in names:
        comparisons = compare(systems["hypotheses"], systems["baseline"], gold, language)
        report["comparisons"] = [comparison._asdict() for comparison in comparisons]
    if "source" in systems:
        report["bleu_by_source_words"] = {
            name: [
                x._asdict()
                for x in bleu_by_length(systems["source"], systems[name], gold, language)
            ]
            for name in names
        }
    return report


def as_table(report: dict[str, Any]) -> str:
    """Writes an evaluation for people."""
    lines = [f"{report['num_sentences']} sentences"]
    for name in ("hypotheses", "baseline"):
        for measure in report.get(name, ()):
            lines.append(
                f"{name:10}  {measure['name']:6} {measure['score']:7.2f}  {measure['signature']}"
            )
    for found in report.get("comparisons", ()):
        lines.append(f"{found['name']:6} p = {found['p_value']:.4f}  {found['test']}")
    for name, bins in report.get("bleu_by_source_words", {}).items():
        for found in bins:
            lines.append(
                f"{name:10}  BLEU {found['bleu']:7.2f}  sources of {Bin(**found).label} words, "
                f"{found['num_sentences']} sentences"
            )
    return "\n".join(lines)


def load_all(
    workdirs: Sequence[Path], checkpoints: Sequence[Which], precision: Precision | None
) -> Translator:
    """Loads a run, or an ensemble of several, or of several checkpoints."""
    parallel.keep_compiled()
    counts = len(workdirs), len(checkpoints)
    if min(counts) == 0 or (1 not in counts and counts[0] != counts[1]):
        raise InputError(
            f"--workdir names {counts[0]} and --checkpoint {counts[1]}; expected as many, or one"
        )
    members = islice(zip(cycle(workdirs), cycle(checkpoints), strict=False), max(counts))
    return ensemble([load(*member, precision=precision) for member in members])


def declare_shapes(
    translator: Translator,
    method: Method = "translate",
    *,
    alignments: bool = False,
    phrases: bool = False,
    **options: Any,
) -> None:
    """Says what a method may compile, and refuses what the memory has no room for."""
    shapes = translator.shapes(**options)
    functions = {"translate": "search", "score": "force", "align": "cross_attention"}
    what = functions[method] + " and cross_attention" * alignments
    kinds = "; search once more for prefixes and forbidden phrases" * phrases
    kinds += ", and for required ones" * (phrases and not options["samples"])
    say(f"compiles at most {len(shapes)} shapes of {what}: {shapes} (rows, source pieces){kinds}")
    translator.check_memory(method=method, alignments=alignments, phrases=phrases, **options)


def as_lines(number: int) -> str:
    """Writes how many lines there are."""
    return f"{number:,} line{'s' * (number != 1)}"


def say_compiled(translator: Translator, done: str) -> None:
    """Says what was done, and how many programs were compiled for it."""
    programs = Counter(name for name, _ in translator.compiled)
    say(f"{done}; compiled: " + ", ".join(f"{count} {name}" for name, count in programs.items()))


def counted(
    translations: Iterable[Translation],
    translator: Translator,
    overlong: Overlong,
    total: int | None = None,
) -> Iterator[Translation]:
    """Hands on the translations of lines; then says how many, and which are not of a whole line."""
    number, counts = 0, Counter[str]()
    first: dict[str, int] = {}  # line of each
    broken: Exception | None = None
    try:
        for number, translation in enumerate(progress_bar(translations, "translate", total), 1):
            met = {
                "overlong": translation.overlong,
                "unmet": translation.score == -math.inf,
                "cut": translation.cut,
            }
            for name in filter(met.get, met):
                counts[name] += 1
                first.setdefault(name, number)
            yield translation
    except (ValueError, OSError) as error:  # what came before is counted too
        broken = error
    say_compiled(translator, f"translated {as_lines(number)}")
    if counts["overlong"]:
        done = "split" if overlong == "split" else "cut"
        longest = translator.config.decoding.max_source_length
        say(
            f"warning: {counts['overlong']} line(s) of more pieces than fit "
            f"(decoding.max_source_length {longest}) were {done}, the first of them line "
            f"{first['overlong']}"
        )
    if counts["unmet"]:
        say(
            f"warning: {counts['unmet']} line(s) were left without a translation, or a part of it: "
            f"none found is as was asked; the first of them is line {first['unmet']}"
        )
    if counts["cut"]:
        say(
            f"warning: {counts['cut']} translation(s) are as long as they may be, and perhaps cut "
            f"there; the first of them is line {first['cut']}"
        )
    if broken:
        raise broken


def by_chunks(
    function: Callable[[list[Any]], list[Any]],
    blank: Any,
    pairs: Iterator[Any],
    translator: Translator,
    name: str,
) -> Iterator[Any]:
    """Applies a function of many pairs to some at a time; shows how far it is, says how many.

    In the place of a pair that is None it gives `blank`.
    """
    number = 0
    broken: Exception | None = None
    with progress_bar(None, name) as bar:
        while not broken:
            chunk, broken = read_until((ValueError, OSError), islice(pairs, LINES_AT_ONCE))
            if not chunk:
                break
            found = iter(function([pair for pair in chunk if pair]))
            for pair in chunk:
                yield next(found) if pair else blank
                bar.update()
            number += len(chunk)
    say_compiled(translator, f"{name}: {as_lines(number)}")
    if broken:
        raise broken


def read_sentence(line: str) -> Sentence:
    """Reads a sentence, and what is asked of its translation, from a JSON object.

    A blank line is a blank sentence, so that there are as many.
    """
    if not clean(line).strip():
        return Sentence("")
    try:
        fields = json.loads(line.removeprefix("\ufeff"))  # of the second of two files, say
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(fields, dict) or "text" not in fields or fields.keys() - Sentence._fields:
        raise ValueError(f"expected a JSON object of text and of {', '.join(Sentence._fields[1:])}")
    for name, value in fields.items():
        if name in ("text", "prefix"):
            expected, right = "a string", isinstance(value, str)
        else:
            expected = "a list of strings"
            right = isinstance(value, list) and all(isinstance(x, str) for x in value)
        if not right:
            raise ValueError(f"{name} is {json.dumps(value)[:60]}; expected {expected}")
    return Sentence(**fields)


def read_pair(translator: Translator, line: str) -> tuple[str, str] | None:
    """Splits a line at its tab, and refuses what is too long to be scored; None is a blank line."""
    source, *targets = line.split("\t")
    if not (clean(source).strip() or targets):
        return None
    if len(targets) != 1:
        raise ValueError(f"{len(targets)} tabs; expected a source, a tab and a target")
    translator.check_pair(source, targets[0])
    return source, targets[0]


def as_json(translation: Translation) -> str:
    """Writes a translation as one line of JSON, in which every string is text."""
    fields = translation._asdict()
    del fields["attention"]  # never asked for here
    if translation.alignment is None:
        del fields["alignment"]
    fields["alternatives"] = [
        {
            name: getattr(other, name)
            for name in ("text", "score", "tokens", "token_log_probs", "cut")
        }
        for other in translation.alternatives
    ]
    for found in (fields, *fields["alternatives"]):
        if found["score"] == -math.inf:  # no translation is as was asked; JSON has no infinity
            found["score"] = None
    return json.dumps(fields, ensure_ascii=False, allow_nan=False)


def run(command: Callable[[], Any]) -> int:
    """Runs a command; turns a user's mistake into one line and exit status 2."""
    for name in ("absl", "asyncio"):  # orbax warns of what is meant, and repeats its errors
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = unraisable
    try:
        command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except InputError as error:
        complain(f"error: {clean(str(error))}")
        return 2
    except KeyboardInterrupt:
        complain("interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever reads has read enough
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # no room, no permission, a file in the place of a folder
        where = f"{error.filename}: " if error.filename else ""
        complain(f"error: {clean(f'{where}{error.strerror or error}')}")
        return 2
    return 0


def complain(message: str) -> None:
    """Prints to standard error, if that can be written to; the exit status says it too."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(message, file=sys.stderr)


def unraisable(error: Any) -> None:
    """Says nothing of what orbax's threads could not read; an interruption is not lost."""
    if issubclass(error.exc_type, KeyboardInterrupt):  # it fell into a callback of JAX's
        threading.Timer(0.1, _thread.interrupt_main).start()


COMMANDS: dict[str, Callable[..., Any]] = {
    "translate": translate,
    "score": score,
    "evaluate": evaluate,
    "align": align,
    "attend": attend,
}


def main() -> int:
    """Runs the command line."""
    # What explains an option flows: tyro would break its lines where the source does.
    for command in map(inspect.unwrap, COMMANDS.values()):
        command.__doc__ = re.sub(r"\n {8}", " ", inspect.getdoc(command) or "")
    return run(
        lambda: tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="nmt",
            description="Neural machine translation.",
        )
    )
