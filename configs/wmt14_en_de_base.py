"""Vaswani et al. 2017, base model: WMT14 English to German, 8 accelerators.

Section 5: 37,000 shared pieces, about 25,000 target tokens a step, 100,000 steps, Adam with 4,000
warm-up steps, dropout and label smoothing 0.1, beam 4 with length penalty 0.6. The paper's other
models (Table 3) are differences in one line; `wmt14_en_de_big.py` is one.
"""

from nmt.config import (
    Config,
    DataConfig,
    DecodingConfig,
    TokenizerConfig,
    TrainingConfig,
    TransformerConfig,
)

config = Config(
    data=DataConfig(source_language="en", target_language="de", tfds_name="wmt14_translate/de-en"),
    tokenizer=TokenizerConfig(vocab_size=37_000),
    model=TransformerConfig(compute_dtype="bfloat16"),
    training=TrainingConfig(
        num_steps=100_000,
        batch_tokens=200 * 128,
        eval_every_steps=5000,
        save_every_steps=1000,
    ),
    decoding=DecodingConfig(batch_tokens=65_536),
)
