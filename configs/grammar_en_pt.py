"""The default: the embedded corpus, English to Portuguese, a few minutes on 2 CPU cores."""

from nmt.config import (
    Config,
    DataConfig,
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
    # The corpus has some 2,000 different words; most become one piece.
    tokenizer=TokenizerConfig(vocab_size=2000),
    # A quarter of the base model's width. Every translation follows from the source, so there is
    # nothing to smooth and little to drop.
    model=TransformerConfig(
        emb_dim=128, num_layers=3, num_heads=4, mlp_dim=512, dropout_rate=0.1, norm="pre"
    ),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=200, schedule="linear"),
    training=TrainingConfig(
        num_steps=1200,
        batch_tokens=2048,
        label_smoothing=0.1,
        eval_every_steps=400,
        save_every_steps=200,
    ),
)
