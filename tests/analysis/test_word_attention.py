"""Where words look, against the maps of a model without padding, merged by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nmt
from nmt.analysis.attention import attention
from nmt.config import Config, DataConfig, TokenizerConfig, TrainingConfig, TransformerConfig
from nmt.data import tokenizer
from nmt.decoding.alignment import merge_words
from nmt.models.seq2seq import attention_maps, build, init_params

MODEL = TransformerConfig(emb_dim=16, num_layers=2, num_heads=2, mlp_dim=32)


def test_words_look_where_their_pieces_do():
    texts = ["the cat sleeps on the red sofa", "o gato dorme no sofá vermelho"]
    vocabulary = tokenizer.train(TokenizerConfig(vocab_size=300), texts * 9, texts * 9)
    model = build(MODEL, vocabulary.vocab_sizes, vocabulary.shared)
    params = jax.jit(partial(init_params, model))(jax.random.key(1))
    config = Config(DataConfig("en", "pt"), model=MODEL, training=TrainingConfig(10_000, 1024))
    translator = nmt.Translator(model, params, vocabulary, config)
    (found,) = translator.attentions([(texts[0], texts[1])])

    source = vocabulary.encode_source([texts[0]])[0]
    (target,) = vocabulary.encode_target([texts[1]])
    arrays = []
    for ids in (source, [vocabulary.bos_id, *target[:-1]]):
        row = jnp.array([ids], jnp.int32)
        arrays += [row, jnp.ones_like(row), jnp.arange(len(ids))[None]]
    maps = jax.jit(attention_maps, static_argnums=0)(model, params, *arrays)["cross"]
    weights = np.asarray(maps)[:, 0]
    np.testing.assert_allclose(found.weights, weights, atol=1e-6)

    def words_of(ids):
        """Lists the places of each word's pieces; the end is a word too."""
        names = [vocabulary.target.id_to_piece(id) for id in ids[:-1]]
        words = []
        for place, name in enumerate(names):
            if place == 0 or name.startswith("▁"):
                words.append([])
            words[-1].append(place)
        return [*words, [len(ids) - 1]]

    of_source, of_target = words_of(source), words_of(target)
    assert (len(of_source), len(of_target)) == (8, 7)  # seven and six words and the end
    expected = [[weights[:, :, t][..., s].sum(-1).mean() for s in of_source] for t in of_target]
    owners = [np.append(own, own.max() + 1) for own in (found.source, found.target)]
    merged = merge_words(found.weights.mean((0, 1)), *owners)
    np.testing.assert_allclose(merged, expected, atol=1e-5)

    looks = attention(translator, *texts, saliency=True)
    assert looks.source == [*texts[0].split(), "</s>"]
    assert looks.target == [*texts[1].split(), "</s>"]
    np.testing.assert_allclose(looks.maps["cross"].mean((0, 1)), expected, atol=1e-5)
    all_maps = jax.jit(attention_maps, static_argnums=0)(model, params, *arrays)
    places = {"source": of_source, "target": of_target}
    read = [[0], *([place + 1 for place in word] for word in of_target[:-1])]  # behind the begin
    for kind, rows, columns in (
        ("encoder", places["source"], places["source"]),
        ("decoder", places["target"], read),
    ):
        weights = np.asarray(all_maps[kind])[:, 0]
        expected = np.array(
            [[weights[:, :, t][..., s].sum(-1).mean(-1) for s in columns] for t in rows]
        )
        np.testing.assert_allclose(
            looks.maps[kind], np.moveaxis(expected, (0, 1), (2, 3)), atol=1e-5
        )
    assert looks.axes("decoder") == (looks.target, ["<s>", *texts[1].split()])
    assert looks.maps["saliency"].shape == (1, 1, 7, 8)
    for weights in looks.maps.values():
        np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)

    found = attention(translator, texts[0])
    assert found.target == [*translator.translate([texts[0]])[0].text.split(), "</s>"]
    assert found.maps.keys() == {"encoder", "decoder", "cross"}
    for sides in (("", "o gato"), ("the cat", ""), (" ", None)):
        with pytest.raises(ValueError, match=r"the (sentence|translation) is empty"):
            attention(translator, *sides)
