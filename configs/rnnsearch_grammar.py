"""RNNsearch (Bahdanau et al. 2015) on the embedded corpus: a few minutes on 2 CPU cores."""

from dataclasses import replace
from pathlib import Path

from nmt.config import OptimizerConfig, RecurrentConfig, load_config

base = load_config(Path(__file__).with_name("grammar_en_pt.py"))

config = replace(
    base,
    model=RecurrentConfig(
        emb_dim=128, hidden_dim=256, encoder_dim=128, attention_dim=128, readout_dim=128
    ),
    optimizer=OptimizerConfig(
        learning_rate=3e-3, warmup_steps=200, schedule="linear", clip_norm=1.0
    ),
    training=replace(base.training, num_steps=2400, eval_every_steps=800, save_every_steps=400),
)
