"""Multi30k, German to English: 29,000 image captions, 40 minutes on 2 CPU cores.

The corpus (Elliott et al. 2016, https://aclanthology.org/W16-3210) is not ours to ship: give its
folder of {train,dev,test}.{de,en} with --data.path.
"""

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
    data=DataConfig(
        source_language="de",
        target_language="en",
        path="data/multi30k",
        # Captions are short: rows of 64 waste less attention than longer ones, and all fit.
        max_source_length=64,
        max_target_length=64,
    ),
    tokenizer=TokenizerConfig(vocab_size=8000),
    model=TransformerConfig(
        emb_dim=256, num_layers=3, num_heads=4, mlp_dim=1024, dropout_rate=0.3, norm="pre"
    ),
    optimizer=OptimizerConfig(learning_rate=1.5e-3, warmup_steps=400, schedule="linear"),
    training=TrainingConfig(
        num_steps=4500,
        batch_tokens=2048,
        eval_every_steps=750,
        save_every_steps=250,
    ),
    decoding=DecodingConfig(max_source_length=64),
)
