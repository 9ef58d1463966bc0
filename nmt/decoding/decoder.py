"""A model's search and its teacher forcing on arrays: what a `Translator` compiles.

Pure functions, for callers who jit, vmap, pmap or export them (in fixed shapes) themselves.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from nmt.config import EXTRA_TARGET_LENGTH
from nmt.decoding.rules import (
    NO_PIECE,
    forbidden_phrases,
    forced_prefix,
    minimum_length,
    no_repeated_ngrams,
    required_phrases,
)
from nmt.decoding.sampling import sampler, sentence_keys
from nmt.decoding.search import Hypotheses, Rule, beam_search, greedy_search, length_normalization
from nmt.models.seq2seq import Params, SequenceModel, attention_maps

Function = TypeVar("Function", bound=Callable[..., Any])


class Ids(NamedTuple):
    """What a search knows of ids."""

    pad: int
    bos: int
    eos: int
    unk: int | None = None  # no translation has it
    word_edges: Bool[np.ndarray, "V 2"] | None = None  # for phrases that are required


class Sampling(NamedTuple):
    """Turns sampling on; None is off."""

    seed: Int[ArrayLike, ""]
    temperature: Float[ArrayLike, ""] = 1.0
    top_k: Int[ArrayLike, ""] | None = None
    top_p: Float[ArrayLike, ""] | None = None


class Values(NamedTuple):
    """What a search may be told; None is off.

    Whether a value is None is part of what is compiled; another value compiles nothing.
    """

    length_penalty: Float[ArrayLike, ""] = 0.0
    length_offset: Float[ArrayLike, ""] = 5.0
    num_best: Int[ArrayLike, ""] = 1
    max_length_factor: Float[ArrayLike, ""] = 1.0  # pieces for each of the source,
    max_length_extra: Int[ArrayLike, ""] = EXTRA_TARGET_LENGTH  # and more, in all within the shape
    min_length: Int[ArrayLike, ""] | None = None
    ngram_size: Int[ArrayLike, ""] | None = None
    sampling: Sampling | None = None


class Phrases(NamedTuple):
    """What a search may be told of each sentence, as ids filled up with `NO_PIECE`; None is off."""

    prefix: Int[Array, "B P"] | None = None
    forbidden: Int[Array, "B P L"] | None = None
    required: Int[Array, "B P L"] | None = None


def in_float32(function: Function) -> Function:
    """Lets a function multiply float32 as such.

    Left to themselves GPUs round to 11 bits before they multiply, and TPUs to 8.
    """
    exact: Function = jax.default_matmul_precision("highest")(function)
    return exact


@in_float32
def search(
    model: SequenceModel,
    ids: Ids,
    params: Params,
    source: Int[Array, "B S"],
    phrases: Phrases,
    values: Values,
    *,
    num_hypotheses: int,
    num_rows: int | None = None,
) -> Hypotheses:
    """Translates each sentence of ids.

    Args:
      model: a sequence-to-sequence model.
      ids: the special ones.
      params: of the model.
      source: each one sentence with its end id, filled up with the padding id; one of padding alone
        is empty and costs nothing behind the last that is not.
      phrases: what is a sentence's own.
      values: what all sentences share.
      num_hypotheses: K, beam size or samples; 1 is greedy search.
      num_rows: sentences that are translated at once; None is all.

    Raises:
      ValueError: phrases are required, and `ids` does not say what words are.
    """
    apply: Callable[..., Any] = partial(model.apply, {"params": params})
    max_length = source.shape[1] + EXTRA_TARGET_LENGTH
    lengths = (source != ids.pad).sum(1)
    limits = jnp.int32(values.max_length_factor * lengths) + values.max_length_extra

    def begin(sentences: Int[Array, " C"]) -> tuple[Any, Any]:
        own = source[sentences]
        segments = (own != ids.pad).astype(jnp.int32)
        positions = jnp.broadcast_to(jnp.arange(own.shape[1]), own.shape)
        memory = apply(own, segments, positions, deterministic=True, method="encode")
        return apply(memory, num_hypotheses, max_length, method="start")

    arguments: dict[str, Any] = {
        "begin": begin,
        "decode_step": partial(apply, method="decode_step"),
        "max_lengths": jnp.where(lengths > 0, jnp.minimum(limits, max_length), 0),
        "max_length": max_length,
        "num_rows": num_rows,
        "pad_id": ids.pad,
        "bos_id": ids.bos,
        "eos_id": ids.eos,
        "unk_id": ids.unk,
        "rules": _rules(phrases, values, ids.eos),
        "length_penalty": values.length_penalty,
        "length_offset": values.length_offset,
    }
    if values.sampling is not None:
        seed, temperature, top_k, top_p = values.sampling
        keys = sentence_keys(seed, jnp.where(source == ids.pad, -1, source), num_hypotheses)
        return greedy_search(
            choose=sampler(keys, temperature, top_k, top_p),
            num_hypotheses=num_hypotheses,
            **arguments,
        )
    if num_hypotheses == 1 and phrases.required is None:
        return greedy_search(**arguments)
    select = None
    if phrases.required is not None:
        if ids.word_edges is None:
            raise ValueError("phrases are required, and ids.word_edges does not say what words are")
        rule, select = required_phrases(phrases.required, ids.eos, ids.word_edges)
        arguments["rules"].append(rule)
    return beam_search(
        reorder=model.reorder,
        beam_size=num_hypotheses,
        num_best=values.num_best,
        select=select,
        **arguments,
    )


def _rules(phrases: Phrases, values: Values, eos_id: int) -> list[Rule]:
    """Makes the rules that are on."""
    rules = []
    if values.min_length is not None:
        rules.append(minimum_length(values.min_length, eos_id))
    if values.ngram_size is not None:
        rules.append(no_repeated_ngrams(values.ngram_size, phrases.prefix))
    if phrases.prefix is not None:
        rules.append(forced_prefix(phrases.prefix))
    if phrases.forbidden is not None:
        rules.append(forbidden_phrases(phrases.forbidden))
    return rules


@in_float32
def force(
    model: SequenceModel,
    ids: Ids,
    params: Params,
    source: Int[Array, "B S"],
    target: Int[Array, "B T"],
    values: Values,
) -> tuple[Float[Array, "B T"], Float[Array, " B"]]:
    """Scores given targets in one pass.

    Args:
      model: as in `search`.
      ids: as in `search`.
      params: as in `search`.
      source: as in `search`.
      target: each row one sentence with its end id, filled up with `NO_PIECE`.
      values: of which the length normalisation is heeded.

    Returns:
      The log-probability of each piece, zero where none is, and the score of each sentence.
    """
    given = target != NO_PIECE
    output: Any = model.apply(
        {"params": params}, *teacher_forced(ids, source, target), deterministic=True
    )

    def of_sentence(number: Int[Array, ""]) -> Float[Array, " T"]:
        log_probs = jax.nn.log_softmax(output.sentence(number).logits[0])
        pieces = jnp.maximum(target[number], 0)
        return jnp.take_along_axis(log_probs, pieces[:, None], axis=1)[:, 0]

    # One sentence at a time: the logits of all would need the most memory of all.
    log_probs = jax.lax.map(of_sentence, jnp.arange(len(target)))
    log_probs = jnp.where(given, log_probs, 0.0)
    normalization = length_normalization(given.sum(1), values.length_penalty, values.length_offset)
    return log_probs, log_probs.sum(1) / normalization


@in_float32
def cross_attention(
    model: SequenceModel,
    ids: Ids,
    params: Params,
    source: Int[Array, "B S"],
    target: Int[Array, "B T"],
) -> Float[Array, "B L N T S"]:
    """Computes where each layer and head looked as it chose each piece of given targets.

    Args:
      model: as in `search`.
      ids: as in `search`.
      params: as in `search`.
      source: as in `search`.
      target: as in `force`.
    """
    maps = attention_maps(model, params, *teacher_forced(ids, source, target))
    return jnp.moveaxis(maps["cross"], 1, 0)


@in_float32
def saliency(
    model: SequenceModel,
    ids: Ids,
    params: Params,
    source: Int[Array, "B S"],
    target: Int[Array, "B T"],
) -> Float[Array, "B 1 1 T S"]:
    """Computes |x_s · ∂ log p(y_t | y_<t, x) / ∂ x_s|, x_s the embedding of a source piece.

    To first order that is how much the choice of y_t would change were x_s scaled (Ding et al.
    2019, https://aclanthology.org/W19-5201, without its smoothing). It says of any model what
    `cross_attention` says of one that attends: each row is divided by its sum.

    Args:
      model: as in `search`.
      ids: as in `search`.
      params: as in `search`.
      source: as in `search`.
      target: as in `force`.

    Raises:
      ValueError: the weights are integers, through which no gradient passes.
    """
    if any(leaf.dtype == jnp.int8 for leaf in jax.tree.leaves(params)):
        raise ValueError("saliency needs gradients, and int8 has none; load another precision")

    def of_sentence(pair: tuple[Int[Array, " S"], Int[Array, " T"]]) -> Float[Array, "T S"]:
        num_pieces = (pair[1] != NO_PIECE).sum()
        arrays = teacher_forced(ids, *(side[None] for side in pair))

        def log_probs(factors: Float[Array, " S"]) -> Float[Array, " T"]:
            def scaled(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
                y = call(*args, **kwargs)
                embeds = isinstance(context.module, nn.Embed) and context.method_name == "__call__"
                return y * factors[:, None] if embeds and args[0] is arrays[0] else y

            with nn.intercept_methods(scaled):
                output: Any = model.apply({"params": params}, *arrays, deterministic=True)
            pieces = jnp.maximum(pair[1], 0)[:, None]
            return jnp.take_along_axis(jax.nn.log_softmax(output.logits[0]), pieces, axis=1)[:, 0]

        # One piece at a time: gradients of all logits at once would need the most memory of all.
        def add(place: Int[Array, ""], found: Float[Array, "T S"]) -> Float[Array, "T S"]:
            (changes,) = pull(jax.nn.one_hot(place, len(found)))
            return found.at[place].set(jnp.abs(changes))

        _, pull = jax.vjp(log_probs, jnp.ones(source.shape[1]))
        return jax.lax.fori_loop(0, num_pieces, add, nothing)

    nothing = jnp.zeros((target.shape[1], source.shape[1]))
    found = jax.lax.map(
        lambda pair: jax.lax.cond(pair[1][0] == NO_PIECE, lambda _: nothing, of_sentence, pair),
        (source, target),
    )
    found = found / jnp.maximum(found.sum(-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    return found[:, None, None]


def teacher_forced(
    ids: Ids, source: Int[Array, "B S"], target: Int[Array, "B T"]
) -> tuple[Int[Array, "B _"], ...]:
    """Makes the six arrays that a model reads, of one sentence a row.

    Args:
      ids: as in `search`.
      source: as in `search`.
      target: as in `force`.
    """
    given = target != NO_PIECE
    begin = jnp.full_like(target[:, :1], ids.bos)
    pieces = jnp.where(given, target, ids.pad)
    return (
        source,
        (source != ids.pad).astype(jnp.int32),
        jnp.broadcast_to(jnp.arange(source.shape[1]), source.shape),
        jnp.concatenate([begin, pieces[:, :-1]], axis=1),
        given.astype(jnp.int32),
        jnp.broadcast_to(jnp.arange(target.shape[1]), target.shape),
    )
