"""What a translator promises holds for every family of models, and for several together."""

from dataclasses import replace
from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_translator import CONFIG, SENTENCES, teacher_forced

import nmt
from nmt.analysis.attention import _attention_maps, attention
from nmt.config import ModelConfig, RecurrentConfig
from nmt.data import tokenizer
from nmt.data.corpora import load_corpus
from nmt.data.tokenizer import Tokenizer
from nmt.decoding import decoder
from nmt.models.quantization import cast_params, quantize_params
from nmt.models.seq2seq import build, init_params

RNNSEARCH = RecurrentConfig(
    emb_dim=16, hidden_dim=24, encoder_dim=12, attention_dim=16, readout_dim=16
)
LUONG = replace(
    RNNSEARCH,
    cell="lstm",
    num_layers=2,
    encoder_dim=24,
    reading="backward",
    decoder="luong",
    attention="general",
    window="predictive",
    window_size=3,
)
RECURRENT = {
    "RNNsearch": RNNSEARCH,
    "RNNencdec": replace(RNNSEARCH, attention=None),
    "Luong": LUONG,
}
FAMILIES = RECURRENT | {"Transformer": CONFIG.model}


@cache
def vocabulary() -> Tokenizer:
    return tokenizer.train(CONFIG.tokenizer, *load_corpus(CONFIG.data).train)


@cache
def make(config: ModelConfig) -> nmt.Translator:
    """Of twice the initial parameters: so far from zero no two pieces are equally likely.

    At three times them, Luong's model amplifies rounding from step to step: after sixty, its own
    teacher forcing differed by 6e-4 between two amounts of padding.
    """
    model = build(config, vocabulary().vocab_sizes, vocabulary().shared)
    params = jax.tree.map(lambda x: 2 * x, jax.jit(partial(init_params, model))(jax.random.key(0)))
    return nmt.Translator(
        model, jax.device_get(params), vocabulary(), replace(CONFIG, model=config)
    )


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES.keys())
def translator(request) -> nmt.Translator:
    return make(request.param)


@pytest.fixture(params=RECURRENT.values(), ids=RECURRENT.keys())
def recurrent(request) -> nmt.Translator:
    """For what `test_translator.py` says of the Transformer."""
    return make(request.param)


