"""Why attention: BLEU by the length of the source, of three models trained alike, and their maps.

    python benchmarks/attention_story.py --workdir runs/story
    python benchmarks/attention_story.py --workdir runs/story_de --data data/tatoeba_en_de

The RNN encoder-decoder, RNNsearch and the Transformer, of about the same size, take as many steps
on about as many target tokens of the same text. Its lines are neighbouring sentences, joined until
they have as many words as is drawn for each line: lengths are spread evenly. The pictures are those
of Bahdanau et al. 2015 (figures 2 and 3); what is in them goes to a JSON file, from which
`notebooks/attention_story.ipynb` draws them again. A run that has been interrupted goes on.

Alignments are of single sentences of the embedded corpus's test set, the first 200, by the head of
least error on dev, and by saliency.
"""

import dataclasses
import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from train_step import machine

import nmt
from nmt.analysis import figures
from nmt.checkpoint import write_atomic
from nmt.config import Config, DataConfig, load_config
from nmt.data import grammar
from nmt.decoding.alignment import PieceAttention, align, choose_aligner, merge_words
from nmt.evaluation.alignment import alignment_error_rate
from nmt.evaluation.metrics import Bin, bleu_by_length
from nmt.training.loop import train

CONFIGS = Path(__file__).parents[1] / "configs"
NAMES = {"rnnencdec": "RNN encoder-decoder", "rnnsearch": "RNNsearch", "transformer": "Transformer"}
MAX_PIECES = 96  # of a line
NUM_ROWS = {True: 16, False: 20}  # of a batch, packed or not: either holds some 1,500 tokens

Sides = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Options:
    """Train three models alike, and draw their BLEU by length and where they look."""

    # Folder of the three runs and their text.
    workdir: Path
    # Folder of {train,dev,test}.{de,en}.gz; without it, the embedded English-Portuguese corpus.
    data: Path | None = None
    # Steps of each model; None is 3,000 on the embedded corpus, 5,000 on other text.
    num_steps: int | None = None
    # Words of the longest line, before its last sentence.
    longest: int = 50
    # Folder to write the pictures and the JSON file to.
    output: Path = Path(".")


def main(options: Options) -> None:
    """Trains, measures, draws."""
    embedded = options.data is None
    corpus = "embedded" if embedded else options.data.name
    languages = ("en", "pt") if embedded else ("de", "en")
    splits = grammar.generate((60_000, 500, 3000)) if embedded else None
    text = options.workdir / f"text_{options.longest}"
    write_text(text, languages, options, splits)
    test = [read_lines(text / f"test.{language}") for language in languages]
    report: dict[str, Any] = {"machine": machine(), "corpus": corpus, "models": {}}
    looks: dict[str, Any] = {}
    for name, config in configurations(options, languages, text).items():
        workdir = options.workdir / name
        summary = train(config, workdir)
        bins = bleu_by_length(test[0], read_lines(workdir / "translations.txt"), test[1])
        report["models"][name] = {
            **{
                key: summary[key]
                for key in ("bleu", "chrf", "parameters", "steps", "tokens", "seconds")
            },
            "bleu_by_source_words": [found._asdict() for found in bins],
        }
        if splits is not None:
            translator = nmt.load(workdir)
            looks[name], errors = look(translator, splits)
            report["models"][name] |= errors
    options.output.mkdir(parents=True, exist_ok=True)
    if splits is not None:
        report["map"] = attention_maps(looks, splits)
    path = options.output / f"attention_story_{corpus}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    draw(report, options.output)
    print("\n".join(table(report)))


def configurations(options: Options, languages: Sides, text: Path) -> dict[str, Config]:
    """Makes the three experiments: the same text, steps and positions."""
    base = "grammar" if options.data is None else "multi30k_de_en"
    files = {
        "rnnencdec": f"rnnencdec_{base}" if base == "grammar" else f"{base}_rnnencdec",
        "rnnsearch": f"rnnsearch_{base}" if base == "grammar" else f"{base}_rnnsearch",
        "transformer": "grammar_en_pt" if base == "grammar" else base,
    }
    num_steps = options.num_steps or (3000 if base == "grammar" else 5000)
    configs = {}
    for name, file in files.items():
        config = load_config(CONFIGS / f"{file}.py")
        if file == "grammar_en_pt":  # as many parameters as the others
            config = replace(config, model=replace(config.model, mlp_dim=2 * config.model.mlp_dim))
        configs[name] = replace(
            config,
            data=DataConfig(
                *languages,
                path=str(text),
                max_source_length=MAX_PIECES,
                max_target_length=MAX_PIECES,
            ),
            training=replace(
                config.training,
                num_steps=num_steps,
                batch_tokens=NUM_ROWS[name == "transformer"] * MAX_PIECES,
                eval_every_steps=num_steps // 3,
                save_every_steps=num_steps // 10,
            ),
        )
    return configs


# Text.


def write_text(
    folder: Path, languages: Sides, options: Options, splits: grammar.Splits | None
) -> None:
    """Writes lines of joined sentences, unless they are there."""
    for number, split in enumerate(("train", "dev", "test")):
        paths = [folder / f"{split}.{language}" for language in languages]
        if all(path.exists() for path in paths):
            continue
        if splits is not None:
            pairs = [(pair.source, pair.target) for pair in splits[number]]
        else:
            sides = (read_lines(options.data / f"{split}.{x}.gz") for x in languages)
            pairs = list(zip(*sides, strict=True))
        folder.mkdir(parents=True, exist_ok=True)
        for path, lines in zip(
            paths, zip(*joined(pairs, options.longest), strict=True), strict=True
        ):
            write_atomic(path, "".join(line + "\n" for line in lines))


