"""What compiled shapes and precisions change in the translations of one model.

    python benchmarks/agreement.py --workdir runs/m30k --source test.de --references test.en

Each precision is compared with float32; and in each, other shapes, and scoring by teacher forcing,
are compared with the translations that the shapes of a plain call give.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

import tyro
from train_step import machine

import nmt
from nmt.decoding.loading import Precision
from nmt.evaluation.metrics import corpus_scores
from nmt.streams import read_file


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare translations of one model."""

    # Folder of a run.
    workdir: Path
    # Sentences to translate.
    source: Path
    # Right translations, for BLEU.
    references: Path
    # Least source pieces of the larger shapes.
    bucket: int = 64


def main(options: Options) -> None:
    """Translates, compares, prints."""
    lines, references = list(read_file(options.source)), list(read_file(options.references))
    exact: Sequence[nmt.Translation] = ()
    print(f"{len(lines):,} sentences                  otherwise  scores differ by   BLEU")
    for precision in get_args(Precision):
        translator = nmt.load(options.workdir, precision=precision)
        plain = translator.translate(lines)
        exact = exact or plain
        texts = [translation.text for translation in plain]
        bleu = corpus_scores(texts, references, translator.config.data.target_language)[0].score
        beside = row(f"{precision}, beside float32", zip(exact, plain, strict=True))
        print(f"{beside}  {bleu:5.2f}")
        for name, shape in (
            ("a row a shape", {"one_row": True}),
            (f"shapes of {options.bucket} and more", {"bucket": options.bucket}),
        ):
            found = translator.translate(lines, **shape)
            print(row(f"  {name}", zip(plain, found, strict=True)))
        scored = translator.score(zip(lines, plain, strict=True))
        print(row("  teacher forcing", zip(plain, scored, strict=True)))
    print(machine())


def row(name: str, pairs: Iterable[tuple[nmt.Translation, nmt.Translation]]) -> str:
    """Compares translations; scores where these are the same."""
    pairs = list(pairs)
    differences = [abs(x.score - y.score) for x, y in pairs if x.text == y.text]
    return f"{name:32} {len(pairs) - len(differences):9,}  {max(differences, default=0):16.1e}"


if __name__ == "__main__":
    main(tyro.cli(Options))
