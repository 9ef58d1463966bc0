"""An RNN encoder-decoder (after Cho et al. 2014): RNNsearch, its context a fixed vector."""

from dataclasses import replace
from pathlib import Path

from nmt.config import load_config

base = load_config(Path(__file__).with_name("rnnsearch_grammar.py"))
config = replace(base, model=replace(base.model, attention=None))
