"""Vaswani et al. 2017, big model: the last row of Table 3, on the base model's data."""

from dataclasses import replace
from pathlib import Path

from nmt.config import load_config

base = load_config(Path(__file__).with_name("wmt14_en_de_base.py"))
config = replace(
    base,
    model=replace(base.model, emb_dim=1024, mlp_dim=4096, num_heads=16, dropout_rate=0.3),
    training=replace(base.training, num_steps=300_000),
)
