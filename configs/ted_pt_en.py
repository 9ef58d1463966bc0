"""TED talks, Portuguese to English, through TFDS: 51,785 pairs, for one GPU or TPU core.

The data (Qi et al. 2018, https://aclanthology.org/N18-2084) is fetched by TFDS at the first start.
"""

from nmt.config import (
    Config,
    DataConfig,
    OptimizerConfig,
    TokenizerConfig,
    TrainingConfig,
    TransformerConfig,
)

config = Config(
    data=DataConfig(
        source_language="pt", target_language="en", tfds_name="ted_hrlr_translate/pt_to_en"
    ),
    tokenizer=TokenizerConfig(vocab_size=8000),
    model=TransformerConfig(
        num_layers=4, emb_dim=256, num_heads=8, mlp_dim=1024, dropout_rate=0.3, norm="pre"
    ),
    optimizer=OptimizerConfig(warmup_steps=4000),
    training=TrainingConfig(num_steps=30_000, batch_tokens=8192, eval_every_steps=2000),
)
