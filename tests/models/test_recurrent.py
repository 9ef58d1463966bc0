"""The recurrent models: against NumPy, against themselves under padding and caching, and sizes."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from seq2seq_models import (
    CLOSE,
    SOURCE_VOCAB,
    TARGET_VOCAB,
    decode,
    decode_step,
    encode,
    forward,
    lay,
    make,
    maps_of,
    num_parameters,
    random_pairs,
    start,
)

from nmt.config import RecurrentConfig
from nmt.models.quantization import quantize_params
from nmt.models.seq2seq import build, init_params

RNNSEARCH = RecurrentConfig(
    emb_dim=6, hidden_dim=10, encoder_dim=5, attention_dim=7, readout_dim=4, dropout_rate=0.5
)
LUONG = dataclasses.replace(
    RNNSEARCH,
    cell="lstm",
    encoder_dim=10,
    num_layers=2,
    reading="backward",
    decoder="luong",
    attention="general",
    readout_dim=8,
)

VARIANTS = {
    "RNNsearch": RNNSEARCH,
    "RNNencdec": dataclasses.replace(RNNSEARCH, attention=None, reading="forward", encoder_dim=9),
    "Bahdanau, LSTM, two layers": dataclasses.replace(RNNSEARCH, cell="lstm", num_layers=2),
    "Luong, general, local-p": dataclasses.replace(LUONG, window="predictive", window_size=2),
    "Luong, dot, local-m": dataclasses.replace(
        LUONG, attention="dot", window="monotonic", window_size=1, num_layers=1
    ),
    "Luong, concat, GRU, both ways": dataclasses.replace(
        LUONG, cell="gru", attention="additive", reading="both", encoder_dim=5
    ),
    "Sutskever": dataclasses.replace(LUONG, attention=None, readout_dim=None),
    "Bahdanau, dot, local-p": dataclasses.replace(
        RNNSEARCH, attention="dot", window="predictive", window_size=3
    ),
    "Bahdanau, no attention, two layers": dataclasses.replace(
        RNNSEARCH, cell="lstm", attention=None, num_layers=2, readout_dim=None
    ),
}


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(request):
    return make(request.param, False)


@pytest.fixture(scope="module")
def rnnsearch():
    return make(RNNSEARCH, True)


# The whole models, transcribed from the papers, one sentence and one matrix at a time.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def gru_step(p, x, s):
    """Bahdanau et al. 2015, appendix A.1.1; x are W_z y, W_r y and W y, in this order."""
    u_z, u_r = np.split(p["gates"]["weight"], 2)
    x_z, x_r, x_h = np.split(x, 3)
    z = sigmoid(x_z + u_z @ s)
    r = sigmoid(x_r + u_r @ s)
    proposed = np.tanh(x_h + p["candidate"]["weight"] @ (r * s))
    return (1 - z) * s + z * proposed


def lstm_step(p, x, s):
    """Graves 2013, equations 7 to 11, without peepholes."""
    h, c = np.split(s, 2)
    x_i, x_f, x_o, x_c = np.split(x, 4)
    u_i, u_f, u_o, u_c = np.split(p["gates"]["weight"], 4)
    i, f, o = sigmoid(x_i + u_i @ h), sigmoid(x_f + u_f @ h), sigmoid(x_o + u_o @ h)
    c = f * c + i * np.tanh(x_c + u_c @ h)
    return np.concatenate([o * np.tanh(c), c])


def numpy_forward(config: RecurrentConfig, params, arrays) -> tuple[np.ndarray, np.ndarray]:
    """One pair, no padding; returns logits, and the weights of attention if there is any."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    source, target = np.asarray(arrays[0][0]), np.asarray(arrays[3][0])
    cell, parts = {"gru": (gru_step, 1), "lstm": (lstm_step, 2)}[config.cell]
    width = config.hidden_dim

    def affine(p, x):
        return x @ p["weight"].T + p.get("bias", 0)

    # The encoder.
    encoder, xs, finals = params["encoder"], params["source_embedding"]["embedding"][source], []
    for layer in range(config.num_layers):
        columns, ends = [], []
        for direction, way in enumerate(config.directions):
            p = encoder[f"layers_{layer}_{direction}"]
            size = p["gates"]["weight"].shape[1]
            state, states = np.zeros(parts * size), {}
            places = range(len(xs)) if way == "forward" else reversed(range(len(xs)))
            for place in places:
                state = cell(p, affine(p["input"], xs[place]), state)
                states[place] = state[:size]
            columns.append([states[place] for place in range(len(xs))])
            ends.append(state)
        xs = np.concatenate(columns, axis=1)
        finals.append(ends)
    annotations = xs
    fixed = np.concatenate([end[: len(end) // parts] for end in finals[-1]])

    # Attention.
    p = params["decoder"]

    def attend(state, t):
        if config.attention is None:
            return None, fixed
        if config.attention == "additive":
            w_a, u_a, v_a = p["query"]["weight"], p["key"]["weight"], p["score"]
            scores = np.array([v_a @ np.tanh(w_a @ state + u_a @ h) for h in annotations])
        elif config.attention == "general":
            scores = np.array([state @ p["key"]["weight"] @ h for h in annotations])
        else:
            scores = np.array([state @ h for h in annotations])
        length, weights = len(annotations), np.zeros(len(annotations))
        centre, inside = 0, range(length)
        if config.window == "monotonic":
            centre = min(t, length - 1)
        elif config.window == "predictive":
            w_p, v_p = p["centre_inner"]["weight"], p["centre"]
            centre = length * sigmoid(v_p @ np.tanh(w_p @ state))
        if config.window is not None:
            inside = [s for s in range(length) if abs(s - centre) <= config.window_size]
        weights[inside] = softmax(scores[inside])
        if config.window == "predictive":
            deviation = config.window_size / 2
            weights *= np.exp(-((np.arange(length) - centre) ** 2) / (2 * deviation**2))
        return weights, weights @ annotations

    # The decoder.
    def climb(states, x):
        new = [cell(p["layers_0"], x, states[0])]
        for layer in range(1, config.num_layers):
            q = p[f"layers_{layer}"]
            new.append(cell(q, affine(q["input"], new[-1][:width]), states[layer]))
        return new

    logits, maps = [], []
    if config.decoder == "bahdanau":
        states = [
            np.tanh(affine(p[f"begins_{layer}"], finals[layer][-1]))
            for layer in range(config.num_layers)
        ]
    else:
        states = [
            np.concatenate(
                [np.split(end, parts)[part] for part in range(parts) for end in finals[layer]]
            )
            for layer in range(config.num_layers)
        ]
        vector = np.zeros(config.readout_dim or width)
    for t, y in enumerate(params["target_embedding"]["embedding"][target]):
        x = affine(p["layers_0"]["input"], y)
        if config.decoder == "bahdanau":
            before = states[-1][:width]
            weights, context = attend(before, t)
            states = climb(states, x + p["fed"]["weight"] @ context)
            readout = (
                affine(p["readout_state"], before)
                + p["readout_embedding"]["weight"] @ y
                + p["readout_context"]["weight"] @ context
            )
            read = [max(pair) for pair in readout.reshape(-1, 2)]
        elif config.attention is None:
            weights, states = None, climb(states, x)
            read = states[-1][:width]
        else:
            states = climb(states, x + p["fed"]["weight"] @ vector)
            state = states[-1][:width]
            weights, context = attend(state, t)
            vector = np.tanh(p["combine"]["weight"] @ np.concatenate([context, state]))
            read = vector
        logits.append(params["output_embedding"]["embedding"] @ np.array(read))
        maps.append(weights)
    return np.array(logits), np.array(maps)


def test_forward_pass_equals_a_transcription_of_the_papers(variant):
    model, params = variant
    (pair,) = random_pairs(0, [(7, 9)])
    logits, weights = numpy_forward(model.config, params, lay([[pair]], 7, 9, 1))
    np.testing.assert_allclose(forward(model, params, *lay([[pair]]))[0, :9], logits, **CLOSE)
    maps = maps_of(model, params, *lay([[pair]]))
    if model.config.attention is None:
        assert maps == {}
    else:
        np.testing.assert_allclose(maps["cross"][0, 0, 0, :9, :7], weights, **CLOSE)


# What an output depends on.


def test_output_depends_on_all_earlier_inputs_and_no_later_one(variant):
    model, params = variant
    arrays = lay([random_pairs(1, [(5, 6)])], 6, 7, 1)
    memory = encode(model, params, *arrays[:3])
    embedded = "target_embedding", "__call__"

    def outputs(shift):
        def shifted(call, args, kwargs, context):
            y = call(*args, **kwargs)
            return y + shift if (context.module.name, context.method_name) == embedded else y

        with nn.intercept_methods(shifted):
            return decode.__wrapped__(model, params, memory, *arrays[3:])[0]

    jacobian = jax.jit(jax.jacrev(outputs))(jnp.zeros((1, 7, 6)))[:, :, 0]
    depends = np.abs(jacobian).sum((1, 3)) > 0
    np.testing.assert_array_equal(depends, np.tri(7, dtype=bool))


def test_padding_and_neighbours_change_nothing(variant):
    model, params = variant
    pair, other = random_pairs(3, [(5, 6), (9, 12)])
    alone = forward(model, params, *lay([[pair]], 5, 6, 1))[0]
    together = {
        "in a longer row": (lay([[pair]]), 0),
        "in a batch": (lay([[other], [pair]]), 1),
    }
    for company, (arrays, row) in together.items():
        logits = forward(model, params, *arrays)[row, :6]
        np.testing.assert_allclose(logits, alone, **CLOSE, err_msg=company)


def test_an_empty_row_has_finite_logits_and_gradients(variant):
    model, params = variant
    arrays = lay([random_pairs(4, [(3, 4)])])  # the second row is padding alone

    @jax.jit
    def loss(params):
        logits = model.apply({"params": params}, *arrays, deterministic=True).logits
        return (logits[0] ** 2).sum(), logits

    gradients, logits = jax.grad(loss, has_aux=True)(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((gradients, logits)))


# Dropout.


def test_dropout_stands_where_it_should_and_differs_from_step_to_step():
    model, params = make(dataclasses.replace(LUONG, num_layers=3), False)
    arrays = lay([random_pairs(7, [(12, 14)])] * 8, 12, 14, 8)

    @jax.jit
    def run(params, off):
        """Drops at all places but one; the decoder's two layers are two."""
        places, number = [], 0

        def record(call, args, kwargs, context):
            nonlocal number
            y = call(*args, **kwargs)
            if isinstance(context.module, nn.Dropout) and context.method_name == "__call__":
                layers = y.shape[3] if y.ndim == 5 else 1
                here = number + jnp.arange(layers) == off
                y = jnp.where(here[:, None], args[0], y)
                places.append((args[0], y))
                number += layers
            return y

        with nn.intercept_methods(record):
            rngs = {"dropout": jax.random.key(0)}
            output = model.apply({"params": params}, *arrays, deterministic=False, rngs=rngs)
        return places, output.logits

    places, logits = jax.device_get(run(params, -1))
    for off in range(7):
        assert np.abs(run(params, off)[1] - logits).max() > 1e-3
    shapes = [x.shape for x, _ in places]
    # Embedded source; between the encoder's layers; embedded target; between the decoder's layers,
    # at every step; what the output layer reads.
    between = (14, 8, 1, 2, 10)
    assert shapes == [(8, 12, 6), *[(8, 12, 10)] * 2, (8, 14, 6), between, (8, 14, 8)]
    for x, y in places:
        kept = y != 0
        assert 0.4 < kept.mean() < 0.6
        np.testing.assert_allclose(y[kept], x[kept] / 0.5, rtol=1e-6)
    assert len({step.tobytes() for step in places[4][1]}) == 14


def test_no_dropout_where_the_call_is_deterministic(rnnsearch):
    model, params = rnnsearch
    without = build(
        dataclasses.replace(RNNSEARCH, dropout_rate=0.0), (TARGET_VOCAB, TARGET_VOCAB), True
    )
    arrays = lay([random_pairs(8, [(5, 6)])])
    np.testing.assert_array_equal(
        forward(model, params, *arrays), forward(without, params, *arrays)
    )


# Types.


def test_bfloat16_is_the_type_of_activations_but_not_of_states(variant):
    model, params = variant
    rounded = build(
        dataclasses.replace(model.config, compute_dtype="bfloat16"),
        (SOURCE_VOCAB, TARGET_VOCAB),
        False,
    )
    arrays = lay([random_pairs(9, [(5, 6)]), random_pairs(9, [(3, 3)])])
    memory = encode(rounded, params, *arrays[:3])
    assert memory.annotations.dtype == jnp.bfloat16
    constants, cache = start(rounded, params, memory, 1, 4)
    arrays_of_step = jnp.full((2, 1), 4), jnp.zeros(2, jnp.int32)
    step_logits, cache = decode_step(rounded, params, constants, cache, *arrays_of_step)
    assert {x.dtype for x in (step_logits, cache.vector, *cache.states)} == {jnp.dtype("float32")}
    logits = forward(rounded, params, *arrays)
    assert logits.dtype == jnp.float32
    difference = np.abs(logits - forward(model, params, *arrays))
    # bfloat16 keeps 8 bits: 1/256 of each activation, over nine steps; 0.022 at most was seen.
    assert 0 < difference.max() < 0.05 * logits.std()


def test_integers_stand_for_the_weights(variant):
    model, params = variant
    quantized = quantize_params(params)
    arrays = lay([random_pairs(9, [(5, 6)]), random_pairs(9, [(3, 3)])])
    weights = [x.dtype for p, x in jax.tree.leaves_with_path(quantized) if "weight" in str(p[-1])]
    assert set(weights) == {jnp.dtype("int8")}
    assert "int8" in quantized["output_embedding"]
    logits = forward(model, params, *arrays)
    difference = np.abs(forward(model, quantized, *arrays) - logits)
    assert 0 < difference.max() < 0.15 * logits.std()  # 0.068 at most was seen


# Attention maps.


@pytest.mark.parametrize("window", [None, "monotonic", "predictive"])
def test_attention_stays_in_its_sentence_and_its_window(window):
    model, params = make(dataclasses.replace(LUONG, window=window, window_size=2), False)
    arrays = lay([random_pairs(10, [(5, 12)]), random_pairs(11, [(9, 8)])])
    weights = np.asarray(maps_of(model, params, *arrays)["cross"])
    assert weights.shape == (1, 2, 1, 13, 11)
    for row, (source_length, length) in enumerate([(5, 12), (9, 8)]):
        own = weights[0, row, 0, :length]
        assert (own[:, source_length:] == 0).all()
        attended = own > 0
        if window is None:
            assert attended[:, :source_length].all()
        elif window == "monotonic":
            centres = np.minimum(np.arange(length), source_length - 1)
            inside = abs(np.arange(11) - centres[:, None]) <= 2
            np.testing.assert_array_equal(attended, inside & (np.arange(11) < source_length))
        else:
            assert (attended.sum(1) <= 5).all()
            assert attended.any(1).all()
        if window != "predictive":
            np.testing.assert_allclose(own.sum(1), 1, **CLOSE)
        else:
            assert (own.sum(1) <= 1).all()


def test_a_fixed_vector_is_all_that_the_decoder_sees():
    for name in ("RNNencdec", "Sutskever"):
        model, params = make(VARIANTS[name], False)
        arrays = lay([random_pairs(12, [(5, 6)])])
        memory = encode(model, params, *arrays[:3])
        other = memory._replace(annotations=memory.annotations + 1)
        np.testing.assert_array_equal(
            decode(model, params, memory, *arrays[3:]), decode(model, params, other, *arrays[3:])
        )


@pytest.mark.parametrize("config", [RNNSEARCH, LUONG], ids=["gru", "lstm"])
def test_recurrent_matrices_are_orthogonal_at_first_and_the_forget_gate_is_open(config):
    params = init_params(build(config, (9, 9), False), jax.random.key(0))
    blocks = 0
    for path, x in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        if "'gates'" in name or "'candidate'" in name:
            for block in np.split(x, len(x) // x.shape[1]):
                np.testing.assert_allclose(block @ block.T, np.eye(len(block)), **CLOSE)
                blocks += 1
        elif "'input']['bias'" in name:
            gates = [0.0, 1.0, 0.0, 0.0] if config.cell == "lstm" else [0.0] * 3
            np.testing.assert_array_equal(x, np.repeat(gates, x.size // len(gates)))
    layers = config.num_layers * (len(config.directions) + 1)
    assert blocks == layers * {"gru": 3, "lstm": 4}[config.cell]


# Sizes.

WORDS = 30_000
RNNSEARCH_50 = RecurrentConfig(readout_dim=500)  # Bahdanau et al. 2015, appendix A.2.3
RNNENCDEC_50 = dataclasses.replace(RNNSEARCH_50, attention=None, reading="forward")


def gru_size(input_dim: int, dim: int) -> int:
    """W, W_z, W_r and their biases; U, U_z, U_r."""
    return 3 * (input_dim * dim + dim) + 3 * dim * dim


@pytest.mark.parametrize(
    ("config", "directions"), [(RNNSEARCH_50, 2), (RNNENCDEC_50, 1)], ids=["search", "encdec"]
)
def test_number_of_parameters_term_by_term_at_the_papers_sizes(config, directions):
    m, n, n_a, l = 620, 1000, 1000, 500  # noqa: E741, the paper's letters
    annotation = directions * n
    terms = {
        "embeddings of both languages": 2 * WORDS * m,
        "encoder": directions * gru_size(m, n),
        "first state, W_s": n * n + n,
        "decoder": gru_size(m, n),
        "C, C_z and C_r": 3 * annotation * n,
        "W_a, U_a and v_a": n * n_a + annotation * n_a + n_a if directions == 2 else 0,
        "U_o with a bias, V_o and C_o": 2 * l * (n + 1 + m + annotation),
        "W_o": WORDS * l,
    }
    assert num_parameters(config, (WORDS, WORDS), False) == sum(terms.values())


def test_score_and_attention_are_one_fields_difference_at_nearly_equal_size():
    sizes = {
        attention: num_parameters(
            dataclasses.replace(RNNSEARCH_50, encoder_dim=500, attention=attention),
            (WORDS, WORDS),
            False,
        )
        for attention in ("additive", "general", "dot", None)
    }
    assert sizes["dot"] == sizes[None]  # of a vector as wide as what attention sees
    assert sizes["general"] - sizes["dot"] == 1000 * 1000
    assert sizes["additive"] - sizes["dot"] == 2 * 1000 * 1000 + 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "dot"}, "model.attention 'dot' needs annotations as wide as model.hidden"),
        ({"decoder": "luong"}, "model.decoder 'luong' needs annotations as wide as"),
        ({"attention": None, "window": "monotonic"}, "model.window is 'monotonic'; expected"),
        ({"hidden_dim": 0}, "model.hidden_dim is 0; expected at least 1"),
        (
            {"decoder": "luong", "encoder_dim": 500, "attention": None, "readout_dim": 8},
            "model.readout_dim is 8; expected None where Luong",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RecurrentConfig(), **changes)