OPTIONS = {
    "greedy": {"beam_size": 1},
    "beam": {"n_best": 3},
    "samples": {"samples": 2},
    "required": {"required": ["casa"], "max_length_extra": 9},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_company_and_order_change_no_bit(recurrent, options):
    options = {**options}
    required = options.pop("required", ())
    sentences = [nmt.Sentence(sentence, required=required) for sentence in SENTENCES]
    together = recurrent.translate(sentences * 2, **options)
    assert len({t.text for t in together}) > 2
    for number, sentence in enumerate(sentences):
        (alone,) = recurrent.translate([sentence], **options)
        assert alone == together[number] == together[number + len(sentences)]
    assert recurrent.translate((sentences * 2)[::-1], **options) == together[::-1]


def test_scores_are_those_of_teacher_forcing_in_every_shape(recurrent):
    found = recurrent.translate(SENTENCES[:1])[0]
    ids = recurrent.tokenizer.encode_source(SENTENCES[:1])[0]
    target = [*recurrent.tokenizer.target.piece_to_id(list(found.tokens)), vocabulary().eos_id]
    if len(target) < len(found.token_log_probs):
        pytest.fail("a piece is missing")
    arrays = [
        np.pad(row, (0, 114 - len(row)))[None]
        for side in (ids, [vocabulary().bos_id, *target[:-1]])
        for row in (np.array(side), np.ones(len(side), int), np.arange(len(side)))
    ]
    log_probs = teacher_forced(recurrent.model, jax.device_get(recurrent.params), *arrays)[0]
    forced = [float(log_probs[t, piece]) for t, piece in enumerate(target)]
    np.testing.assert_allclose(found.token_log_probs, forced, atol=1e-4)
    for shape in ({"one_row": True}, {"bucket": 64}):
        (other,) = recurrent.translate(SENTENCES[:1], **shape)
        assert other.tokens == found.tokens
        assert other.score == pytest.approx(found.score, abs=1e-4)
    (scored,) = recurrent.score([(SENTENCES[0], found.text)])
    if scored.tokens == found.tokens:  # else the vocabulary cuts the text in another way
        np.testing.assert_allclose(scored.token_log_probs, forced, atol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_company_changes_no_bit_in_any_precision(recurrent, precision):
    model_config, params = recurrent.config.model, jax.device_get(recurrent.params)
    if precision == "bfloat16":
        model_config = replace(model_config, compute_dtype="bfloat16")
        params = cast_params(params, precision)
    else:
        params = quantize_params(params)
    model = build(model_config, vocabulary().vocab_sizes, vocabulary().shared)
    own = nmt.Translator(model, params, vocabulary(), replace(CONFIG, model=model_config))
    together = own.translate(SENTENCES, beam_size=2)
    assert together == [own.translate([s], beam_size=2)[0] for s in SENTENCES]


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_search_is_lowered_for_other_platforms(translator, platform):
    source = jax.ShapeDtypeStruct((2, 16), jnp.int32)
    search = jax.jit(partial(translator.search, num_hypotheses=2))
    lowered = search.trace(translator.params, source).lower(lowering_platforms=(platform,))
    assert "stablehlo.while" in lowered.as_text()


def products(jaxpr):
    """All products of matrices, however deep."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(inner):
                yield from products(getattr(inner, "jaxpr", inner))


def is_jaxpr(x):
    return hasattr(x, "eqns")


def test_no_product_of_float32_is_rounded(translator):
    # On CPU none is, whatever is asked for: GPUs and TPUs round unless they are told not to.
    ids = decoder.Ids(vocabulary().pad_id, vocabulary().bos_id, vocabulary().eos_id)
    source, target = jnp.full((2, 8), 5), jnp.full((2, 9), 6)
    given = translator.params, source
    for beam_size in (1, 2):
        search = partial(decoder.search, translator.model, ids, num_hypotheses=beam_size)
        check_products(search, *given, decoder.Phrases(), decoder.Values())
    given = *given, target
    check_products(partial(decoder.force, translator.model, ids), *given, decoder.Values())
    check_products(partial(decoder.saliency, translator.model, ids), *given)
    arrays = decoder.teacher_forced(ids, source, target)
    check_products(partial(_attention_maps, translator.model), translator.params, *arrays)
    if translator.aligner:
        check_products(partial(decoder.cross_attention, translator.model, ids), *given)
    assert jax.config.jax_default_matmul_precision is None


def check_products(function, *arguments):
    found = list(products(jax.make_jaxpr(function)(*arguments).jaxpr))
    assert found
    for product in found:
        assert product.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2


def test_models_of_all_families_are_an_ensemble():
    members = [make(config) for config in FAMILIES.values()]
    together = nmt.ensemble(members)
    (found,) = together.translate(SENTENCES[:1])
    assert found == together.translate(SENTENCES[:3])[0]
    pair = SENTENCES[0], "O menino dorme."
    (scored,) = together.score([pair], length_penalty=0.0)
    alone = [member.score([pair])[0].token_log_probs for member in members]
    # All of each member's next pieces: their mean, renormalised.
    source, target = (side[0] for side in map(vocabulary().encode_source, zip(pair)))
    arrays = [
        np.array(row)[None]
        for side in (source, [vocabulary().bos_id, *target[:-1]])
        for row in (side, np.ones(len(side), int), np.arange(len(side)))
    ]
    each = [teacher_forced(m.model, jax.device_get(m.params), *arrays)[0] for m in members]
    for own, log_probs in zip(alone, each, strict=True):
        np.testing.assert_allclose(own, log_probs[np.arange(len(target)), target], atol=1e-3)
    mean = np.mean(each, axis=0)
    expected = mean - np.log(np.exp(mean).sum(1, keepdims=True))
    np.testing.assert_allclose(
        scored.token_log_probs, expected[np.arange(len(target)), target], atol=1e-3
    )
    first = nmt.ensemble([make(FAMILIES["RNNencdec"]), make(RNNSEARCH)])
    assert attention(first, SENTENCES[0]).maps == {}


def test_where_any_model_looks_is_seen(translator):
    looks = attention(translator, SENTENCES[0], "O menino dorme.", saliency=True)
    layers, heads = translator.config.model.num_cross_attentions
    kinds = {kind: weights.shape for kind, weights in looks.maps.items()}
    assert kinds.pop("saliency") == (1, 1, 4, 4)
    assert kinds.get("cross", (0, 0, 4, 4)) == (layers, heads, 4, 4)
    assert len(kinds) == (3 if translator.config.model == CONFIG.model else layers)
    assert (looks.source, looks.target) == (
        ["The", "boy", "sleeps.", "</s>"],
        ["O", "menino", "dorme.", "</s>"],
    )


def test_saliency_of_integers_is_refused(translator):
    params = quantize_params(jax.device_get(translator.params))
    with pytest.raises(ValueError, match="saliency needs gradients, and int8 has none"):
        translator.with_params(params).attentions([("a", "b")], by="saliency")


def test_alignments_are_of_models_that_have_attention(translator):
    pairs = [(s, "O menino dorme.") for s in SENTENCES]
    if translator.config.model.num_cross_attentions != (0, 0):
        links = translator.align(pairs)
        assert [len(own) for own in links] == [3, 0, 3, 3, 0, 3]
        assert links == [translator.align([pair])[0] for pair in pairs]
        (found,) = translator.translate(SENTENCES[:1], alignments=True, attention=True)
        layers, heads = translator.config.model.num_cross_attentions
        assert found.attention.weights.shape[:2] == (layers, heads)
        return
    for refused in (
        lambda: translator.align(pairs),
        lambda: translator.attentions(pairs),
        lambda: translator.translate(SENTENCES, alignments=True),
        lambda: translator.translate(SENTENCES, attention=True),
        lambda: translator.translate_lines(SENTENCES, alignments=True),
    ):
        with pytest.raises(ValueError, match="the model has no attention"):
            refused()


def test_compiled_shapes_are_those_declared(recurrent):
    own = nmt.Translator(recurrent.model, recurrent.params, vocabulary(), recurrent.config)
    shapes = own.warm_up(beam_size=2)
    compiled = len(own.compiled)
    assert compiled == len(shapes)
    own.translate(SENTENCES, beam_size=2)
    assert len(own.compiled) == compiled


def test_saliency_is_the_change_that_scaling_an_embedding_makes(translator):
    pair = "I know the boys.", "O menino dorme."
    (found,) = translator.attentions([pair], by="saliency")
    ids = [side[0] for side in map(vocabulary().encode_source, ([pair[0]], [pair[1]]))]
    arrays = [
        np.array(row)[None]
        for side in (ids[0], [vocabulary().bos_id, *ids[1][:-1]])
        for row in (side, np.ones(len(side), int), np.arange(len(side)))
    ]
    model, params = translator.model, jax.device_get(translator.params)

    @jax.jit
    def log_probs(place, factor):
        def scaled(call, args, kwargs, context):
            y = call(*args, **kwargs)
            embeds = isinstance(context.module, nn.Embed) and context.method_name == "__call__"
            source = embeds and args[0].shape == (1, len(ids[0]))
            return y.at[:, place].multiply(factor) if source else y

        with nn.intercept_methods(scaled):
            output = model.apply({"params": params}, *map(jnp.asarray, arrays), deterministic=True)
        return jax.nn.log_softmax(output.logits[0])[np.arange(len(ids[1])), np.array(ids[1])]

    assert len(ids[0]) != len(ids[1])

    step, places = 2e-3, range(len(ids[0]))
    more, same, less = (
        np.stack([log_probs(place, factor) for place in places], axis=1)
        for factor in (1 + step, 1.0, 1 - step)
    )
    expected = abs(more - less)
    sums = expected.sum(1, keepdims=True)
    # Where a maxout unit switches just there, the slope is one on this side, another on that.
    smooth = (abs((more - same) - (same - less)) < 0.02 * sums).all(1)
    assert smooth.mean() > 0.7
    assert found.weights.shape == (1, 1, *expected.shape)
    np.testing.assert_allclose(
        found.weights[0, 0][smooth], (expected / sums)[smooth], rtol=0, atol=0.02
    )
    np.testing.assert_allclose(found.weights.sum(-1), 1, rtol=1e-5)
