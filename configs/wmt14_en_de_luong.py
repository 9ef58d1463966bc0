"""Luong et al. 2015: WMT14 English to German, local-p attention with the score "general".

Section 4.1: vocabularies of 50,000, sentences of up to 50, four layers of 1,000, dropout 0.2,
gradients clipped to a norm of 5, windows of 10 places on either side. What differs: Adam takes the
place of gradient descent, a batch has 6,400 target positions where the paper's has 128 sentences
(some 200 here, most being short), and the loss is a mean over tokens. The rows of Table 4 are
differences in `attention` and `window`, but for the score "location"; input is always fed.
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
        target_language="de",
        tfds_name="wmt14_translate/de-en",
        max_source_length=50,
        max_target_length=50,
    ),
    tokenizer=TokenizerConfig(vocab_size=50_000, shared=False),
    model=RecurrentConfig(
        cell="lstm",
        emb_dim=1000,
        num_layers=4,
        reading="backward",
        decoder="luong",
        attention="general",
        window="predictive",
        dropout_rate=0.2,
    ),
    optimizer=OptimizerConfig(learning_rate=1e-3, clip_norm=5.0),
    # About 12 epochs of 4.5 million pairs.
    training=TrainingConfig(
        num_steps=250_000,
        batch_tokens=128 * 50,
        label_smoothing=0.0,
        eval_every_steps=10_000,
        save_every_steps=1000,
    ),
    decoding=DecodingConfig(max_source_length=64),
)
