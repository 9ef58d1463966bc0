"""The default: the embedded corpus, English to Portuguese, a few minutes on 2 CPU cores."""

from nmt.config import (
    Config,
    DataConfig,
    DecodingConfig,
    OptimizerConfig,
    TokenizerConfig,
    TrainingConfig,
    TransformerConfig,
)

config = Config(
    # No path: the pairs come from nmt/data/grammar.py.
    data=DataConfig(
        source_language="en",
        target_language="pt",
        max_source_length=64,
        max_target_length=64,
    ),
    # Most words become one piece; rare forms of verbs, and what holds a hyphen, become several.
    tokenizer=TokenizerConfig(vocab_size=4000),
    # A quarter of the base model's width. Every translation follows from its source: weight decay
    # helps, dropout does not.
    model=TransformerConfig(
        emb_dim=128, num_layers=3, num_heads=4, mlp_dim=256, dropout_rate=0.0, norm="pre"
    ),
    optimizer=OptimizerConfig(
        learning_rate=5e-3, warmup_steps=200, schedule="linear", weight_decay=0.1
    ),
    # Small batches: at this size each step counts for more than its number of tokens.
    training=TrainingConfig(
        num_steps=2550,
        batch_tokens=1024,
        label_smoothing=0.1,
        eval_every_steps=850,
        save_every_steps=425,
    ),
    decoding=DecodingConfig(max_source_length=64),
)