def joined(pairs: Sequence[Sides], longest: int, seed: int = 0) -> Iterator[Sides]:
    """Joins neighbouring sentences until a line has as many source words as is drawn for it."""
    rng, rest = random.Random(seed), iter(pairs)
    for first in rest:
        line, least = [first], rng.randint(1, longest)
        while sum(len(source.split()) for source, _ in line) < least:
            try:
                line.append(next(rest))
            except StopIteration:
                break
        yield tuple(" ".join(side) for side in zip(*line, strict=True))


def read_lines(path: Path) -> list[str]:
    """Reads a text file, compressed or not."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


# Where the models look.


def look(
    translator: nmt.Translator, splits: grammar.Splits, num_sentences: int = 200
) -> tuple[PieceAttention, dict[str, float]]:
    """Measures alignments of single sentences; returns a map of one, and error rates."""
    ways = ["saliency"] if translator.aligner is None else ["attention", "saliency"]
    errors: dict[str, float] = {}
    for way in ways:
        dev, test = (
            translator.attentions(
                [(p.source, p.target) for p in split[:num_sentences]], grammar.word_spans, by=way
            )
            for split in splits[1:]
        )
        gold = [
            ([p.sure for p in split[:num_sentences]], [p.possible for p in split[:num_sentences]])
            for split in splits[1:]
        ]
        aligner = choose_aligner(dev, *gold[0])
        errors[f"alignment_error_rate_by_{way}"] = alignment_error_rate(
            [align(attention, aligner) for attention in test], *gold[1]
        )
        if way == ways[0]:
            chosen = test[shown(splits, num_sentences)]
            found = chosen._replace(weights=aligner.weights(chosen.weights)[None, None])
    return found, errors


def shown(splits: grammar.Splits, num_sentences: int) -> int:
    """Chooses the test sentence of the picture: of those of a dozen words the most reordered."""

    def crossings(number: int) -> int:
        links = splits.test[number].sure
        return sum((a - c) * (b - d) < 0 for a, b in links for c, d in links)

    numbers = range(num_sentences)
    fits = [n for n in numbers if 9 <= len(grammar.words(splits.test[n].source)) <= 13]
    return max(fits, key=crossings)


def attention_maps(looks: dict[str, PieceAttention], splits: grammar.Splits) -> dict[str, Any]:
    """Gathers what the picture shows: words, the models' weights between them, the gold links."""
    number = shown(splits, min(200, len(splits.test)))
    pair = splits.test[number]
    source, target = grammar.words(pair.source), grammar.words(pair.target)
    maps: dict[str, Any] = {}
    for name, found in looks.items():
        weights = merge_words(found.weights[0, 0, :-1, :-1], found.source, found.target)
        maps[name] = np.round(weights[: len(target), : len(source)], 4).tolist()
    gold = np.zeros((len(target), len(source)))
    for links, value in ((pair.possible, 0.5), (pair.sure, 1.0)):
        for s, t in links:
            gold[t, s] = value
    return {"source": source, "target": target, "maps": maps | {"gold": gold.tolist()}}


# Results.


def draw(report: dict[str, Any], folder: Path) -> None:
    """Draws BLEU by length, and the maps if there are any."""
    curves = {
        NAMES[name]: [
            (x.label, x.num_sentences, x.bleu)
            for x in (Bin(**fields) for fields in found["bleu_by_source_words"])
        ]
        for name, found in report["models"].items()
    }
    figures.bleu_by_length(curves, folder / f"attention_story_{report['corpus']}.png")
    if "map" in report:
        titles = NAMES | {"rnnencdec": "RNN encoder-decoder (saliency)", "gold": "gold alignment"}
        maps = {titles[n]: np.array(weights) for n, weights in report["map"]["maps"].items()}
        path = folder / f"attention_story_{report['corpus']}_maps.png"
        figures.attention_maps([maps], report["map"]["source"], report["map"]["target"], path)


def table(report: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the report."""
    models = report["models"]
    yield report["machine"]
    yield " " * 30 + "".join(f"{NAMES[name]:>21}" for name in models)
    for field, title, digits in (
        ("parameters", "parameters", 0),
        ("tokens", "target tokens seen", 0),
        ("seconds", "seconds of training", 0),
        ("bleu", "BLEU", 1),
        ("alignment_error_rate_by_attention", "AER by attention", 3),
        ("alignment_error_rate_by_saliency", "AER by saliency", 3),
    ):
        cells = [found.get(field) for found in models.values()]
        shown = (f"{'-' if x is None else f'{x:,.{digits}f}':>21}" for x in cells)
        yield f"{title:30}" + "".join(shown)
    for column in zip(*(found["bleu_by_source_words"] for found in models.values()), strict=True):
        first = Bin(**column[0])
        title = f"BLEU of {first.label} words ({first.num_sentences})"
        yield f"{title:30}" + "".join(f"{found['bleu']:21.1f}" for found in column)


if __name__ == "__main__":
    main(tyro.cli(Options))
