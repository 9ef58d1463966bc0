"""What a translator promises, of a small model."""

import copy
import re
from dataclasses import replace
from functools import cache, partial
from itertools import islice, pairwise
from unittest.mock import MagicMock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nmt
from nmt import parallel
from nmt.config import (
    Config,
    DataConfig,
    DecodingConfig,
    InputError,
    OptimizerConfig,
    SearchOptions,
    TokenizerConfig,
    TrainingConfig,
    TransformerConfig,
)
from nmt.data import grammar, tokenizer
from nmt.data.corpora import load_corpus
from nmt.data.pipeline import TrainBatches
from nmt.decoding import buckets, decoder
from nmt.decoding.buckets import Request, batches
from nmt.decoding.compiled import Compiled
from nmt.decoding.decoder import Phrases
from nmt.decoding.requests import of_sentences
from nmt.decoding.rules import NO_PIECE
from nmt.decoding.search import Hypotheses, beam_search, greedy_search
from nmt.decoding.translation import NOTHING, UNMET, split_line, truncate_line
from nmt.models.seq2seq import build
from nmt.training.optimizer import make_optimizer
from nmt.training.step import init_state, make_train_step

CONFIG = Config(
    data=DataConfig(
        "en", "pt", grammar_sizes=(2000, 8, 8), max_source_length=64, max_target_length=64
    ),
    training=TrainingConfig(num_steps=150, batch_tokens=1024),
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=20, schedule="linear"),
    tokenizer=TokenizerConfig(vocab_size=800),
    model=TransformerConfig(
        emb_dim=32, num_layers=1, num_heads=2, mlp_dim=64, dropout_rate=0.0, norm="pre"
    ),
    decoding=DecodingConfig(beam_size=3, max_source_length=64, batch_tokens=1536),
)
SENTENCES = [
    "The boy sleeps.",
    "",
    "Does the old woman see a red house?",
    "I know the boys.",
    "   ",
    "Maria!",
]


@cache
def translator() -> nmt.Translator:
    """Little trained: what it says is Portuguese, of the wrong things."""
    corpus = load_corpus(CONFIG.data).train
    vocabulary = tokenizer.train(CONFIG.tokenizer, *corpus)
    model = build(CONFIG.model, vocabulary.vocab_sizes, vocabulary.shared)
    optimizer = make_optimizer(CONFIG)
    step = jax.jit(make_train_step(model, optimizer, CONFIG.training), donate_argnums=0)
    state = jax.jit(partial(init_state, model, optimizer))(jax.random.key(0))
    batches = TrainBatches(corpus, vocabulary, CONFIG, packable=True)
    for batch in islice(batches, CONFIG.training.num_steps):
        state, _ = step(state, batch)
    return nmt.Translator(model, jax.device_get(state.params), vocabulary, CONFIG)


def uncompiled() -> nmt.Translator:
    """The same, that has compiled nothing."""
    own = translator()
    return nmt.Translator(own.model, own.params, own.tokenizer, CONFIG)


def pieces(text: str) -> tuple[str, ...]:
    return tuple(translator().tokenizer.target.encode(text, out_type=str))


