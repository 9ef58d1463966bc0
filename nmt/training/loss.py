"""Label-smoothed cross-entropy as a sum and a number of tokens.

Sums can be added over micro-batches, devices and hosts before they are divided, so that every
target token weighs the same wherever it was computed; means cannot.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Sums(NamedTuple):
    """What a batch adds to the measures of a corpus."""

    loss: Float[Array, ""]  # negative log-likelihood in nats, smoothed where asked for
    num_correct: Int[Array, ""]  # tokens whose likeliest piece is the label
    num_tokens: Int[Array, ""]


def cross_entropy(
    logits: Float[Array, "*B V"],
    labels: Int[Array, "*B"],
    mask: Bool[Array, "*B"],
    label_smoothing: float = 0.0,
) -> Sums:
    """Sums -Σ_v q(v) log p(v) with q = (1 - ε) · [v = label] + ε / V.

    Args:
      logits: unnormalised log-probabilities, float32.
      labels: ids.
      mask: True at the tokens that count.
      label_smoothing: ε.

    Returns:
      Sums over the tokens that count.

    References:
      Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, section 7,
      https://arxiv.org/abs/1512.00567; Vaswani et al. 2017, section 5.4.
    """
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    # A comparison, not an index: its gradient is elementwise, that of an index a scatter.
    is_label = jnp.arange(logits.shape[-1]) == labels[..., None]
    label_logit = jnp.where(is_label, logits, 0.0).sum(-1)
    loss = normalizer - (1 - label_smoothing) * label_logit
    if label_smoothing:
        loss = loss - label_smoothing * logits.mean(-1)
    correct = label_logit >= logits.max(-1)
    return Sums(
        jnp.where(mask, loss, 0.0).sum(),
        (correct & mask).sum(dtype=jnp.int32),
        mask.sum(dtype=jnp.int32),
    )
