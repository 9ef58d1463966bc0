"""Sutskever et al. 2014: `luong_grammar.py` without attention, stacked LSTMs that read backward."""

from dataclasses import replace
from pathlib import Path

from nmt.config import load_config

base = load_config(Path(__file__).with_name("luong_grammar.py"))
config = replace(base, model=replace(base.model, attention=None))
