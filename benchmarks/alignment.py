"""Alignment error rate of runs on sentences aligned by hand, which may be of another domain.

    python benchmarks/alignment.py --workdirs runs/grammar_en_pt --gold word_alignment_en_pt.jsonl

A line of the gold file is `{"src_words": […], "tgt_words": […], "alignment": [[0, 0], …]}`, as in
the sentences of Europarl that Graça et al. 2008 (https://aclanthology.org/L08-1119) aligned.
"""

import dataclasses
import json
from pathlib import Path

import tyro
from train_step import machine

import nmt
from nmt.decoding.alignment import Aligner, error_rate


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure word alignments against gold ones."""

    # Folders of runs.
    workdirs: tuple[Path, ...]
    # File of sentences and their alignments.
    gold: Path


def main(options: Options) -> None:
    """Measures and prints a line a run."""
    rows = [json.loads(line) for line in options.gold.read_text().splitlines()]
    pairs = [(" ".join(row["src_words"]), " ".join(row["tgt_words"])) for row in rows]
    sure = [[(s, t) for s, t in row["alignment"]] for row in rows]
    print(f"{machine()}\n{len(pairs)} pairs; error rate of the run's own choice, and the least")
    for workdir in options.workdirs:
        translator = nmt.load(workdir)
        by = "attention" if translator.aligner else "saliency"
        looks = translator.attentions(pairs, by=by)
        errors = {
            aligner: error_rate(looks, aligner, sure)
            for aligner in Aligner.all(*looks[0].weights.shape[:2])
        }
        own = errors[translator.aligner or Aligner(0, None)]
        print(f"{workdir.name:30} by {by:9} {own:.3f} {min(errors.values()):.3f}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