def contains(tokens: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    return any(tokens[i : i + len(phrase)] == phrase for i in range(len(tokens)))


def asking(**asked) -> list[nmt.Sentence]:
    return [nmt.Sentence(sentence, **asked) for sentence in SENTENCES]


OPTIONS = {
    "greedy": {"beam_size": 1},
    "n best": {"n_best": 3, "length_offset": 0.0, "length_penalty": 1.0},
    "rules": {"min_length": 5, "no_repeat_ngram": 2},
    "samples": {"samples": 3, "temperature": 0.7, "top_k": 50, "top_p": 0.9},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_company_and_order_change_nothing(options):
    together = translator().translate(SENTENCES * 3, **options)
    assert together[1] == together[4] == NOTHING
    assert len({t.text for t in together}) > 3
    alone = [translator().translate([sentence], **options)[0] for sentence in SENTENCES]
    assert together == alone * 3
    assert translator().translate(SENTENCES[::-1], **options) == alone[::-1]


def test_phrases_of_neighbours_change_nothing():
    free = translator().translate(SENTENCES)
    asks = {0: {"forbidden": ["casa"]}, 2: {"required": ["mulher"]}, 3: {"prefix": "Não"}}
    asked = translator().translate(
        [nmt.Sentence(s, **asks.get(number, {})) for number, s in enumerate(SENTENCES)]
    )
    same = [a == b for a, b in zip(free, asked, strict=True)]
    assert same[1:] == [True, False, False, True, True]
    assert not contains(asked[0].tokens, pieces("casa"))
    assert asked[0].text == free[0].text or contains(free[0].tokens, pieces("casa"))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_score_is_the_normalised_sum_and_what_teacher_forcing_gives(options):
    alpha = options.get("length_penalty", CONFIG.decoding.length_penalty)
    offset = options.get("length_offset", 5.0)
    for sentence in SENTENCES[::3]:
        found = translator().translate([sentence], **options)[0]
        for translation in (found, *found.alternatives):
            length = len(translation.tokens) + 1
            assert len(translation.token_log_probs) == length
            norm = ((offset + length) / (offset + 1)) ** alpha
            total = sum(translation.token_log_probs)
            assert translation.score == pytest.approx(total / norm, rel=1e-5)
            forced = force(sentence, translation.tokens)
            np.testing.assert_allclose(translation.token_log_probs, forced, atol=1e-4)


@partial(jax.jit, static_argnums=0)
def teacher_forced(model, params, *arrays):
    return jax.nn.log_softmax(model.apply({"params": params}, *arrays, deterministic=True).logits)


def force(sentence: str, tokens: tuple[str, ...]) -> list[float]:
    """Log-probabilities by a pass over this one pair."""
    own = translator()
    vocabulary = own.tokenizer
    source = vocabulary.encode_source([sentence])[0]
    target = [*vocabulary.target.piece_to_id(list(tokens)), vocabulary.eos_id]
    arrays = [
        np.pad(row, (0, 114 - len(row)))[None]
        for ids in (source, [vocabulary.bos_id, *target[:-1]])
        for row in (np.array(ids), np.ones(len(ids), int), np.arange(len(ids)))
    ]
    log_probs = teacher_forced(own.model, jax.device_get(own.params), *arrays)[0]
    return [float(log_probs[t, piece]) for t, piece in enumerate(target)]


def test_given_translations_are_scored_as_teacher_forcing_scores_them():
    pairs = [(pair.source, pair.target) for pair in grammar.generate((0, 0, 40)).test]
    scored = translator().score(pairs, length_penalty=1.0, length_offset=0.0)
    for (source, target), found in zip(pairs, scored, strict=True):
        assert found.text == target
        assert found.tokens == pieces(target)
        forced = force(source, found.tokens)
        np.testing.assert_allclose(found.token_log_probs, forced, atol=1e-4)
        assert found.score == pytest.approx(np.mean(forced), abs=1e-4)
    assert translator().score([]) == []
    of_numpy = zip(*np.array(pairs[:2]).T, strict=True)
    assert translator().score(of_numpy, length_penalty=1.0, length_offset=0.0) == scored[:2]
    assert translator().score(iter(pairs[:2]), length_penalty=1.0, length_offset=0.0) == scored[:2]
    again = [translator().score([pair], length_penalty=1.0, length_offset=0.0) for pair in pairs]
    assert scored == [found for (found,) in again]


def test_pieces_of_a_translation_are_scored_and_aligned_as_they_are():
    own = translator()
    found = own.translate(SENTENCES, n_best=3, alignments=True)
    pairs = [
        (sentence, translation)
        for sentence, best in zip(SENTENCES, found, strict=True)
        for translation in (best, *best.alternatives)
        if translation.token_log_probs
    ]
    for (_, translation), scored in zip(pairs, own.score(pairs), strict=True):
        assert scored.tokens == translation.tokens
        assert scored.score == pytest.approx(translation.score, abs=1e-4)
    best = [(s, t) for s, t in zip(SENTENCES, found, strict=True) if t.token_log_probs]
    assert own.align(best) == [t.alignment for _, t in best]
    # As no text is cut.
    letters = NOTHING._replace(tokens=tuple("\u2581Maria\u2581dorme"))
    assert pieces("Maria dorme") != letters.tokens
    (scored,) = own.score([(SENTENCES[0], letters)])
    assert (scored.text, scored.tokens) == ("Maria dorme", letters.tokens)
    np.testing.assert_allclose(
        scored.token_log_probs, force(SENTENCES[0], letters.tokens), atol=1e-4
    )
    stranger = NOTHING._replace(tokens=("\u2581a", "\u2581xyzzy"))
    for call in (own.score, own.align):
        with pytest.raises(ValueError, match="pair 1: the vocabulary has no piece '\u2581xyzzy'"):
            call([pairs[0], (SENTENCES[0], stranger)])
        with pytest.raises(ValueError, match="pair 0: the search found no translation"):
            call([(SENTENCES[0], UNMET)])
    (links,) = own.align([(SENTENCES[0], letters)])
    assert {target for _, target in links} == {0, 1}


def test_the_n_best_are_the_best_that_can_be_reached():
    own = translator()
    lines = [pair.source for pair in grammar.generate((0, 0, 60)).test]
    lines = [x for x in lines if len(own.tokenizer.encode_source([x])[0]) <= 32]
    source = np.full((len(lines), 32), own.tokenizer.pad_id, np.int32)
    for row, found in zip(source, own.tokenizer.encode_source(lines), strict=True):
        row[: len(found)] = found
    alpha = CONFIG.decoding.length_penalty
    few, all_of_them = (
        own.search(own.params, source, values=decoder.Values(alpha, num_best=number)).scores[:, :3]
        for number in (1, 3)
    )
    found = own.translate(lines, n_best=3, bucket=32)
    scores = [[t.score for t in (best, *best.alternatives)] for best in found]
    np.testing.assert_allclose(scores, all_of_them, atol=1e-4)
    assert (few < all_of_them - 1e-3).any()  # a search for the best alone stops sooner


def test_a_bar_counts_sentences_that_are_done(monkeypatch):
    own, bar = translator(), MagicMock()
    made, bar.__enter__.return_value = MagicMock(return_value=bar), bar
    monkeypatch.setattr("nmt.decoding.translator.progress_bar", made)
    for call, total in (
        (lambda: own.translate(SENTENCES * 3), 12),
        (lambda: own.score([(SENTENCES[0], "a"), ("", "")]), 2),
    ):
        bar.reset_mock()
        call()
        assert made.call_args.args == (None, "sentences", total)
        assert sum(updated.args[0] for updated in bar.update.call_args_list) == total


def test_scores_of_long_and_of_empty_sides():
    own = translator()
    scores = own.score([("Maria!", "a " * 50), ("Maria!", ""), ("", "Maria!"), ("", "")])
    assert all(np.isfinite(s.score) and s.score < 0 for s in scores[:3])
    assert scores[1].tokens == ()
    assert len(scores[1].token_log_probs) == 1
    with pytest.raises(ValueError, match=r"pair 0: the target has .* more than 114"):
        own.score([("Maria!", "a " * 200)])


@pytest.mark.parametrize("beam_size", [1, 3])
def test_prefix_forbidden_and_required_phrases_are_heeded(beam_size):
    options = {"beam_size": beam_size, "n_best": beam_size}
    for found in translator().translate(asking(prefix="Não a casa"), **options):
        for translation in (found, *found.alternatives):
            assert translation == NOTHING or translation.tokens[:3] == pieces("Não a casa")[:3]
    plain = translator().translate(SENTENCES, **options)
    phrases = [[*t.text.split()[:1], "casa"] for t in plain]
    assert all(
        contains(t.tokens, pieces(own[0])) for t, own in zip(plain, phrases, strict=True) if t.text
    )
    barred = [nmt.Sentence(s, forbidden=own) for s, own in zip(SENTENCES, phrases, strict=True)]
    for found, own in zip(translator().translate(barred, **options), phrases, strict=True):
        for translation in (found, *found.alternatives):
            assert not any(contains(translation.tokens, pieces(phrase)) for phrase in own)
    wanted = "a casa vermelha", "menino"
    forced = translator().translate(asking(required=wanted), **options)
    for sentence, found in zip(SENTENCES, forced, strict=True):
        for translation in (found, *found.alternatives):
            assert not sentence.strip() or all(
                contains(translation.tokens, pieces(phrase)) for phrase in wanted
            )


def test_a_prefix_may_repeat_what_no_other_may():
    asked = nmt.Sentence("The boy sleeps.", prefix="a a a a")
    (found,) = translator().translate([asked], no_repeat_ngram=2)
    assert found.tokens[:4] == pieces("a a a a")
    pairs = list(pairwise(found.tokens[3:]))
    assert len(set(pairs)) == len(pairs)


def test_phrases_that_are_asked_for_may_overlap():
    asked = nmt.Sentence("The boy sleeps.", "o menino", required=("o menino", "menino"))
    length = len(pieces("o menino")) + 1
    (found,) = translator().translate([asked], max_length_factor=1e-3, max_length_extra=length)
    assert found.tokens == pieces("o menino")


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def test_a_forbidden_word_does_not_come_back_cut_otherwise(monkeypatch):
    own, word, options = translator(), "O", {"n_best": 3}
    plain = own.translate(SENTENCES, **options)
    found_in = [any(word in words_of(x.text) for x in (t, *t.alternatives)) for t in plain]
    assert 1 < sum(found_in) < 6
    # As if the vocabulary cut the word in a way in which the model does not say it.
    as_bytes = tuple(own.tokenizer.ids(["\u2581", "<0x4F>"]))
    monkeypatch.setattr("nmt.decoding.requests.cut", lambda *_: as_bytes)
    searches, run = [], nmt.Translator._run

    def counted(self, call, requests, *args, **kwargs):
        searches.append(requests)
        return run(self, call, requests, *args, **kwargs)

    monkeypatch.setattr(nmt.Translator, "_run", counted)
    sentences = asking(forbidden=[word])
    found = own.translate(sentences, **options)
    for translation in found:
        for listed in (translation, *translation.alternatives):
            assert word not in words_of(listed.text)
    assert [len(asked) for asked in searches[:2]] == [6, sum(found_in)]
    assert all(as_bytes in x.forbidden and len(x.forbidden) > 1 for x in searches[1])
    assert found == [own.translate([sentence], **options)[0] for sentence in sentences]
    # As many phrases as may be asked leave room for the ways in which they come back.
    full = own.translate(asking(forbidden=[*(f"x{n}" for n in range(15)), word]), **options)
    assert [x.score == -np.inf for x in full] == [False] * 6
    # Of too many ways the search gives up.
    monkeypatch.setattr("nmt.decoding.translator.MAX_WAYS", 1)
    unmet = UNMET._replace(alignment=())
    given_up = own.translate(sentences, alignments=True, **options)
    assert [x == unmet for x in given_up] == found_in


def test_a_longer_word_is_not_the_one_that_is_required():
    own = translator()
    vocabulary = {word for line in load_corpus(CONFIG.data).train[1] for word in words_of(line)}
    stems = [x[:-1] for x in sorted(vocabulary) if len(x) > 2 and pieces(x)[:-1] == pieces(x[:-1])]
    assert len(stems) > 9
    longer = 0
    for stem in stems[:3]:
        for found in own.translate(asking(required=[stem]), n_best=3):
            for translation in (found, *found.alternatives):
                words = words_of(translation.text)
                assert translation == NOTHING or stem in words
                longer += any(word != stem and word.startswith(stem) for word in words)
    assert longer  # it was met, and did not count


def test_a_mark_is_forbidden_and_required_where_it_ends_a_word():
    plain = translator().translate(SENTENCES, n_best=3)
    mark = max(".,!?", key=lambda mark: sum(mark in t.text for t in plain))
    assert any(mark in t.text for t in plain)
    for found in translator().translate(asking(forbidden=[mark]), n_best=3):
        assert not any(mark in t.text for t in (found, *found.alternatives))
    for found in translator().translate(asking(required=[mark, f"a{mark}"])[:1], n_best=3):
        assert f"a{mark}" in found.text


def test_options_do_what_they_say():
    free = translator().translate(SENTENCES, beam_size=1)
    longer = translator().translate(SENTENCES, beam_size=1, min_length=40)
    assert any(len(t.tokens) < 40 for t in free if t.text)
    assert all(len(t.tokens) >= 40 for t in longer if t.text)
    for translation in translator().translate(SENTENCES, no_repeat_ngram=1):
        assert len(set(translation.tokens)) == len(translation.tokens)
    for found in translator().translate(SENTENCES, n_best=3):
        scores = [found.score, *(t.score for t in found.alternatives)]
        assert scores == sorted(scores, reverse=True)
        assert len({found.tokens, *(t.tokens for t in found.alternatives)}) == len(scores)


def test_samples_differ_by_their_seed_and_from_each_other():
    first, again, other = (
        translator().translate(SENTENCES[:1], samples=4, seed=seed)[0] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len({first.text, *(t.text for t in first.alternatives)}) == 4


def test_what_is_drawn_at_random_has_no_special_piece():
    (found,) = translator().translate(SENTENCES[:1], samples=64, temperature=1e6)
    pieces = {piece for t in (found, *found.alternatives) for piece in t.tokens}
    assert len(pieces) > 100
    assert pieces.isdisjoint({"<pad>", "<s>", "</s>", "<unk>"})


def test_values_compile_nothing_and_what_is_compiled_is_counted():
    own = uncompiled()
    shapes = own.warm_up()
    assert len(own.compiled) == len(shapes) == 3
    assert sorted(own.compiled) == [("search", shape) for shape in sorted(shapes)]
    for options in ({}, {"length_penalty": 1.0}, {"length_offset": 0.0, "n_best": 2}):
        own.translate(SENTENCES, **options)
    assert len(own.compiled) == 3
    own.translate(SENTENCES[:1], min_length=3)
    assert len(own.compiled) == 4
    own.translate(SENTENCES[:1], min_length=4)
    own.translate(asking(forbidden=["casa"])[:1])
    assert len(own.compiled) == 5
    own.translate(asking(forbidden=["a", "b", "a casa vermelha"])[:1])
    own.translate(asking(prefix="a", forbidden=["casa"])[:1])
    own.translate(asking(prefix="a")[:1])
    assert len(own.compiled) == 5
    own.translate(SENTENCES[:1], samples=2, top_k=3)
    assert len(own.compiled) == 6
    own.translate(SENTENCES[:1], samples=2, top_k=5, temperature=2.0, seed=9)
    assert len(own.compiled) == 6
    own.warm_up(SENTENCES[:1], alignments=True)
    assert [name for name, _ in own.compiled[6:]] == ["cross_attention"]
    own.translate(SENTENCES[:1], alignments=True)
    pairs = [(SENTENCES[0], "a casa")]
    own.align(pairs)
    assert len(own.compiled) == 7
    asked = asking(required=["casa"], prefix="a")[:1]
    assert own.warm_up(asked) == own.shapes()[:1]
    assert len(own.compiled) == 8
    own.translate(asked)
    assert len(own.compiled) == 8
    own.warm_up(["", " "])
    for call in (own.warm_up, own.check_memory):
        with pytest.raises(ValueError, match="'score' has one set of shapes; leave out all but"):
            call(method="score", bucket=64)
    assert len(own.compiled) == 8
    own.warm_up(method="score")
    assert [name for name, _ in own.compiled[8:]] == ["force"] * 3
    own.score(pairs, length_penalty=0.3)
    assert len(own.compiled) == 11
    own.warm_up(method="align")
    assert [name for name, _ in own.compiled[11:]] == ["cross_attention"] * 2
    own.warm_up(SENTENCES[:1], alignments=True, max_length_factor=3.0)
    before = len(own.compiled)
    own.translate(SENTENCES[:1], alignments=True, max_length_factor=3.0)
    assert len(own.compiled) == before


def test_alignments_take_the_shape_of_their_search():
    own = uncompiled()
    own.translate(SENTENCES[2:3], alignments=True, max_length_factor=3.0)  # more than 66 pieces
    names, shapes = zip(*own.compiled, strict=True)
    assert sorted(names) == ["cross_attention", "search"]
    assert shapes[0] == shapes[1] != own.shapes()[0]


LONG = "The old woman sees a red house. " * 30


def fits(text: str) -> bool:
    return len(translator().tokenizer.encode_source([text])[0]) <= 64


def parts(line: str) -> list[str]:
    return split_line(line, fits)


def test_overlong_lines_are_split_cut_or_an_error():
    own = translator()
    split, cut = (
        list(own.translate_lines(["Maria!", LONG, "Maria!"], overlong=how, n_best=2))
        for how in ("split", "truncate")
    )
    assert split[0] == split[2] == cut[0] == cut[2]
    assert len(split[1].tokens) > len(cut[1].tokens)
    (kept,) = truncate_line(LONG, fits)
    assert cut[1] == own.translate([kept], n_best=2)[0]._replace(overlong=True)
    assert len(kept) > len(parts(LONG)[0])
    assert split[1].score == pytest.approx(
        sum(t.score for t in own.translate(parts(LONG))), rel=1e-6
    )
    assert len(split[1].alternatives) == 1
    (line,) = own.translate_lines([LONG], samples=3)
    sampled = [t.alternatives for t in own.translate(parts(LONG), samples=3)]
    for number, sample in enumerate(line.alternatives):
        assert sample.tokens == sum((own[number].tokens for own in sampled), ())
    lines = own.translate_lines(["Maria!", LONG, "Maria!"], overlong="error", n_best=2)
    assert next(lines) == split[0]
    with pytest.raises(ValueError, match=r"line 2: \d+ pieces, more than .*max_source_length 64"):
        next(lines)


def test_a_line_that_fits_is_whole_however_long_its_translation_may_be():
    line = "Maria! " * 20
    for options in ({"max_length_factor": 20.0}, {"max_length_extra": 2**31 - 1}):
        (translation,) = translator().translate_lines([line], **options)
        assert not translation.overlong
        assert 0 < len(translation.token_log_probs) <= 114
        assert [translation] == translator().translate([line], **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overlong": "halve"}, "overlong is 'halve'; expected one of "),
        ({"lines": "Maria!"}, "lines is one string"),
        ({"lines_at_once": 0}, "lines_at_once is 0; expected 1 or more"),
        ({"lines_at_once": 2**63}, r"expected 1 or more, less than 2\^31"),
    ],
)
def test_mistakes_are_named_before_a_line_is_read(arguments, message):
    with pytest.raises(ValueError, match=message):
        translator().translate_lines(**{"lines": iter(()), **arguments})


def test_lines_before_one_that_is_none_or_cannot_be_read_are_translated():
    def lines(last):
        yield from SENTENCES[:3]
        yield last() if callable(last) else last
        yield "Maria!"

    def broken():
        raise OSError(5, "Input/output error")

    expected = translator().translate(SENTENCES[:3])
    for last, error, message in (
        (5, ValueError, "line 4: 5 is no sentence"),
        (broken, OSError, "Input/output error"),
    ):
        for lines_at_once in (1, 2, 10):
            found = translator().translate_lines(lines(last), lines_at_once=lines_at_once)
            assert list(islice(found, 3)) == expected
            with pytest.raises(error, match=message):
                next(found)


def test_lines_are_read_as_they_are_needed():
    def endless():
        while True:
            yield "Maria!"

    lines = translator().translate_lines(endless(), beam_size=1)
    assert next(lines).text == translator().translate(["Maria!"], beam_size=1)[0].text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_best": 4}, "n_best is 4; expected at most beam_size 3"),
        (
            {"min_length": 114, "max_length_extra": 999},
            "min_length is 114; a translation may have 114 pieces, the end being one",
        ),
        ({"top_p": 0.0}, "options.top_p is 0.0"),
        ({"temperature": 0.0}, "options.temperature is 0.0"),
        ({"temperature": 1e300, "samples": 1}, "options.temperature is 1e[+]300; expected between"),
        ({"temperature": 1e-50, "samples": 1}, "options.temperature is 1e-50; expected between"),
        ({"max_length_factor": 1e300}, "options.max_length_factor is 1e[+]300; expected between"),
        (
            {"length_offset": 1e39},
            "options.length_offset is 1e[+]39; expected between 1e-6 and 1e6",
        ),
        ({"length_penalty": 1e39}, "options.length_penalty is 1e[+]39; expected at most 10"),
        ({"min_length": 50}, "options.min_length is 50"),
        ({"seed": 2**31}, "options.seed is 2147483648; expected 0 or more, less"),
        ({"samples": -1}, "options.samples is -1"),
        ({"samples": 10_001}, "options.samples is 10001; expected at most 10,000"),
        ({"samples": 3, "n_best": 2}, "options.n_best is 2; expected 1 with samples"),
        ({"top_k": 3}, "options.samples is 0; expected 1 or more with temperature or top_*"),
        ({"bucket": 65}, "bucket is 65; expected at most decoding.max_source_length 64"),
    ],
)
def test_mistakes_are_named(arguments, message):
    own = translator()
    for call in (own.translate, own.translate_lines, own.warm_up):
        with pytest.raises(ValueError, match=message):
            call([], **arguments)
    for call in (own.warm_up, own.check_memory, own.shapes):
        with pytest.raises(ValueError, match=message):
            call(**arguments)


