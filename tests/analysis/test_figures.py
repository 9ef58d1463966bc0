import matplotlib.image
import numpy as np
import pytest

from nmt.analysis.figures import attention_maps, learning_curve

RECORDS = [
    {"step": 1, "kind": "train", "loss": 3.0},
    {"step": 2, "kind": "dev", "loss": 2.5, "bleu": 1.0},
    {"step": 2, "kind": "train", "loss": 2.0},
]


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:1]])
def test_a_learning_curve_of_any_history_is_a_picture(records, tmp_path):
    learning_curve(records, tmp_path / "curve.png")
    assert matplotlib.image.imread(tmp_path / "curve.png").std() > 0


@pytest.mark.parametrize("word", ["$\\foo$", "$$", "a" * 80, "<b>", "\\"])
def test_any_word_can_stand_on_an_axis(word, tmp_path):
    weights = np.array([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
    attention_maps([{"": weights}], ["one", word], [word, "two", "three"], tmp_path / "map.png")
    assert matplotlib.image.imread(tmp_path / "map.png").std() > 0
    with pytest.raises(ValueError, match=r"\(3, 2\); expected 2 words that look at 3"):
        attention_maps(
            [{"": weights}], ["one", word, "three"], ["two", "four"], tmp_path / "no.png"
        )
