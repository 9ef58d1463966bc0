"""The configuration of an experiment: frozen dataclasses, one a concern.

A configuration is written in a Python file that ends in `config = Config(...)`, changed by flags,
and kept as JSON in a run's folder. Reading the JSON executes nothing.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import re
import runpy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypedDict, get_type_hints

import pydantic
import tyro

NUM_SPECIAL_IDS = 4
"""Padding, begin, end and unknown: the ids that every vocabulary holds beside its pieces."""

NUM_BYTES = 256
"""Pieces that byte fallback adds to every vocabulary, so that no text is unknown."""

EXTRA_TARGET_LENGTH = 50
"""Pieces that a translation may have more than its source (Vaswani et al. 2017, section 6.1)."""

MAX_LENGTH_PENALTY = 10
"""Of the lengths there are, larger powers are more than float32 holds."""

MAX_SAMPLES = 10_000
"""Of a sentence: XLA ends the process, with no exception, where an array has too many elements."""


def digest(value: Any) -> str:
    """Hashes a value as JSON writes it: a number that was changed differs from its digest."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


class InputError(ValueError):
    """A mistake in what the user gave: shown as one line, without a traceback, exit status 2."""


_STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@functools.cache
def _hints(group: type) -> dict[str, Any]:
    return get_type_hints(group)


@functools.cache
def _adapter(hint: Any) -> Any:
    return pydantic.TypeAdapter(hint, config=None if dataclasses.is_dataclass(hint) else _STRICT)


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