def test_options_may_be_numbers_of_numpys():
    given = {"beam_size": np.int64(2), "n_best": np.arange(3)[2], "length_penalty": np.float32(0.5)}
    options = {"beam_size": 2, "n_best": 2, "length_penalty": 0.5}
    assert translator().translate(SENTENCES, **given) == translator().translate(
        SENTENCES, **options
    )


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        ({"forbidden": "gato"}, {}, "forbidden is one string; expected a sequence of phrases"),
        ({"required": iter(["a"])}, {}, "required is <list_iterator .*; expected a sequence of"),
        ({"required": ["a", b"b"]}, {}, r"required is \['a', b'b'\]; expected a sequence of"),
        ({"prefix": 1}, {}, "prefix is 1; expected a string"),
        ({"forbidden": ["a", " "]}, {}, "a phrase is blank; expected words"),
        (
            {"prefix": "a " * 80},
            {},
            "its translation must have 1?[0-9]{2} pieces and an end",
        ),
        (
            {"prefix": "a " * 200},
            {},
            "its translation must have [2-4][0-9]{2} pieces and an end; expected at most 5[0-9]",
        ),
        ({"required": ["a"]}, {"samples": 1}, "samples cannot be made to contain phrases; leave"),
        ({"required": ["a"] * 17}, {}, "17 phrases of up to 1 pieces; expected at most 16 of 16"),
        ({"forbidden": ["a " * 17]}, {}, "1 phrases of up to 1[0-9] pieces; expected"),
    ],
)
def test_what_cannot_be_asked_is_named_behind_the_lines_before(asked, options, message):
    own, sentence = translator(), nmt.Sentence("Maria!", **asked)
    with pytest.raises(ValueError, match=f"^sentence 1: {message}"):
        own.translate(["Maria!", sentence], **options)
    lines = own.translate_lines(["Maria!", "", sentence, "Maria!"], **options)
    assert [next(lines), next(lines)] == own.translate(["Maria!", ""], **options)
    with pytest.raises(ValueError, match=f"^line 3: {message}"):
        next(lines)


