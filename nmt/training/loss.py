"""Label-smoothed cross-entropy as a sum and a number of tokens.

Sums can be added over micro-batches, devices and hosts before they are divided, so that every
target token weighs the same wherever it was computed; means cannot.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

NUM_CHUNKS = 8
"""Parts of a batch whose logits are computed one after the other: an eighth is held at once."""


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


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def chunked_cross_entropy(
    states: Float[Array, "B T D"],
    table: Float[Array, "V D"],
    labels: Int[Array, "B T"],
    mask: Bool[Array, "B T"],
    label_smoothing: float = 0.0,
) -> Sums:
    """Computes `cross_entropy(states @ table.T, ...)` without ever holding all the logits.

    Positions are taken in `NUM_CHUNKS` parts. When gradients are asked for, each part's are
    computed beside its loss, while its logits are at hand; only `grad` and `vjp` of `loss` pass
    through, to `states` and `table`.

    Args:
      states: what the output layer multiplies, in the type to compute in.
      table: one row a piece, float32.
      labels: as in `cross_entropy`.
      mask: as in `cross_entropy`.
      label_smoothing: as in `cross_entropy`.

    Returns:
      Sums over the tokens that count.

    References:
      Wijmans et al. 2024, Cut Your Losses in Large-Vocabulary Language Models, section 4,
      https://arxiv.org/abs/2411.09009, which goes further and cuts the vocabulary too.
    """
    # What belongs to the gradients is dead code here, and XLA removes it.
    return _chunked_forward(states, table, labels, mask, label_smoothing)[0]


def _chunked_forward(
    states: jax.Array, table: jax.Array, labels: jax.Array, mask: jax.Array, label_smoothing: float
) -> tuple[Sums, tuple[jax.Array, jax.Array]]:
    weight = table.astype(states.dtype)

    def add(total: Any, part: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
        x, labels, mask = part

        def loss(logits: jax.Array) -> tuple[jax.Array, Sums]:
            sums = cross_entropy(logits, labels, mask, label_smoothing)
            return sums.loss, sums

        gradient, sums = jax.grad(loss, has_aux=True)(_logits(x, weight))
        gradient = gradient.astype(x.dtype)
        table_gradient = jnp.einsum("btv,btd->vd", gradient, x, preferred_element_type=jnp.float32)
        total = jax.tree.map(jnp.add, total, (sums, table_gradient))
        return total, jnp.einsum("btv,vd->btd", gradient, weight)

    start = Sums(jnp.float32(0), jnp.int32(0), jnp.int32(0)), jnp.zeros(table.shape, jnp.float32)
    (sums, table_gradient), gradient = jax.lax.scan(add, start, _chunks(states, labels, mask))
    rows, length, dim = states.shape
    gradient = jnp.moveaxis(gradient, 0, 1).reshape(rows, -1, dim)[:, :length]
    return sums, (gradient, table_gradient)


def _chunked_backward(
    _label_smoothing: float, gradients: tuple[jax.Array, jax.Array], cotangents: Sums
) -> tuple[jax.Array, jax.Array, None, None]:
    states, table = gradients
    return (cotangents.loss * states).astype(states.dtype), cotangents.loss * table, None, None


chunked_cross_entropy.defvjp(_chunked_forward, _chunked_backward)


def _logits(states: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.einsum("btd,vd->btv", states, weight, preferred_element_type=jnp.float32)


def _chunks(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Cuts along the second axis, filled up with zeros: the first may lie on several devices."""

    def cut(x: jax.Array) -> jax.Array:
        fill = [(0, 0), (0, -x.shape[1] % NUM_CHUNKS)] + [(0, 0)] * (x.ndim - 2)
        filled = jnp.pad(x, fill)
        return jnp.moveaxis(filled.reshape(x.shape[0], NUM_CHUNKS, -1, *x.shape[2:]), 1, 0)

    return tuple(map(cut, arrays))
