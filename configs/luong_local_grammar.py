"""Luong et al. 2015, local-m: `luong_grammar.py` with a window that moves on by a place a step."""

from dataclasses import replace
from pathlib import Path

from nmt.config import load_config

base = load_config(Path(__file__).with_name("luong_grammar.py"))
config = replace(
    base, model=replace(base.model, attention="dot", window="monotonic", window_size=5)
)