def test_what_is_asked_of_a_line_is_asked_of_its_parts():
    own, asked = translator(), {"prefix": "Não", "forbidden": ["casa"], "required": ["mulher"]}
    first, *others = parts(LONG)
    expected = own.translate(
        [nmt.Sentence(first, **asked), *(nmt.Sentence(x, forbidden=["casa"]) for x in others)]
    )
    lines = [nmt.Sentence("Maria!", prefix="Não"), nmt.Sentence(LONG, **asked), "Maria!"]
    found = list(own.translate_lines(lines))
    assert found[0] == own.translate(lines[:1])[0]
    assert found[1].text == " ".join(x.text for x in expected)
    assert found[2] == own.translate(["Maria!"])[0]


def test_more_rows_to_a_shape_give_nearly_the_same():
    wide = replace(CONFIG, decoding=replace(CONFIG.decoding, batch_tokens=6144))
    own = translator()
    other = nmt.Translator(own.model, own.params, own.tokenizer, wide)
    assert_close(own.translate(SENTENCES), other.translate(SENTENCES))


def assert_close(some, others):
    for x, y in zip(some, others, strict=True):
        assert x.score == pytest.approx(y.score, abs=1e-4)
        assert x.text == y.text  # of sentences in which no two hypotheses are as good


@pytest.mark.parametrize("options", [{"one_row": True}, {"bucket": 33}, {"bucket": 64}])
def test_another_shape_gives_nearly_the_same(options):
    own = translator()
    assert_close(own.translate(SENTENCES, **options), own.translate(SENTENCES))
    # It too is the sentence's own.
    alone = [own.translate([sentence], **options)[0] for sentence in SENTENCES]
    assert own.translate(SENTENCES * 3, **options) == alone * 3