class _Group:
    """What the groups of fields have in common: how wrong values are found and named."""

    group: ClassVar[str]

    def __init_subclass__(cls, group: str) -> None:
        cls.group = group

    def _expect(self, condition: bool, name: str, expected: str) -> None:
        _check(condition, f"{self.group}.{name} is {getattr(self, name)!r}; expected {expected}")

    def _expect_types(self) -> None:
        """Comes before values are compared."""
        group: Any = type(self)
        for name, hint in _hints(group).items():
            if name != "group":
                try:
                    _adapter(hint).validate_python(getattr(self, name))
                except pydantic.ValidationError as error:
                    self._expect(
                        False, name, error.errors()[0]["msg"].removeprefix("Input should be ")
                    )

    def _expect_least(self, least: int, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            self._expect(value is None or value >= least, name, f"at least {least}")

    def _expect_most(self, most: int, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            self._expect(value is None or value <= most, name, f"at most {most:,}")

    def _expect_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            self._expect(value is None or value > 0, name, "more than 0")

    def _expect_share(self, *names: str) -> None:
        for name in names:
            self._expect(0 <= getattr(self, name) < 1, name, "a number in [0, 1)")


@dataclass(frozen=True)
class DataConfig(_Group, group="data"):
    """Where sentence pairs come from: a TFDS builder, text files, or the embedded grammar."""

    # Language translated from, as in the files' names: `de`.
    source_language: str
    # Language translated into: `en`.
    target_language: str
    # Folder of {train,dev,test}.{language}, plain or .gz. Without it, without files and without
    # tfds-name the embedded English-Portuguese grammar is used.
    path: str | None = None
    # Source file and target file of the training split, in place of the folder's.
    train_files: tuple[str, str] | None = None
    # Source file and target file of the development split, in place of the folder's.
    dev_files: tuple[str, str] | None = None
    # Source file and target file of the test split, in place of the folder's.
    test_files: tuple[str, str] | None = None
    # TFDS builder with a Translation feature: `ted_hrlr_translate/pt_to_en`.
    tfds_name: str | None = None
    # Folder of prepared TFDS data; None is TFDS's own.
    tfds_data_dir: str | None = None
    # Pairs of the embedded corpus in train, dev and test.
    grammar_sizes: tuple[int, int, int] = (20_000, 500, 500)
    # Pieces in a row of training sentences, source side, end piece counted; a longer sentence is
    # left out of training.
    max_source_length: int = 128
    # The same for the target side.
    max_target_length: int = 128

    def __post_init__(self) -> None:
        self._expect_types()
        for field in ("source_language", "target_language"):
            found = re.fullmatch(r"[\w-]+", getattr(self, field))
            self._expect(found is not None, field, "a language code such as 'de'")
        _check(
            self.source_language != self.target_language or self.train_files is not None,
            f"data.source_language and data.target_language are both {self.source_language!r}: "
            "give two languages, or files of either side",
        )
        self._expect_least(2, "max_source_length", "max_target_length")
        self._expect(min(self.grammar_sizes) >= 1, "grammar_sizes", "a pair at least in each split")
        files = (self.train_files, self.dev_files, self.test_files)
        _check(
            self.tfds_name is None or (self.path is None and files == (None, None, None)),
            "data.tfds_name and data.path (or files) are both given; give one source of data",
        )
        _check(
            self.path is not None or None not in files or files == (None, None, None),
            "data.train_files, data.dev_files and data.test_files must all be given where "
            "data.path is not",
        )


@dataclass(frozen=True)
class TokenizerConfig(_Group, group="tokenizer"):
    """SentencePiece, trained on the training side only."""

    # Pieces in a vocabulary, special ids and the 256 bytes counted. Data that cannot fill it gets a
    # smaller one.
    vocab_size: int = 8000
    # One vocabulary, and one embedding table, for both languages.
    shared: bool = True
    # Smoothness of subword sampling on training sentences (Kudo 2018, section 3.2): 0.1 is common,
    # smaller is more random; None segments each sentence in its best way.
    sampling_alpha: float | None = None

    def __post_init__(self) -> None:
        self._expect_types()
        least = NUM_SPECIAL_IDS + NUM_BYTES
        _check(
            self.vocab_size > least,
            f"tokenizer.vocab_size is {self.vocab_size}; the {NUM_SPECIAL_IDS} special ids and "
            f"{NUM_BYTES} bytes alone take {least}",
        )
        self._expect(self.vocab_size <= 2**20, "vocab_size", "at most a million")
        self._expect_positive("sampling_alpha")


@dataclass(frozen=True)
class TransformerConfig(_Group, group="model"):
    """Vaswani et al. 2017; the defaults are its base model (Table 3)."""

    # Width of embeddings and layers (d_model).
    emb_dim: int = 512
    # Layers in the encoder, and again in the decoder (N).
    num_layers: int = 6
    # Attention heads in each layer (h).
    num_heads: int = 8
    # Width of a head's queries and keys (d_k); None is emb_dim / num_heads.
    key_dim: int | None = None
    # Width of a head's values (d_v); None is emb_dim / num_heads.
    value_dim: int | None = None
    # Width inside the feed-forward sub-layers (d_ff).
    mlp_dim: int = 2048
    # Share of each sub-layer's output and of the embedded sums set to zero (P_drop).
    dropout_rate: float = 0.1
    # Rows of a learned position table (Table 3, row E); None is sinusoids (section 3.5).
    learned_positions: int | None = None
    # Layer normalisation after each residual sum, as in the paper, or before each sub-layer.
    norm: Literal["post", "pre"] = "post"
    # Type of activations; parameters, softmax and loss are float32 always.
    compute_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        self._expect_types()
        sizes = ("emb_dim", "num_layers", "num_heads", "key_dim", "value_dim", "mlp_dim")
        self._expect_least(1, *sizes, "learned_positions")
        self._expect_share("dropout_rate")
        _check(
            self.emb_dim % self.num_heads == 0 or None not in (self.key_dim, self.value_dim),
            f"model.emb_dim {self.emb_dim} is not a multiple of model.num_heads {self.num_heads}; "
            "change one, or give model.key_dim and model.value_dim",
        )
        self._expect(self.emb_dim % 2 == 0, "emb_dim", "an even number: sinusoids come in pairs")

    @property
    def num_cross_attentions(self) -> tuple[int, int]:
        """Layers and heads that attend to the source."""
        return self.num_layers, self.num_heads

    @property
    def max_positions(self) -> int | None:
        """Places that the model knows of; None is any number."""
        return self.learned_positions


@dataclass(frozen=True)
class RecurrentConfig(_Group, group="model"):
    """Cho et al. 2014, Sutskever et al. 2014, Bahdanau et al. 2015, Luong et al. 2015.

    The defaults are Bahdanau's RNNsearch, but for its 500 maxout units; without `attention` it is
    an RNN encoder-decoder, whose vector is that of both directions unless it reads forward alone.
    """

    # Recurrent unit: gated (Cho et al. 2014), or long short-term memory.
    cell: Literal["gru", "lstm"] = "gru"
    # Width of embeddings (m).
    emb_dim: int = 620
    # Width of the decoder's states (n).
    hidden_dim: int = 1000
    # Width of the encoder's states, in each direction; None is hidden_dim.
    encoder_dim: int | None = None
    # Layers in the encoder, and again in the decoder.
    num_layers: int = 1
    # How the encoder reads: forward, backward (Sutskever et al. 2014, section 3.3), or both ways.
    reading: Literal["forward", "backward", "both"] = "both"
    # How a step goes. Bahdanau's looks from the state before, and what it sees enters the recurrent
    # unit; Luong's looks from the new state, and what it sees enters the output and the next step.
    decoder: Literal["bahdanau", "luong"] = "bahdanau"
    # What scores the annotations (Luong's "concat" is additive, "general" the bilinear score); None
    # sees nothing but the encoder's last state, a fixed vector.
    attention: Literal["additive", "general", "dot"] | None = "additive"
    # Width inside the additive score; None is hidden_dim.
    attention_dim: int | None = None
    # Attends to a window alone, around the same place as in the target (local-m of Luong), or
    # around a place that is predicted (local-p); None attends everywhere.
    window: Literal["monotonic", "predictive"] | None = None
    # Places on either side of the window's centre (D).
    window_size: int = 10
    # Width of what the output layer reads: l maxout units (Bahdanau), or the attentional vector
    # (Luong); None is hidden_dim.
    readout_dim: int | None = None
    # Share of embeddings, of what goes from layer to layer, and of what the output layer reads, set
    # to zero.
    dropout_rate: float = 0.0
    # Type of activations; parameters, states, softmax and loss are float32 always.
    compute_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        self._expect_types()
        widths = ("emb_dim", "hidden_dim", "encoder_dim", "attention_dim", "readout_dim")
        self._expect_least(1, *widths, "num_layers", "window_size")
        self._expect(self.window_size < 2**31, "window_size", "less than 2^31")
        self._expect_share("dropout_rate")
        self._expect(self.window is None or self.attention is not None, "window", "attention, too")
        self._expect(
            self.readout_dim is None or self.attention is not None or self.decoder == "bahdanau",
            "readout_dim",
            "None where Luong's decoder has no attention: the output layer reads its state",
        )
        width = self.annotation_dim
        for field in ("attention", "decoder"):
            _check(
                getattr(self, field) not in ("dot", "luong") or width == self.hidden_dim,
                f"model.{field} {getattr(self, field)!r} needs annotations as wide as "
                f"model.hidden_dim {self.hidden_dim}, and they are {width}; change "
                "model.encoder_dim or model.reading",
            )

    @property
    def directions(self) -> tuple[str, ...]:
        """In which the encoder reads."""
        return ("forward", "backward") if self.reading == "both" else (self.reading,)

    @property
    def encoder_width(self) -> int:
        """Width of the encoder's states, in each direction."""
        return self.encoder_dim or self.hidden_dim

    @property
    def annotation_dim(self) -> int:
        """Width of an annotation: the states of all directions side by side."""
        return len(self.directions) * self.encoder_width

    @property
    def attention_width(self) -> int:
        """Width inside the additive score."""
        return self.attention_dim or self.hidden_dim

    @property
    def readout_width(self) -> int:
        """Width of what the output layer reads."""
        return self.readout_dim or self.hidden_dim

    @property
    def num_cross_attentions(self) -> tuple[int, int]:
        """Layers and heads that attend to the source."""
        return (1, 1) if self.attention else (0, 0)

    @property
    def max_positions(self) -> int | None:
        """Places that the model knows of; None is any number."""
        return None


_FAMILIES = "a Transformer", "a recurrent model"


def _family(model: Any) -> str:
    """Tells of which family a model is, in JSON by a field that only one has."""
    recurrent = "cell" in model if isinstance(model, dict) else isinstance(model, RecurrentConfig)
    return _FAMILIES[recurrent]


ModelConfig = Annotated[
    Annotated[TransformerConfig, pydantic.Tag(_FAMILIES[0])]
    | Annotated[RecurrentConfig, pydantic.Tag(_FAMILIES[1])],
    pydantic.Discriminator(_family),
]
"""What chooses a family of models, by its type."""


@dataclass(frozen=True)
class OptimizerConfig(_Group, group="optimizer"):
    """Adam, with decaying weights if asked for, and the schedule of Vaswani et al. 2017."""

    # Adam (Kingma and Ba 2015), or AdaDelta (Zeiler 2012), which has no beta1.
    algorithm: Literal["adam", "adadelta"] = "adam"
    # Largest learning rate, reached after warm-up; None is the paper's emb_dim^-0.5 ·
    # warmup_steps^-0.5.
    learning_rate: float | None = None
    # Steps over which the rate grows linearly from zero.
    warmup_steps: int = 4000
    # After warm-up: fall as 1/sqrt(step), as in the paper, fall in a line to zero at the last step,
    # or stay.
    schedule: Literal["inverse_sqrt", "linear", "constant"] = "inverse_sqrt"
    # Decay of the mean of gradients.
    beta1: float = 0.9
    # Decay of the mean of squared gradients (AdaDelta's ρ).
    beta2: float = 0.98
    # Added to the root of the mean of squares (to the mean, in AdaDelta).
    epsilon: float = 1e-9
    # Share of every parameter that a step takes off, times the learning rate.
    weight_decay: float = 0.0
    # Largest global norm of the gradient, a longer one is scaled down to it; None never clips.
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        self._expect_types()
        self._expect_positive("learning_rate", "epsilon", "clip_norm")
        self._expect_least(1, "warmup_steps")
        self._expect_share("beta1", "beta2", "weight_decay")
        self._expect(
            self.algorithm == "adam" or self.learning_rate is not None,
            "learning_rate",
            "a number with adadelta, which has none of the paper's (Zeiler's is 1)",
        )


@dataclass(frozen=True)
class TrainingConfig(_Group, group="training"):
    """How long, how much at a time, and what is kept."""

    # Optimizer steps in all.
    num_steps: int
    # Target positions in an optimizer step, over all devices and micro-batches: a multiple of
    # data.max_target_length.
    batch_tokens: int
    # Parts that each device takes its share of a batch in, adding up their gradients: more of them
    # need less memory.
    micro_batches: int = 1
    # Probability spread evenly over the vocabulary in the training loss (section 5.4).
    label_smoothing: float = 0.1
    # Seed of parameters, dropout, the order of the data and subword sampling.
    seed: int = 0
    # Steps between two records of the training loss.
    log_every_steps: int = 50
    # Steps between two evaluations on dev: loss, and greedy translations for BLEU and chrF.
    eval_every_steps: int = 1000
    # Steps between two checkpoints: the most work that an interruption can lose. The last one and
    # the one with the best dev BLEU are kept.
    save_every_steps: int = 500

    def __post_init__(self) -> None:
        self._expect_types()
        intervals = ("log_every_steps", "eval_every_steps", "save_every_steps")
        self._expect_least(1, "num_steps", "batch_tokens", "micro_batches", *intervals)
        self._expect_share("label_smoothing")
        self._expect(0 <= self.seed < 2**32, "seed", "a number in [0, 2^32)")


@dataclass(frozen=True)
class DecodingConfig(_Group, group="decoding"):
    """How a trained model translates unless the caller says otherwise."""

    # Hypotheses kept a sentence; 1 is greedy.
    beam_size: int = 4
    # Power α of the length normalisation ((5 + |Y|) / 6)^α (Wu et al. 2016, equation 14).
    length_penalty: float = 0.6
    # Pieces of the longest source sentence that is translated whole, end piece counted: a model
    # translates badly what is longer than what it was trained on.
    max_source_length: int = 128
    # Positions of all hypotheses at once on each device: one takes its bucket's length and 50. Of
    # more than 8 rows there are the nearest multiple of 8. A search of fewer hypotheses than
    # beam_size has as many rows as with it. An accelerator is faster with more: 65536.
    batch_tokens: int = 8192

    def __post_init__(self) -> None:
        self._expect_types()
        self._expect_least(1, "beam_size", "batch_tokens")
        self._expect_least(64, "max_source_length")  # one character may take 35 pieces
        self._expect_least(0, "length_penalty")
        self._expect_most(MAX_LENGTH_PENALTY, "length_penalty")
        self._expect_most(10**8, "batch_tokens")

    @property
    def max_target_length(self) -> int:
        """Pieces that the longest translation may have: the largest shape holds no more."""
        return self.max_source_length + EXTRA_TARGET_LENGTH


@dataclass(frozen=True, kw_only=True)
class SearchOptions(_Group, group="options"):
    """How the sentences of a call are translated.

    Attributes:
      beam_size: Hypotheses kept a sentence; 1 is greedy; None is the run's configuration.
      length_penalty: Power α of the length normalisation ((c + |Y|) / (c + 1))^α; None is the run's
        configuration.
      length_offset: The c of the length normalisation: 5 is GNMT's; 0 with α = 1 is the average
        over the pieces.
      n_best: Translations a sentence: the best one, and the others in `alternatives`.
      min_length: Least pieces of a translation, the end not counted.
      max_length_factor: A translation has at most so many pieces for each of its source ...
      max_length_extra: ... and so many more, the end counted (Vaswani et al. 2017, section 6.1);
        and never more than the sum of decoding.max_source_length and 50.
      no_repeat_ngram: Size of the n-grams of pieces that may not occur twice in a translation, but
        where its prefix repeats them; 0 lets them.
      samples: Translations a sentence that are drawn at random, in place of the n best; 0 searches.
      temperature: Sharpens (below 1) or flattens (above 1) the distribution that samples are drawn
        from.
      top_k: Samples are drawn from this many of the likeliest pieces; None draws from all.
      top_p: Samples are drawn from the likeliest pieces that together have this probability; None
        draws from all.
      seed: Of the samples; a sentence's depend on it and the seed alone.
      one_row: Takes one sentence a device at a time: soonest for one, far slower for many.
      bucket: Least source pieces of a compiled shape: a larger number compiles fewer shapes.
    """

    beam_size: int | None = None
    length_penalty: float | None = None
    length_offset: float = 5.0
    n_best: int = 1
    min_length: int = 0
    max_length_factor: float = 1.0
    max_length_extra: int = EXTRA_TARGET_LENGTH
    no_repeat_ngram: int = 0
    samples: int = 0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    one_row: bool = False
    bucket: int = 1

    def __post_init__(self) -> None:
        try:
            self._expect_all()
        except ValueError as error:  # a command line, which makes these, shows it as it is
            raise InputError(str(error)) from None

    def _expect_all(self) -> None:
        self._expect_types()
        self._expect_least(1, "beam_size", "n_best", "top_k")
        self._expect_least(0, "length_penalty", "length_offset", "no_repeat_ngram", "samples")
        self._expect_least(1, "max_length_extra", "bucket")
        self._expect_positive("temperature", "top_p", "max_length_factor")
        self._expect_most(1, "top_p")
        # What float32 can compute with.
        self._expect_most(MAX_LENGTH_PENALTY, "length_penalty")
        for name in ("temperature", "top_p", "max_length_factor", "length_offset"):
            value = getattr(self, name)
            if value:  # nor 0, which is no power of ten
                self._expect(1e-6 <= value <= 1e6, name, "between 1e-6 and 1e6")
        self._expect(
            0 <= self.min_length < self.max_length_extra,
            "min_length",
            f"between 0 and less than max_length_extra {self.max_length_extra}, the end being one",
        )
        drawn = self.temperature != 1 or self.top_k is not None or self.top_p is not None
        self._expect(
            self.samples > 0 or not drawn, "samples", "1 or more with temperature or top_*"
        )
        self._expect_most(MAX_SAMPLES, "samples")
        self._expect(self.samples == 0 or self.n_best == 1, "n_best", "1 with samples")
        for name in ("n_best", "max_length_extra", "no_repeat_ngram", "top_k", "seed"):
            value = getattr(self, name)
            self._expect(value is None or 0 <= value < 2**31, name, "0 or more, less than 2^31")


class SearchKeywords(TypedDict, total=False):
    """The fields of `SearchOptions`, as what a call takes by name."""

    beam_size: int | None
    length_penalty: float | None
    length_offset: float
    n_best: int
    min_length: int
    max_length_factor: float
    max_length_extra: int
    no_repeat_ngram: int
    samples: int
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int
    one_row: bool
    bucket: int


@dataclass(frozen=True)
class Config:
    """One experiment."""

    data: DataConfig
    training: TrainingConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = TransformerConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    decoding: DecodingConfig = DecodingConfig()

    # Applies to the nested dataclasses too: no unknown field, no "4" where 4 is meant.
    __pydantic_config__: ClassVar = _STRICT

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Config).items():
            found = getattr(self, name)
            _check(
                not isinstance(hint, type | UnionType) or isinstance(found, hint),
                f"{name} is {found!r}; expected a {getattr(hint, '__name__', hint)}",
            )
        training, optimizer = self.training, self.optimizer
        _check(
            optimizer.warmup_steps <= training.num_steps,
            f"optimizer.warmup_steps {optimizer.warmup_steps} is longer than training.num_steps "
            f"{training.num_steps}",
        )
        length = self.data.max_target_length
        _check(
            training.batch_tokens % length == 0,
            f"training.batch_tokens {training.batch_tokens} is not a multiple of "
            f"data.max_target_length {length}",
        )
        _check(
            training.batch_tokens // length >= training.micro_batches,
            f"training.batch_tokens {training.batch_tokens} is {training.batch_tokens // length} "
            f"rows of {length}: too few for {training.micro_batches} training.micro_batches",
        )
        needed = max(
            self.data.max_source_length,
            self.data.max_target_length,
            self.decoding.max_target_length,
        )
        _check(
            (self.model.max_positions or needed) >= needed,
            f"model.learned_positions {self.model.max_positions} is less than the {needed} "
            "that data.max_*_length and decoding.max_source_length + 50 ask for",
        )


_JSON: pydantic.TypeAdapter[Config] = pydantic.TypeAdapter(Config)


def to_json(config: Config) -> str:
    """The configuration as JSON, every field written out."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, where: str = "config.json") -> Config:
    """Reads what `to_json` wrote, without executing anything.

    Raises:
      InputError: the text is not JSON, or a field is unknown, missing, of the wrong type or
        impossible; the message begins with `where`.
    """
    try:
        return _JSON.validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"] if part not in _FAMILIES)
        found = f", found {first['input']!r:.60}"
        found = "" if first["type"] in ("missing", "value_error") else found
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {field and field + ': '}{message}{found}") from None


def load_config(path: str | Path) -> Config:
    """Runs a configuration file and returns its `config`.

    Raises:
      InputError: the file is missing, fails, or does not end in `config = Config(...)`.
    """
    try:
        if Path(path).suffix != ".py":
            raise ValueError("a configuration is a .py file")
        config = runpy.run_path(str(path)).get("config")
    except InputError:
        raise  # from a configuration that this one builds on
    except (Exception, SystemExit) as error:
        message = " ".join(str(error).split())
        raise InputError(f"{path}: {type(error).__name__}: {message}") from error
    if not isinstance(config, Config):
        raise InputError(f"{path}: ends without `config = Config(...)`")
    return config


def differences(old: Config, new: Config) -> Iterator[tuple[str, Any, Any]]:
    """Yields (field, old value, new value) for every field in which two configurations differ."""
    for group in dataclasses.fields(Config):
        before, after = getattr(old, group.name), getattr(new, group.name)
        if type(before) is not type(after):
            yield group.name, type(before).__name__, type(after).__name__
            continue
        for field in dataclasses.fields(before):
            pair = getattr(before, field.name), getattr(after, field.name)
            if pair[0] != pair[1]:
                yield f"{group.name}.{field.name}", *pair


@dataclass(frozen=True)
class _CommandLine(Config):
    """Train a translator, or go on training it where it stopped."""

    # File with the configuration; the flags below change single fields of it.
    config: str = ""
    # Folder of the run: checkpoints, metrics, pictures.
    workdir: str = ""


def parse_command_line(args: Sequence[str] | None, default: str | Path) -> tuple[Config, Path]:
    """Parses the command line of `train.py`: a configuration file, a run's folder, and any field.

    Args:
      args: the arguments; None reads `sys.argv`.
      default: the configuration file when none is named.

    Returns:
      The configuration and the run's folder, by default `runs/<name of the configuration>`.

    Raises:
      SystemExit: status 2 and a message for a mistake in a flag, status 0 after --help.
      InputError: a mistake in the configuration file.
    """
    # The file is read first, so that --help shows its values as the defaults.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", default=str(default))
    path = first.parse_known_args(args)[0].config
    groups = vars(load_config(path))
    parsed = tyro.cli(
        _CommandLine,
        default=_CommandLine(**groups, config=path, workdir=f"runs/{Path(path).stem}"),
        args=args,
        config=(tyro.conf.AvoidSubcommands,),  # the file chooses the family of the model
    )
    return Config(**{group: getattr(parsed, group) for group in groups}), Path(parsed.workdir)
