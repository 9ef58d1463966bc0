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


def attention_maps(
    maps: Sequence[Mapping[str, Float[np.ndarray, "T S"]]],
    source: Sequence[str],
    target: Sequence[str],
    path: Path,
) -> None:
    """Draws where each word looks (Bahdanau et al. 2015, figure 3).

    Args:
      maps: rows of panels by their titles: of each, one row of weights from 0 to 1 for each word
        that looks.
      source: words that are looked at, on the horizontal axes.
      target: words that look, on the vertical axes.
      path: file to write; its suffix chooses the format.

    Raises:
      ValueError: weights are not of these words.
    """
    shape = len(maps), max(map(len, maps))
    cells = len(target) * shape[0], len(source) * shape[1]
    cell = min(0.35, 60 / max(cells))  # inches, of a picture that memory holds
    size = (1 + cell * cells[1], 0.5 * shape[0] + cell * cells[0])
    figure = Figure(figsize=size)
    text = {"fontsize": min(10, 65 * cell), "parse_math": False}  # "$" begins no mathematics
    panels = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)
    for row, titled in zip(panels, maps, strict=True):
        for axes, (title, weights) in zip(row, titled.items(), strict=True):
            if weights.shape != (len(target), len(source)):
                raise ValueError(
                    f"weights are {weights.shape}; expected {len(target)} words that look at "
                    f"{len(source)}"
                )
            image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set_title(title)
            axes.set_xticks(range(len(source)), source, rotation=90, **text)
            axes.set_yticks(range(len(target)), target, **text)
    figure.colorbar(image, ax=panels, label="weight")
    figure.savefig(path, dpi=150 if len(maps) == 1 else 60, bbox_inches="tight")