def test_shapes_are_declared_as_the_options_ask():
    devices = jax.local_device_count()
    own = translator()
    assert own.shapes(bucket=17) == own.shapes()[1:]
    assert own.shapes(bucket=33) == own.shapes(bucket=64) == own.shapes()[2:]
    assert own.shapes(one_row=True) == [(devices, 16), (devices, 32), (devices, 64)]
    fresh = uncompiled()
    assert fresh.warm_up(one_row=True, bucket=32) == [(devices, 32), (devices, 64)]
    assert fresh.compiled == [("search", (devices, 64)), ("search", (devices, 32))]
    assert fresh.warm_up(SENTENCES, beam_size=1) == own.shapes(beam_size=1)[:1]
    # A row takes the room of all of its hypotheses, of 1,536 positions 66 for each; of no fewer
    # than the configured beam.
    rows = [own.shapes(**options)[0][0] for options in ({"beam_size": 1}, {}, {"samples": 6})]
    assert rows == [7 * devices, 7 * devices, 3 * devices]
    # More than 8 come in eights: of 8,192 positions 31, 24, 17, 11 and 6 have room.
    shapes = buckets.shapes(DecodingConfig(max_source_length=256), SearchOptions())
    assert [rows // devices for rows, _ in shapes] == [32, 24, 16, 8, 6]
    with pytest.raises(ValueError, match="bucket is 65; expected at most decoding"):
        own.translate(SENTENCES, bucket=65)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_longest_translation_is_a_function_of_the_source(beam_size):
    own = translator()
    sources = own.tokenizer.encode_source(SENTENCES)
    free = own.translate(SENTENCES, beam_size=beam_size)
    short = own.translate(
        SENTENCES, beam_size=beam_size, max_length_factor=0.5, max_length_extra=2, min_length=1
    )
    limits = [len(ids) // 2 + 2 for ids in sources]
    assert all(len(t.token_log_probs) <= n for t, n in zip(short, limits, strict=True))
    assert any(len(t.token_log_probs) > n for t, n in zip(free, limits, strict=True))
    assert any(len(t.token_log_probs) == n for t, n in zip(short, limits, strict=True))
    # More than the shape of the source holds takes a larger one.
    compiled = len(own.compiled)
    long = own.translate(SENTENCES, beam_size=beam_size, max_length_factor=3.0)
    assert {shape[1] for _, shape in own.compiled[compiled:]} <= {16, 32, 64}
    for x, y, ids in zip(long, free, sources, strict=True):
        assert beam_size > 1 or x.text == y.text or len(y.token_log_probs) == len(ids) + 50
    # The largest shape holds 64 and 50.
    longest = own.translate(SENTENCES, beam_size=beam_size, max_length_factor=9.0)
    kinds = (
        (free, [len(ids) + 50 for ids in sources]),
        (short, limits),
        (longest, [min(9 * len(ids) + 50, 114) for ids in sources]),
    )
    for found, most in kinds:
        is_longest = [len(t.token_log_probs) == n for t, n in zip(found, most, strict=True)]
        assert [t.cut for t in found] == is_longest
    assert any(t.cut for t in short)
    assert not any(t.cut for t in longest if len(t.token_log_probs) < 114)
    with pytest.raises(ValueError, match="min_length is 2; expected between 0"):
        own.translate(SENTENCES, max_length_extra=2, min_length=2)


def test_the_longest_that_may_be_is_computed_as_the_compiled_search_does():
    own = translator()
    options = SearchOptions(max_length_factor=0.58, max_length_extra=1)
    given = own.tokenizer, own.config.decoding, options
    (request,) = of_sentences([nmt.Sentence("a " * 49)], *given)
    assert len(request.source) == 50
    assert int(0.58 * 50) == 28  # where float32 has 29
    assert request.max_length == 1 + int(jnp.int32(jnp.float32(0.58) * 50))


def test_arrays_are_searched_by_a_pure_function():
    own = translator()
    ids = own.tokenizer.encode_source(SENTENCES)
    source = np.full((len(ids), 16), own.tokenizer.pad_id, np.int32)
    for row, sentence in zip(source, ids, strict=True):
        row[: len(sentence)] = sentence
    params = jax.device_get(own.params)
    found = jax.jit(own.search)(params, source)
    assert found.tokens.shape == (len(ids), CONFIG.decoding.beam_size, 16 + 50)
    for tokens, length, translation in zip(
        found.tokens[:, 0], found.lengths[:, 0], own.translate(SENTENCES), strict=True
    ):
        if translation.text:
            pieces = own.tokenizer.target.id_to_piece(tokens[: length - 1].tolist())
            assert tuple(pieces) == translation.tokens
    mapped = jax.vmap(own.search, in_axes=(None, 0))(params, source[:, None])
    np.testing.assert_array_equal(mapped.tokens[:, 0], found.tokens)
    plain = own.search(params, source)  # loop by loop: other programs, which may round otherwise
    np.testing.assert_array_equal(plain.tokens, found.tokens)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-5), plain, found)
    devices = 2 if jax.local_device_count() > 1 else 1
    shards = jax.pmap(own.search, in_axes=(None, 0))(params, source.reshape(devices, -1, 16))
    np.testing.assert_array_equal(np.concatenate(shards.tokens), found.tokens)
    serialized = jax.export.export(jax.jit(lambda *x: tuple(own.search(*x))))(params, source)
    again = jax.export.deserialize(serialized.serialize()).call(params, source)
    jax.tree.map(np.testing.assert_array_equal, again, tuple(found))


