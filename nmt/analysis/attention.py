"""Where a model looks while it translates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nmt.data.batching import bucket_length, pack, ragged
from nmt.decoding.alignment import WORD_START, merge_words, words
from nmt.decoding.translator import Translator
from nmt.models.seq2seq import attention_maps

_attention_maps = jax.jit(attention_maps, static_argnums=0)


class WordAttention(NamedTuple):
    """The attention of a translation's words to the words of its source."""

    weights: Float[np.ndarray, "T S"]  # rows sum to 1
    source: list[str]
    target: list[str]


def cross_attention(translator: Translator, sentence: str) -> WordAttention:
    """Translates a sentence and returns where each word looked: the mean over layers and heads.

    The weights come from one teacher-forced pass over the translation. The end of the sentence
    counts as a word on both sides.
    """
    vocabulary = translator.tokenizer
    (source,) = vocabulary.encode_source([sentence])
    pieces = translator.translate([sentence])[0].tokens
    target = [*map(vocabulary.target.piece_to_id, pieces), vocabulary.eos_id]
    special = {"pad_id": vocabulary.pad_id, "bos_id": vocabulary.bos_id}
    width = bucket_length(max(len(source), len(target)))
    batch = pack(ragged([source]), ragged([target]), width, width, **special)
    inputs = {name: jnp.asarray(x) for name, x in batch._asdict().items() if name != "labels"}
    maps = _attention_maps(translator.model, jax.device_get(translator.params), **inputs)
    weights = np.asarray(maps["cross"].mean((0, 1, 2)))[: len(target), : len(source)]
    end = WORD_START + vocabulary.target.id_to_piece(vocabulary.eos_id)
    source_pieces = [*vocabulary.source.id_to_piece(source[:-1]), end]
    target_pieces = [*pieces, end]
    return WordAttention(
        merge_words(weights, source_pieces, target_pieces),
        words(source_pieces),
        words(target_pieces),
    )
