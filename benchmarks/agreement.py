"""What compiled shapes and precisions change in the translations of one model.

    python benchmarks/agreement.py --workdir runs/m30k --source test.de --references test.en

Each precision is compared with float32; and in each, other shapes, and scoring by teacher forcing,
are compared with the translations that the shapes of a plain call give.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import tyro
from train_step import machine

import nmt
from nmt.decoding.loading import Precision
from nmt.evaluation.metrics import corpus_scores


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
    lines, references = (
        path.read_text().splitlines() for path in (options.source, options.references)
    )
    exact: Sequence[nmt.Translation] = ()
    print(f"{len(lines):,} sentences                  otherwise  scores differ by   BLEU")
    for precision in get_args(Precision):
        translator = nmt.load(options.workdir, precision=precision)
        plain = translator.translate(lines)
        exact = exact or plain
        texts = [translation.text for translation in plain]
        bleu = corpus_scores(texts, references, translator.config.data.target_language)[0].score
        print(row(f"{precision}, beside float32", exact, plain) + f"  {bleu:5.2f}")
        for name, shape in (
            ("a row a shape", {"one_row": True}),
            (f"shapes of {options.bucket} and more", {"bucket": options.bucket}),
        ):
            print(row(f"  {name}", plain, translator.translate(lines, **shape)))
        scored = translator.score(zip(lines, texts, strict=True))
        # A text may be cut otherwise than the search cut it: that is another hypothesis.
        pairs = [
            pair for pair in zip(plain, scored, strict=True) if pair[0].tokens == pair[1].tokens
        ]
        print(row(f"  teacher forcing of {len(pairs):,}", *zip(*pairs, strict=True)))
    print(machine())


def row(name: str, some: Sequence[nmt.Translation], others: Sequence[nmt.Translation]) -> str:
    """Compares translations; scores where these are the same."""
    same = [(x, y) for x, y in zip(some, others, strict=True) if x.text == y.text]
    difference = max(abs(x.score - y.score) for x, y in same)
    return f"{name:32} {len(some) - len(same):9,}  {difference:16.1e}"


if __name__ == "__main__":
    main(tyro.cli(Options))