@pytest.mark.parametrize("beam_size", [1, 3])
def test_what_is_off_is_not_computed(beam_size):
    own = translator()
    source = np.full((2, 16), own.tokenizer.eos_id, np.int32)

    def values(**options) -> decoder.Values:
        return own._values(SearchOptions(beam_size=beam_size, **options))[1]

    def searched(*phrases, **options) -> str:
        search = partial(own.search, num_hypotheses=beam_size)
        arguments = own.params, jnp.asarray(source), Phrases(*phrases), values(**options)
        return str(jax.make_jaxpr(search)(*arguments))

    @decoder.in_float32
    def plain(params, source, _, told) -> Hypotheses:
        """The search of `search.py`, as of one who knows of no rule, choice or selection."""
        apply = partial(own.model.apply, {"params": params})
        pad_id, bos_id, eos_id, unk_id, _ = own._ids
        lengths = (source != pad_id).sum(1)
        limits = jnp.int32(told.max_length_factor * lengths) + told.max_length_extra

        def begin(sentences):
            given = source[sentences]
            segments = (given != pad_id).astype(jnp.int32)
            positions = jnp.broadcast_to(jnp.arange(16), given.shape)
            memory = apply(given, segments, positions, deterministic=True, method="encode")
            return apply(memory, beam_size, 66, method="start")

        arguments = {
            "begin": begin,
            "decode_step": partial(apply, method="decode_step"),
            "max_lengths": jnp.where(lengths > 0, jnp.minimum(limits, 66), 0),
            "max_length": 66,
            "length_penalty": told.length_penalty,
            "length_offset": told.length_offset,
            "pad_id": pad_id,
            "bos_id": bos_id,
            "eos_id": eos_id,
            "unk_id": unk_id,
        }
        if beam_size == 1:
            return greedy_search(**arguments)
        beam = {"reorder": own.model.reorder, "beam_size": beam_size, "num_best": told.num_best}
        return beam_search(**beam, **arguments)

    off = searched()
    arguments = own.params, jnp.asarray(source), Phrases(), values()
    assert off == str(jax.make_jaxpr(plain)(*arguments))
    array = np.full((2, 16, 16), NO_PIECE, np.int32)
    for on in (
        searched(min_length=2),
        searched(no_repeat_ngram=2),
        searched(samples=beam_size),
        searched(array[:, 0]),
        searched(None, array),
        searched(None, None, array),
    ):
        assert on.count(" = ") != off.count(" = ")


