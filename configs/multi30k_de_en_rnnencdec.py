"""An RNN encoder-decoder (after Cho et al. 2014) on Multi30k: RNNsearch with a fixed vector."""

from dataclasses import replace
from pathlib import Path

from nmt.config import load_config

base = load_config(Path(__file__).with_name("multi30k_de_en_rnnsearch.py"))
config = replace(base, model=replace(base.model, attention=None))
