"""Tatoeba, English to Portuguese: 11,080 pairs of everyday sentences, half an hour on 2 CPU cores.

The pairs are the union of the English-Portuguese Tatoeba test sets of OPUS-MT (CC-BY 2.0 FR): give
the folder of {train,dev,test}.{en,pt} with --data.path.
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
        source_language="en",
        target_language="pt",
        path="data/tatoeba_en_pt",
        max_source_length=64,
        max_target_length=64,
    ),
    # So few pairs profit from seeing their words cut in many ways (Kudo 2018, section 4).
    tokenizer=TokenizerConfig(vocab_size=4000, sampling_alpha=0.2),
    model=TransformerConfig(
        emb_dim=256, num_layers=3, num_heads=4, mlp_dim=1024, dropout_rate=0.3, norm="pre"
    ),
    optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=300, schedule="linear"),
    training=TrainingConfig(
        num_steps=2000, batch_tokens=2048, eval_every_steps=250, save_every_steps=250
    ),
    decoding=DecodingConfig(max_source_length=64),
)