def test_of_samples_those_that_were_found_come_first():
    own = translator()
    lengths = np.array([[0, 3], [0, 0]])
    scores = np.where(lengths, -1.0, -np.inf)
    tokens, log_probs = np.full((2, 2, 5), own.tokenizer.eos_id), np.zeros((2, 2, 5))
    found = Hypotheses(tokens, log_probs, scores, lengths)
    (sample,) = own._listed(found, 0, 2, 9)
    assert (sample.score, len(sample.token_log_probs), sample.cut) == (-1.0, 3, False)
    assert own._listed(found, 0, 2, 3) == [sample._replace(cut=True)]
    assert own._listed(found, 1, 2, 9) == [UNMET]


# Alignments and attention.


def test_alignments_are_those_of_the_pair():
    own = translator()
    found = own.translate(SENTENCES, alignments=True)
    assert found[1].alignment == found[4].alignment == ()
    aligned = own.align([(s, t.text) for s, t in zip(SENTENCES, found, strict=True)])
    for sentence, translation, links in zip(SENTENCES, found, aligned, strict=True):
        if pieces(translation.text) == translation.tokens:  # as the search cut it
            assert translation.alignment == links
        sources, targets = (
            zip(*translation.alignment, strict=True) if sentence.strip() else ((), ())
        )
        assert set(sources) <= set(range(len(sentence.split())))
        assert sorted(targets) == list(range(len(translation.text.split())))
    plain = own.translate(SENTENCES)
    assert [t._replace(alignment=None) for t in found] == plain
    assert own.align(zip(SENTENCES, (t.text for t in found), strict=True)) == aligned


def test_attention_is_of_all_layers_and_heads_and_ends_with_the_sentence():
    own = translator()
    found = own.translate(SENTENCES, attention=True)
    assert found[1].attention is None
    for sentence, translation in zip(SENTENCES, found, strict=True):
        if sentence.strip():
            size = len(own.tokenizer.encode_source([sentence])[0])
            weights = translation.attention.weights
            assert weights.shape == (1, 2, len(translation.token_log_probs), size)
            np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)
            assert translation.attention.num_words[0] == len(sentence.split())


def test_alignments_of_a_split_line_count_its_words():
    own = translator()
    line = f"  {LONG}  {'x' * 400} {LONG}"  # and a word that is cut into parts
    (joined,) = own.translate_lines([line], alignments=True)
    sources = [s for s, _ in joined.alignment]
    assert joined.overlong
    assert list(range(len(joined.text.split()))) == sorted(t for _, t in joined.alignment)
    assert set(sources) <= set(range(len(line.split())))
    # Each part is aligned within itself, and lies where it lies in the line.
    offset = words = 0
    for part in parts(line):
        (translation,) = own.translate([part], alignments=True)
        start = len(line[:offset].split()) - (offset > 0 and not line[offset - 1].isspace()
                                              and not part[0].isspace())  # fmt: skip
        for source, target in translation.alignment:
            assert (start + source, words + target) in joined.alignment
        offset, words = offset + len(part), words + len(translation.text.split())
    assert offset == len(line)


# Ensembles.


def noisy(seed: int) -> nmt.Translator:
    """Another model."""
    own = translator()
    leaves, structure = jax.tree.flatten(jax.device_get(own.params))
    rng = np.random.default_rng(seed)
    leaves = [x + rng.normal(0, 0.05, x.shape).astype(np.float32) for x in leaves]
    return own.with_params(jax.tree.unflatten(structure, leaves))


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 3, "no_repeat_ngram": 3}])
def test_an_ensemble_averages_log_probabilities(options):
    members = [translator(), noisy(1), noisy(2)]
    together = nmt.ensemble(members)
    found = together.translate(SENTENCES, **options)
    texts = {tuple(t.text for t in m.translate(SENTENCES, **options)) for m in members}
    assert len(texts) > 1
    for sentence, translation in zip(SENTENCES, found, strict=True):
        if sentence.strip():
            mean = np.mean([distribution(m, sentence, translation.tokens) for m in members], 0)
            mean -= np.log(np.exp(mean).sum(-1, keepdims=True))
            ids = [*members[0].tokenizer.target.piece_to_id(list(translation.tokens)), 2]
            expected = mean[np.arange(len(ids)), ids]
            np.testing.assert_allclose(translation.token_log_probs, expected, atol=1e-4)
    pairs = [(s, t.text) for s, t in zip(SENTENCES, found, strict=True) if s.strip()]
    for scored, (_, text) in zip(together.score(pairs), pairs, strict=True):
        (own,) = (t for t in found if t.text == text)
        if scored.tokens == own.tokens:
            assert scored.score == pytest.approx(own.score, abs=1e-4)


def distribution(member: nmt.Translator, sentence: str, tokens: tuple[str, ...]) -> np.ndarray:
    """Log-probabilities of every piece at every place."""
    vocabulary = member.tokenizer
    source = vocabulary.encode_source([sentence])[0]
    target = [vocabulary.bos_id, *vocabulary.target.piece_to_id(list(tokens))]
    arrays = [
        np.pad(row, (0, 114 - len(row)))[None]
        for ids in (source, target)
        for row in (np.array(ids), np.ones(len(ids), int), np.arange(len(ids)))
    ]
    log_probs = teacher_forced(member.model, jax.device_get(member.params), *arrays)
    return np.asarray(log_probs[0, : len(target)])


def test_an_ensemble_of_one_model_is_that_model():
    own = translator()
    assert nmt.ensemble([own]) is own
    assert_close(nmt.ensemble(iter([own, own])).translate(SENTENCES), own.translate(SENTENCES))
    both = nmt.ensemble([own, noisy(1)])
    assert both.align([("The boy sleeps.", "O menino dorme.")]) == own.align(
        [("The boy sleeps.", "O menino dorme.")]
    )
    compiled = len(both.compiled)
    both.translate(SENTENCES[:1], length_penalty=1.0)
    both.translate(SENTENCES[:1], length_penalty=0.5)
    assert len(both.compiled) == compiled + 1


def test_models_of_different_vocabularies_are_no_ensemble():
    own = translator()
    corpus = load_corpus(CONFIG.data).train
    other = copy.copy(own)
    other.tokenizer = tokenizer.train(replace(CONFIG.tokenizer, vocab_size=700), *corpus)
    with pytest.raises(InputError, match="models of an ensemble have different vocabularies"):
        nmt.ensemble([own, other])
    with pytest.raises(InputError, match="an ensemble of ensembles"):
        nmt.ensemble([own, nmt.ensemble([own, own])])
    with pytest.raises(InputError, match="no models"):
        nmt.ensemble([])


