"""RNNsearch-50 (Bahdanau et al. 2015): WMT14 English to French.

Section 4, appendices A.2.3 and B: vocabularies of 30,000, sentences of up to 50, AdaDelta with
ε = 10^-6 and ρ = 0.95, gradients clipped to a norm of 1. What differs: pieces take the place of
words, so that none is unknown; a batch has 4,000 target positions, 80 sentences of 50 or more of
shorter ones, where the paper's has 80; and the loss is a mean over tokens, whose gradient is that
much shorter than the paper's, a sum over each sentence.
"""

from nmt.config import (
    Config,
    DataConfig,
    DecodingConfig,
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
    model=RecurrentConfig(readout_dim=500),
    optimizer=OptimizerConfig(
        algorithm="adadelta",
        learning_rate=1.0,
        warmup_steps=1,
        schedule="constant",
        beta2=0.95,
        epsilon=1e-6,
        clip_norm=1.0,
    ),
    # Table 2: 288,000 updates.
    training=TrainingConfig(
        num_steps=288_000,
        batch_tokens=80 * 50,
        label_smoothing=0.0,
        eval_every_steps=10_000,
        save_every_steps=1000,
    ),
    decoding=DecodingConfig(max_source_length=64),
)
