"""Why attention: BLEU by the length of the source, of three models trained alike, and their maps.

    python benchmarks/attention_story.py --workdir runs/story
    python benchmarks/attention_story.py --workdir runs/story_de --data data/tatoeba_en_de

The RNN encoder-decoder, RNNsearch and the Transformer, of about the same size, take as many steps
on about as many target tokens of the same text. Its lines are neighbouring sentences, joined until
they have as many words as is drawn for each line: lengths are spread evenly. The pictures are those
of Bahdanau et al. 2015 (figures 2 and 3); what is in them goes to a JSON file, from which
`notebooks/attention_story.ipynb` draws them again. A run that has been interrupted goes on.

The maps are of one sentence of about a dozen words: by cross-attention (the mean of the heads of
the layer before the last), or by saliency if a model has none. Of the embedded corpus it is a much
reordered one of the first 200 of its test set, by the head of least error on dev, beside its gold
alignment; the error rates of the models on those 200 are in the table.
"""

import dataclasses
import gzip
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from train_step import machine

import nmt
from nmt.analysis import figures
from nmt.checkpoint import write_atomic
from nmt.config import Config, DataConfig, load_config
from nmt.data import grammar
from nmt.data.grammar import Pair, Splits
from nmt.decoding.alignment import (
    Aligner,
    Span,
    choose_aligner,
    error_rate,
    merge_words,
    whitespace_words,
)
from nmt.evaluation.metrics import Bin, bleu_by_length
from nmt.training.loop import train

CONFIGS = Path(__file__).parents[1] / "configs"
NAMES = {"rnnencdec": "RNN encoder-decoder", "rnnsearch": "RNNsearch", "transformer": "Transformer"}
MAX_PIECES = 96  # of a line
NUM_ROWS = {True: 16, False: 20}  # of a batch, packed or not: either holds some 1,500 tokens

NUM_ALIGNED = 200  # sentences of dev and of test, of the embedded corpus

Sides = tuple[str, str]
By = Literal["attention", "saliency"]


@dataclasses.dataclass(frozen=True)
class Options:
    """Train three models alike, and draw their BLEU by length and where they look."""

    # Folder of the three runs and their text.
    workdir: Path
    # Folder of {train,dev,test}.{de,en}.gz; without it, the embedded English-Portuguese corpus.
    data: Path | None = None
    # Steps of each model.
    num_steps: int = 3000
    # Words of the longest line, before its last sentence.
    longest: int = 50
    # Folder to write the pictures and the JSON file to.
    output: Path = Path(".")


def main(options: Options) -> None:
    """Trains, measures, draws."""
    embedded = options.data is None
    corpus = "embedded" if embedded else options.data.name
    languages = ("en", "pt") if embedded else ("de", "en")
    splits = grammar.generate((60_000, 500, 3000)) if embedded else read_splits(options.data)
    words = grammar.word_spans if embedded else whitespace_words
    shown = splits.test[choose_shown(splits.test, words)]
    text = options.workdir / f"text_{corpus}_{options.longest}"
    write_text(text, languages, splits, options.longest)
    test = [read_lines(text / f"test.{language}") for language in languages]
    report: dict[str, Any] = {"machine": machine(), "corpus": corpus, "models": {}}
    maps: dict[str, np.ndarray] = {}
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
        translator = nmt.load(workdir)
        aligner, ways = translator.aligner, ("attention", "saliency")
        if aligner is None:
            aligner, ways = Aligner(0, None), ("saliency",)
        if embedded:
            found = {by: least_error(translator, splits, by) for by in ways}
            aligner, _ = found[ways[0]]
            report["models"][name] |= {
                f"alignment_error_rate_by_{by}": error for by, (_, error) in found.items()
            }
        maps[name] = look(translator, shown, words, aligner, ways[0])
    options.output.mkdir(parents=True, exist_ok=True)
    if embedded:
        maps["gold"] = gold_map(shown)
    source, target = (spelled(side, words) for side in (shown.source, shown.target))
    rounded = {name: np.round(weights, 4).tolist() for name, weights in maps.items()}
    report["map"] = {"source": source, "target": target, "maps": rounded}
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
                num_steps=options.num_steps,
                batch_tokens=NUM_ROWS[name == "transformer"] * MAX_PIECES,
                eval_every_steps=options.num_steps // 3,
                save_every_steps=options.num_steps // 10,
            ),
            decoding=replace(config.decoding, max_source_length=MAX_PIECES),
        )
    return configs