def test_loading_leaves_the_configuration_of_jax_alone(run, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")  # which would be left alone anyway
    before = dict(jax.config.values)
    nmt.load(run).translate(SENTENCES[:1])
    assert dict(jax.config.values) == before


# Precision.


@pytest.fixture(scope="module")
def exact(run) -> nmt.Translator:
    return nmt.load(run)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_in_any_precision_company_changes_nothing(precision, run, exact):
    own = nmt.load(run, precision=precision) if precision != "float32" else exact
    together = own.translate(SENTENCES * 2, beam_size=2, n_best=2)
    alone = [own.translate([s], beam_size=2, n_best=2)[0] for s in SENTENCES]
    assert together == alone * 2
    texts = [t.text for t in exact.translate(SENTENCES, beam_size=2)]
    pairs = list(zip(SENTENCES, texts, strict=True))
    scores = [[t.score for t in x.score(pairs)] for x in (exact, own)]
    assert (scores[0] == scores[1]) == (precision == "float32")
    np.testing.assert_allclose(*scores, rtol=0.05)
    kinds = {x.dtype.name for x in jax.tree.leaves(own.params)}
    assert kinds == {"float32", precision}


# Memory.


def test_a_shape_that_does_not_fit_is_named_before_it_runs(monkeypatch):
    own = translator()
    fresh = uncompiled()
    monkeypatch.setattr(parallel, "memory_available", lambda: 10_000)
    message = r"search of 32 rows of 64 source pieces needs \d+ MB, and 0 MB are available"
    for call in (fresh.check_memory, fresh.warm_up):
        with pytest.raises(InputError, match=message):
            call()
    monkeypatch.setattr(parallel, "memory_available", lambda: 10**12)
    fresh.check_memory()
    # Of 7, 6 and 4 rows on a device: in the second shape there are the most positions.
    assert {length for _, (_, length) in fresh.compiled} == {16, 32, 64}
    needed = {p.num_rows: p.bytes_needed for p in fresh._compiled._programs.values()}
    devices = jax.local_device_count()
    assert max(needed, key=needed.get) == 6 * devices
    shapes = [(32, 16), (24, 32), (16, 64), (8, 128), (6, 256)]  # of the default configuration
    assert buckets.largest(shapes) == [(6, 256), (32, 16)]
    monkeypatch.setattr(parallel, "memory_needed", lambda _: 2 * 10**12)
    with pytest.raises(InputError, match="cross_attention of 32 rows of 64 source pieces needs"):
        fresh.check_memory(alignments=True)
    with pytest.raises(InputError, match="force of 32 rows of 64 source pieces needs") as raised:
        fresh.check_memory(method="score")
    assert str(raised.value).endswith("lower decoding.batch_tokens in the run's config.json")
    # Half of a row on each device is none.
    with pytest.raises(InputError, match=r"search of 8 rows of 32 .*: not one row fits; lower dec"):
        fresh.translate(SENTENCES, bucket=32, one_row=True)
    monkeypatch.undo()
    assert parallel.memory_available() > 1e8
    assert fresh.translate(SENTENCES) == own.translate(SENTENCES)


BRIEF, WIDE = "Maria sleeps.", "I know the old woman and the boys, and Maria sees the red houses."


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda own: own.translate([BRIEF, WIDE]), "search of 56 rows of 16 source pieces"),
        (lambda own: [*own.translate_lines([BRIEF, WIDE])], "search of 56 rows of 16 "),
        (lambda own: own.translate([BRIEF, WIDE], alignments=True), "cross_attention of 48 rows"),
        (lambda own: own.score([(BRIEF, BRIEF), (WIDE, WIDE)]), "force of 56 rows of 16 "),
        (lambda own: own.align([(BRIEF, BRIEF), (WIDE, WIDE)]), "cross_attention of 56 rows of 16"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(call, message, monkeypatch):
    fresh, needed = uncompiled(), iter([1, 2 * 10**12])  # of what is compiled first, and second
    monkeypatch.setattr(parallel, "memory_available", lambda: 10**12)
    monkeypatch.setattr(parallel, "memory_needed", lambda _: next(needed))
    monkeypatch.setattr(Compiled, "_run", lambda *_: pytest.fail("something ran"))
    with pytest.raises(InputError, match=message):
        call(fresh)


@pytest.mark.parametrize(
    ("number", "sizes"), [(3, [3]), (4, [4]), (5, [3, 2]), (11, [4, 4, 3]), (100, [34, 33, 33])]
)
def test_all_programs_take_a_part_as_soon_as_some_would_wait(monkeypatch, number, sizes):
    monkeypatch.setattr(parallel, "num_programs", lambda: 3)
    monkeypatch.setattr(parallel, "num_local_devices", lambda: 1)
    decoding = replace(CONFIG.decoding, batch_tokens=4 * 3 * 66)  # 4 rows of 16 pieces
    requests = [Request([5] * (n % 9 + 2)) for n in range(number)]
    found = list(batches(requests, decoding, SearchOptions(), 0, queue=16))
    assert [len(batch.rows) for batch in found] == sizes
    assert sorted(n for batch in found for _, n in batch.rows) == list(range(number))


def test_programs_beside_each_other_change_no_bit(monkeypatch):
    lines = [pair[0] for pair in zip(*load_corpus(CONFIG.data).train, strict=True)][:150]
    alone = translator().translate(lines, alignments=True)
    monkeypatch.setattr(parallel, "num_programs", lambda: 3)
    assert translator().translate(lines, alignments=True) == alone
    assert translator().translate(lines[:20], alignments=True) == alone[:20]


def test_what_a_shape_needs_grows_with_it():
    def needed(rows: int) -> int:
        arguments = np.ones((8, 8), np.float32), np.ones((jax.local_device_count(), rows, 8)), ()
        function = parallel.pmap_rows(lambda w, x, _: np.float32(1) + (x @ w) @ (x @ w).T)
        return parallel.memory_needed(function.lower(*arguments).compile())

    assert needed(512) >= 4 * 512 * 512 * jax.local_device_count()
    assert needed(512) > 3 * needed(256)
