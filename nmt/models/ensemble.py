"""Several models as one, for decoding: the mean of their log-probabilities."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from nmt.models.layers import Output

Memory: TypeAlias = Any
Constants: TypeAlias = Any
Cache: TypeAlias = Any
"""What a member makes is of its own type."""


class MeanOutput(NamedTuple):
    """The outputs of all members, of which the logits are the mean.

    That is the mean of their log-probabilities but for a constant, which a search normalises away:
    the distribution is the geometric mean of the members'.
    """

    outputs: tuple[Output, ...]

    @property
    def logits(self) -> Float[Array, "B T V"]:
        """Computes the mean of the logits."""
        return _mean([output.logits for output in self.outputs])

    def sentence(self, number: Int[Array, ""]) -> "MeanOutput":
        """Returns the outputs of one row."""
        return MeanOutput(tuple(output.sentence(number) for output in self.outputs))


class Ensemble(nn.Module):
    """Models of one vocabulary, in one compiled function; their sizes may differ.

    It has the methods of its members that decoding needs; what they return is a tuple over the
    members. Its parameters are `{"members_0": ..., "members_1": ...}`.
    """

    members: tuple[Any, ...]  # models

    def __call__(self, *arrays: Int[Array, "B _"], deterministic: bool) -> MeanOutput:
        """Runs all members, teacher-forced."""
        return MeanOutput(tuple(m(*arrays, deterministic=deterministic) for m in self.members))

    def encode(self, *arrays: Int[Array, "B S"], deterministic: bool) -> tuple[Memory, ...]:
        """Encodes the source with each member."""
        return tuple(m.encode(*arrays, deterministic=deterministic) for m in self.members)

    def start(
        self, memories: tuple[Memory, ...], num_hypotheses: int, length: int
    ) -> tuple[tuple[Constants, ...], tuple[Cache, ...]]:
        """Prepares the decoding of K hypotheses a sentence, with room for `length` pieces."""
        members = zip(self.members, memories, strict=True)
        starts = [member.start(memory, num_hypotheses, length) for member, memory in members]
        constants, caches = zip(*starts, strict=True)
        return constants, caches

    def decode_step(
        self,
        constants: tuple[Constants, ...],
        caches: tuple[Cache, ...],
        token: Int[Array, "B K"],
        step: Int[Array, " B"],
    ) -> tuple[Float[Array, "B K V"], tuple[Cache, ...]]:
        """Averages the members' logits of each hypothesis' next piece."""
        steps = [
            m.decode_step(own, cache, token, step)
            for m, own, cache in zip(self.members, constants, caches, strict=True)
        ]
        logits, caches = zip(*steps, strict=True)
        return _mean(logits), caches

    @nn.nowrap
    def reorder(self, caches: tuple[Cache, ...], parents: Int[Array, "B K"]) -> tuple[Cache, ...]:
        """Reorders the cache of each member."""
        return tuple(
            m.reorder(cache, parents) for m, cache in zip(self.members, caches, strict=True)
        )


def _mean(logits: Sequence[Float[Array, "..."]]) -> Float[Array, "..."]:
    return jnp.mean(jnp.stack(logits), axis=0)