# Text.


def read_splits(folder: Path) -> Splits:
    """Reads a German-English corpus; no alignment of its words is known."""
    splits = []
    for split in Splits._fields:
        sides = (read_lines(folder / f"{split}.{language}.gz") for language in ("de", "en"))
        splits.append(tuple(Pair(*pair, (), ()) for pair in zip(*sides, strict=True)))
    return Splits(*splits)


def write_text(folder: Path, languages: Sides, splits: Splits, longest: int) -> None:
    """Writes lines of joined sentences, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, pairs in splits._asdict().items():
        paths = [folder / f"{split}.{language}" for language in languages]
        if all(path.exists() for path in paths):
            continue
        lines = joined([(pair.source, pair.target) for pair in pairs], longest)
        for path, side in zip(paths, zip(*lines, strict=True), strict=True):
            write_atomic(path, "".join(line + "\n" for line in side))


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


def least_error(translator: nmt.Translator, splits: Splits, by: By) -> tuple[Aligner, float]:
    """Chooses the aligner on dev, and measures its error rate on test."""
    dev, test = (split[:NUM_ALIGNED] for split in (splits.dev, splits.test))
    seen = {
        split: translator.attentions([pair[:2] for pair in split], grammar.word_spans, by=by)
        for split in (dev, test)
    }
    gold = {split: ([p.sure for p in split], [p.possible for p in split]) for split in (dev, test)}
    aligner = choose_aligner(seen[dev], *gold[dev])
    return aligner, error_rate(seen[test], aligner, *gold[test])


def choose_shown(pairs: Sequence[Pair], words: Callable[[str], list[Span]]) -> int:
    """Chooses the sentence of the maps: of those of a dozen words the most reordered, the first."""

    def crossings(number: int) -> int:
        links = pairs[number].sure
        return sum((a - c) * (b - d) < 0 for a, b in links for c, d in links)

    fits = (n for n in range(NUM_ALIGNED) if 9 <= len(words(pairs[n].source)) <= 13)
    return max(fits, key=crossings)


def look(
    translator: nmt.Translator,
    pair: Pair,
    words: Callable[[str], list[Span]],
    aligner: Aligner,
    by: By,
) -> np.ndarray:
    """Returns where each word of a translation looks, [T, S]."""
    (seen,) = translator.attentions([pair[:2]], words, by=by)
    weights = aligner.weights(seen.weights)[:-1, :-1]  # but for the end
    num_source, num_target = seen.num_words
    return merge_words(weights, seen.source, seen.target)[:num_target, :num_source]


def gold_map(pair: Pair) -> np.ndarray:
    """Draws sure links as 1, possible ones as a half, [T, S]."""
    gold = np.zeros((len(grammar.words(pair.target)), len(grammar.words(pair.source))))
    for links, value in ((pair.possible, 0.5), (pair.sure, 1.0)):
        for s, t in links:
            gold[t, s] = value
    return gold


def spelled(text: str, words: Callable[[str], list[Span]]) -> list[str]:
    """Returns the words of a text."""
    return [text[slice(*span)] for span in words(text)]


# Results.


def draw(report: dict[str, Any], folder: Path) -> None:
    """Draws BLEU by length, and the maps."""
    curves = {
        NAMES[name]: [
            (x.label, x.num_sentences, x.bleu)
            for x in (Bin(**fields) for fields in found["bleu_by_source_words"])
        ]
        for name, found in report["models"].items()
    }
    figures.bleu_by_length(curves, folder / f"attention_story_{report['corpus']}.png")
    titles = NAMES | {"rnnencdec": "RNN encoder-decoder (saliency)", "gold": "gold alignment"}
    maps = {titles[name]: np.array(weights) for name, weights in report["map"]["maps"].items()}
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
