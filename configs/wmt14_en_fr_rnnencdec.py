"""RNNencdec-50 (Cho et al. 2014; Bahdanau et al. 2015): a fixed vector on the data of RNNsearch."""

from dataclasses import replace
from pathlib import Path

from nmt.config import load_config

base = load_config(Path(__file__).with_name("wmt14_en_fr_rnnsearch.py"))
config = replace(
    base,
    model=replace(base.model, attention=None, reading="forward"),
    training=replace(base.training, num_steps=600_000),  # Table 2
)
