"""RNNsearch-50 (Bahdanau et al. 2015): WMT14 English to French.

Section 4 and appendix B: vocabularies of 30,000, sentences of up to 50, batches of about 80
sentences, AdaDelta with ε = 10^-6 and ρ = 0.95, gradients clipped to a norm of 1. Pieces take the
place of the paper's words, so that none is unknown.
"""

from nmt.config import (
    Config,
    DataConfig,
    OptimizerConfig,
    RecurrentConfig,
    TokenizerConfig,
    TrainingConfig,
)

config = Config(
    data=DataConfig(
        source_language="en",
        target_language="fr",
        tfds_name="wmt14_translate/fr-en",
        max_source_length=50,
        max_target_length=50,
    ),
    tokenizer=TokenizerConfig(vocab_size=30_000, shared=False),
    model=RecurrentConfig(),
    optimizer=OptimizerConfig(
        algorithm="adadelta",
        learning_rate=1.0,
        warmup_steps=1,
        schedule="constant",
        beta2=0.95,
        epsilon=1e-6,
        clip_norm=1.0,
    ),
    # 80 sentences of 50 pieces, more of shorter ones. Table 2: 288,000 updates.
    training=TrainingConfig(
        num_steps=288_000,
        batch_tokens=80 * 50,
        label_smoothing=0.0,
        eval_every_steps=10_000,
        save_every_steps=1000,
    ),
)
