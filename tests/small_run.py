"""The configuration of a run that takes seconds; `conftest` has its fixtures."""

from nmt.config import (
    Config,
    DataConfig,
    DecodingConfig,
    OptimizerConfig,
    TokenizerConfig,
    TrainingConfig,
    TransformerConfig,
)

CONFIG = Config(
    data=DataConfig(
        "en", "pt", grammar_sizes=(400, 12, 12), max_source_length=64, max_target_length=64
    ),
    tokenizer=TokenizerConfig(vocab_size=500),
    model=TransformerConfig(emb_dim=16, num_layers=1, num_heads=2, mlp_dim=32),
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=4),
    training=TrainingConfig(
        num_steps=12, batch_tokens=512, log_every_steps=5, eval_every_steps=6, save_every_steps=4
    ),
    decoding=DecodingConfig(beam_size=1, max_source_length=64, batch_tokens=264),
)
