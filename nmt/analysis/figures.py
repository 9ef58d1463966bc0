"""Pictures: the course of a training run, and where a model looks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure


def learning_curve(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws the losses, and BLEU where it was measured, over the steps of a run.

    Args:
      records: of `metrics.jsonl`: `kind` "train" with `loss`, "dev" with `loss` and `bleu`.
      path: file to write; its suffix chooses the format.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    loss, bleu = figure.subplots(), None
    for kind, style in (("train", "-"), ("dev", "o-")):
        points = [(record["step"], record["loss"]) for record in records if record["kind"] == kind]
        if points:
            loss.plot(*zip(*points, strict=True), style, label=f"{kind} loss", markersize=4)
    loss.set(xlabel="step", ylabel="loss, nats a token")
    loss.set_ylim(bottom=0)
    points = [(record["step"], record["bleu"]) for record in records if "bleu" in record]
    if points:
        bleu = loss.twinx()
        bleu.plot(*zip(*points, strict=True), "s--", color="tab:green", label="dev BLEU")
        bleu.set(ylabel="BLEU", ylim=(0, 100 if max(y for _, y in points) > 50 else 50))
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)


def bleu_by_length(bins: Mapping[str, Sequence[tuple[str, int, float]]], path: Path) -> None:
    """Draws BLEU over the length of the source, and how many sentences are so long.

    Args:
      bins: of each system: (the length in words, the number of sentences, BLEU).
      path: file to write; its suffix chooses the format.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in bins.items():
        labels, counts, scores = zip(*points, strict=True)
        axes.plot(labels, scores, "o-", label=name)
    sentences = axes.twinx()
    sentences.bar(labels, counts, alpha=0.2, color="tab:gray")
    sentences.set(ylabel="sentences")
    axes.set(xlabel="words of the source", ylabel="BLEU", ylim=(0, None))
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)


def attention_map(
    weights: Float[np.ndarray, "T S"], source: Sequence[str], target: Sequence[str], path: Path
) -> None:
    """Draws where each target piece looked in the source (Bahdanau et al. 2015, figure 3).

    Args:
      weights: one row a target piece; each sums to 1.
      source: pieces, on the horizontal axis.
      target: pieces, on the vertical axis.
      path: file to write; its suffix chooses the format.
    """
    figure = Figure(figsize=(1 + 0.35 * len(source), 0.35 * len(target)))
    axes = figure.subplots()
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    # A word may hold two dollar signs: that is not mathematics.
    axes.set_xticks(range(len(source)), source, rotation=90, parse_math=False)
    axes.set_yticks(range(len(target)), target, parse_math=False)
    axes.xaxis.tick_top()
    figure.colorbar(image, label="attention")
    figure.savefig(path, dpi=150, bbox_inches="tight")  # words may be of any length
