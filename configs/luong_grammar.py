"""Luong et al. 2015 on the embedded corpus: stacked LSTMs, the score "general", input feeding."""

from dataclasses import replace
from pathlib import Path

from nmt.config import RecurrentConfig, load_config

base = load_config(Path(__file__).with_name("rnnsearch_grammar.py"))
config = replace(
    base,
    model=RecurrentConfig(
        cell="lstm",
        emb_dim=128,
        hidden_dim=192,
        num_layers=2,
        reading="backward",
        decoder="luong",
        attention="general",
    ),
)
