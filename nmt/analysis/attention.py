"""Where a model looks while it translates a sentence: all kinds of attention, between words."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from nmt.data.tokenizer import clean
from nmt.decoding import decoder
from nmt.decoding.alignment import merge_words, owners, whitespace_words
from nmt.decoding.translator import Translator
from nmt.models.seq2seq import attention_maps

KINDS = ("encoder", "decoder", "cross", "saliency")
"""Of attention; which of them there are is a model's matter."""

_attention_maps = jax.jit(decoder.in_float32(attention_maps), static_argnums=0)
_saliency = jax.jit(decoder.saliency, static_argnums=(0, 1))


class Attention(NamedTuple):
    """Where the words of a sentence and of its translation look."""

    source: list[str]  # words, the end of the sentence last
    target: list[str]
    maps: dict[str, Float[np.ndarray, "L N _Q _K"]]  # by kind; what they are of, `axes` tells

    def axes(self, kind: str) -> tuple[list[str], list[str]]:
        """Returns the words that look (rows) and those that are looked at (columns).

        A row of the decoder is the word that is chosen there; a column one that has been read.
        """
        if kind == "encoder":
            return self.source, self.source
        return self.target, ["<s>", *self.target[:-1]] if kind == "decoder" else self.source


def attention(
    translator: Translator, sentence: str, translation: str | None = None, *, saliency: bool = False
) -> Attention:
    """Runs a teacher-forced pass over a translation; returns the attention of all layers and heads.

    Args:
      translator: of any model.
      sentence: to translate.
      translation: whose words are to look; None is that of the search.
      saliency: adds the kind "saliency", which models without attention have too: see
        `nmt.decoding.decoder.saliency`.

    Raises:
      ValueError: the sentence, or the translation, is empty or too long.
    """
    tokenizer, model = translator.tokenizer, translator.model
    ids = decoder.Ids(tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id)
    sentence = clean(sentence)
    if translation is None:
        (found,) = translator.translate([sentence])
        pieces = tokenizer.target.piece_to_id(list(found.tokens))
        text, starts = tokenizer.decoded_starts(pieces)
    else:
        text = clean(translation)
        translator.check_pair(sentence, text)
        pieces, starts = tokenizer.encode_target([text])[0][:-1], tokenizer.target_starts(text)
    (source_pieces,) = tokenizer.encode_source([sentence])
    if len(source_pieces) == 1 or not pieces:
        which = "sentence" if len(source_pieces) == 1 else "translation"
        raise ValueError(f"the {which} is empty: it has no words that look or are looked at")
    source, target = jnp.array([source_pieces]), jnp.array([[*pieces, tokenizer.eos_id]])
    params = jax.device_get(translator.params)
    maps = _attention_maps(model, params, *decoder.teacher_forced(ids, source, target))
    maps = {kind: weights[:, 0] for kind, weights in jax.device_get(maps).items()}
    if saliency:
        maps["saliency"] = np.asarray(_saliency(model, ids, params, source, target))[0]

    spans = whitespace_words(sentence), whitespace_words(text)
    own = (
        owners(sentence, tokenizer.source_starts(sentence), spans[0]),
        owners(text, starts, spans[1]),
    )
    ends = [np.append(numbers, len(s)) for numbers, s in zip(own, spans, strict=True)]
    end = tokenizer.target.id_to_piece(tokenizer.eos_id)
    words = [
        [*(line[slice(*span)] for span in found), end]
        for line, found in zip((sentence, text), spans, strict=True)
    ]
    result = Attention(words[0], words[1], {})
    for kind, weights in maps.items():
        rows = ends[0] if kind == "encoder" else ends[1]
        read = np.append(0, np.minimum(1 + own[1], len(spans[1])))  # "<s>" is the first
        columns = read if kind == "decoder" else ends[0]
        result.maps[kind] = _merged(weights, rows, columns, *map(len, result.axes(kind)))
    return result


def _merged(
    weights: Float[np.ndarray, "L N T S"],
    rows: Int[np.ndarray, " T"],
    columns: Int[np.ndarray, " S"],
    num_rows: int,
    num_columns: int,
) -> Float[np.ndarray, "L N _Q _K"]:
    """Merges pieces to words; a last word without a piece of its own has zeros."""
    merged = merge_words(weights, columns, rows)
    missing = num_rows - merged.shape[-2], num_columns - merged.shape[-1]
    return np.pad(merged, [(0, 0), (0, 0), *((0, count) for count in missing)])
