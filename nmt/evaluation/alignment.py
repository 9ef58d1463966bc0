"""The alignment error rate."""

from collections.abc import Collection, Sequence

Links = Collection[tuple[int, int]]


def alignment_error_rate(
    found: Sequence[Links], sure: Sequence[Links], possible: Sequence[Links] | None = None
) -> float:
    """Computes 1 - (|A ∩ S| + |A ∩ P|) / (|A| + |S|) of a corpus (Och and Ney 2003, section 5).

    Args:
      found: A of each sentence.
      sure: S, which a good alignment contains.
      possible: P, which a good alignment may contain; S belongs to it without being repeated.

    Returns:
      Between 0 and 1; 0 where there is nothing to find and nothing was found.
    """
    hits = total = 0
    for links, certain, allowed in zip(found, sure, possible or sure, strict=True):
        aligned, certain = set(links), set(certain)
        hits += len(aligned & certain) + len(aligned & (certain | set(allowed)))
        total += len(aligned) + len(certain)
    return 1 - hits / total if total else 0.0
