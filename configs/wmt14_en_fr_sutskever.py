"""Sutskever et al. 2014: WMT14 English to French by four layers of LSTMs that read backward.

Section 3.4: layers and embeddings of 1,000, gradients clipped to a norm of 5, beam 12. What
differs: Adam takes the place of gradient descent, 30,000 pieces that of 160,000 and 80,000 words; a
sentence has 50 pieces at most; a batch has 6,400 target positions, where the paper's has 128
sentences (some 200 here, most being short); the loss is a mean over tokens; and the end of the
source is read first, with it.
"""

from dataclasses import replace
from pathlib import Path

from nmt.config import OptimizerConfig, RecurrentConfig, load_config

base = load_config(Path(__file__).with_name("wmt14_en_fr_rnnsearch.py"))
config = replace(
    base,
    model=RecurrentConfig(
        cell="lstm",
        emb_dim=1000,
        num_layers=4,
        reading="backward",
        decoder="luong",
        attention=None,
    ),
    optimizer=OptimizerConfig(learning_rate=1e-3, clip_norm=5.0),
    training=replace(base.training, num_steps=450_000, batch_tokens=128 * 50),  # 90 million pairs
    decoding=replace(base.decoding, beam_size=12, length_penalty=0.0),
)
