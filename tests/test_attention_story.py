"""The story's text, its contenders, and its pictures from the results that are kept."""

import json
from functools import partial
from pathlib import Path

import attention_story
import jax
import matplotlib.image
import pytest

from nmt.models.seq2seq import build, init_params

RESULTS = Path(attention_story.__file__).parent / "results"


def test_joining_keeps_every_sentence_and_its_translation_side_by_side():
    pairs = [(f"a{n} b c d", f"x{n} y") for n in range(1000)]
    lines = list(attention_story.joined(pairs, 20))
    assert " ".join(source for source, _ in lines) == " ".join(source for source, _ in pairs)
    for source, target in lines:
        numbers = [word[1:] for word in source.split()[::4]]
        assert numbers == [word[1:] for word in target.split()[::2]]
    lengths = [len(source.split()) for source, _ in lines]
    assert set(lengths) == {4, 8, 12, 16, 20}
    shares = [lengths.count(n) / len(lengths) for n in (4, 8, 12, 16, 20)]
    assert all(0.1 < share < 0.3 for share in shares)


@pytest.mark.parametrize("data", [None, Path("tatoeba_en_de")])
def test_the_contenders_are_alike(data, tmp_path):
    options = attention_story.Options(workdir=tmp_path, data=data)
    configs = attention_story.configurations(options, ("en", "de"), tmp_path)
    sizes = {}
    for name, config in configs.items():
        vocab_sizes = (config.tokenizer.vocab_size,) * 2
        model = build(config.model, vocab_sizes, shared=True)
        shapes = jax.eval_shape(partial(init_params, model), jax.random.key(0))
        sizes[name] = sum(x.size for x in jax.tree.leaves(shapes))
    assert max(sizes.values()) < 1.1 * min(sizes.values())
    first, *others = configs.values()
    for other in others:
        for field in ("num_steps", "label_smoothing"):
            assert getattr(other.training, field) == getattr(first.training, field)
        assert (other.data, other.tokenizer) == (first.data, first.tokenizer)


@pytest.mark.parametrize("corpus", ["embedded", "tatoeba_en_de"])
def test_pictures_are_drawn_again_from_what_is_kept(corpus, tmp_path):
    report = json.loads((RESULTS / f"attention_story_{corpus}.json").read_text())
    attention_story.draw(report, tmp_path)
    pictures = list(tmp_path.iterdir())
    assert len(pictures) == 2
    assert all(matplotlib.image.imread(picture).std() > 0 for picture in pictures)
    assert len(list(attention_story.table(report))) > 8
