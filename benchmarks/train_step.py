"""Training throughput beside PyTorch: the whole step, on the same sentences.

Its peers are `nn.Transformer`, and of the recurrent models `nn.GRU` and `nn.LSTM` with the same
attention written plainly.

    pip install torch==2.13.0
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python benchmarks/train_step.py --data data/multi30k

On Linux the setting, which train.py makes for itself, lets both contenders have large pages.

A step is forward, label-smoothed cross-entropy, backward and Adam, with dropout in the same places.
PyTorch takes batches of sentences of similar length; nmt takes the same sentences packed in rows. A
third layout gives both the same arrays, one pair a row in nmt's length buckets, which is how nmt
trains recurrent models. The contenders take turns: in each round each of them takes its share of
its batches, and ratios compare throughputs of the same round. The first step of a turn is taken
twice and timed once: it finds memory as another contender left it. More batches let sentences be
closer in length: see the fill.
"""

import dataclasses
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from nmt import parallel
from nmt.config import (
    Config,
    DataConfig,
    RecurrentConfig,
    TrainingConfig,
    TransformerConfig,
    load_config,
)
from nmt.data import corpora, pipeline, tokenizer
from nmt.data.batching import Batch, bucket, first_fit_decreasing, pack, select
from nmt.models.attention import sinusoidal_positions
from nmt.models.seq2seq import build
from nmt.training.optimizer import make_optimizer
from nmt.training.step import init_state, make_train_step

try:
    import torch
    import torch.nn.functional as F  # noqa: N812
    import torch_recurrent
except ImportError:
    torch = None

CONFIGS = Path(__file__).parents[1] / "configs"
MODELS = {
    "d256": TransformerConfig(emb_dim=256, num_layers=3, num_heads=4, mlp_dim=1024),
    "base": TransformerConfig(),
    "rnnsearch": load_config(CONFIGS / "multi30k_de_en_rnnsearch.py").model,
    "luong": RecurrentConfig(
        cell="lstm",
        emb_dim=256,
        hidden_dim=512,
        num_layers=2,
        reading="forward",
        decoder="luong",
        attention="general",
        dropout_rate=0.1,
    ),
}
ROW_LENGTH = 64  # of packed rows, on either side


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure training throughput beside PyTorch."""

    # Folder of {train,dev,test}.{language}; without it, the embedded English-Portuguese grammar.
    data: Path | None = None
    # Source and target language of --data.
    languages: tuple[str, str] = ("de", "en")
    # Models to measure.
    models: tuple[Literal["d256", "base", "rnnsearch", "luong"], ...] = tuple(MODELS)
    # Turns that a contender takes, after one over all batches that does not count.
    rounds: int = 5
    # Packed batches in a turn.
    num_batches: int = 4
    # Target positions in a packed batch, a multiple of 64.
    batch_tokens: int = 2048
    # Measure nmt in bfloat16 too.
    bfloat16: bool = False
    # File to write the results to, each round of them.
    json: Path | None = None


class Result(NamedTuple):
    """What was measured of a contender."""

    model: str
    framework: str
    layout: str
    precision: str
    fill: float  # share of target positions that hold a token
    flops_per_token: float  # target tokens; padding does not count as a token, only as work
    tokens_per_second: list[float]  # in each round


def main(options: Options) -> None:
    """Measures, prints, writes."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch shares the GPU
    config = Config(
        data=DataConfig(
            *(options.languages if options.data else ("en", "pt")),
            path=options.data and str(options.data),
            max_source_length=ROW_LENGTH,
            max_target_length=ROW_LENGTH,
        ),
        training=TrainingConfig(num_steps=100_000, batch_tokens=options.batch_tokens),
    )
    corpus = corpora.load_corpus(config.data).train
    vocabulary = tokenizer.train(config.tokenizer, *corpus)
    layouts = lay_out(corpus, vocabulary, config, options.rounds * options.num_batches)
    results: list[Result] = []
    rates: dict[str, float] = {}  # floating-point operations a second, by precision
    for name in options.models:
        results += measure(name, config, vocabulary, layouts, options, rates)
    report = {"machine": machine(), "rates": rates, "results": [r._asdict() for r in results]}
    if torch is None:
        print("PyTorch is not installed: nmt alone was measured")
    print("\n".join([report["machine"], *table(results, rates)]))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


# Batches.


def lay_out(
    corpus: corpora.Corpus, vocabulary: tokenizer.Tokenizer, config: Config, num_batches: int
) -> dict[str, list[Batch]]:
    """Lays the sentences of some packed rows out in the other ways too.

    There are as many batches of sentences of similar length as packed ones.
    """
    rng = np.random.default_rng(0)
    batch_tokens = config.training.batch_tokens
    ids = {"pad_id": vocabulary.pad_id, "bos_id": vocabulary.bos_id}
    sources, targets = pipeline.encode(corpus, vocabulary)
    left_out = np.any(list(pipeline.unusable(sources, targets, config.data).values()), axis=0)
    sample = rng.permutation(np.flatnonzero(~left_out))
    sample = sample[np.cumsum(targets.lengths[sample]) <= num_batches * batch_tokens]
    sources, targets = select(sources, sample), select(targets, sample)
    rows = pack(sources, targets, ROW_LENGTH, ROW_LENGTH, **ids)
    row = first_fit_decreasing(sources.lengths, targets.lengths, ROW_LENGTH, ROW_LENGTH)
    chosen = rng.permutation(len(rows.source))[: num_batches * batch_tokens // ROW_LENGTH]
    if len(chosen) * ROW_LENGTH < num_batches * batch_tokens:
        raise SystemExit(f"the corpus fills {len(chosen)} rows: too few for the options given")
    kept = np.flatnonzero(np.isin(row, chosen))
    sources, targets = select(sources, kept), select(targets, kept)

    def pad(group: np.ndarray) -> Batch:
        widths = sources.lengths[group].max(), targets.lengths[group].max()
        pairs = ((select(sources, pair), select(targets, pair)) for pair in group[:, None])
        padded = (pack(*pair, *widths, **ids) for pair in pairs)
        return Batch(*map(np.concatenate, zip(*padded, strict=True)))

    order = np.lexsort((sources.lengths, np.maximum(sources.lengths, targets.lengths)))
    number = np.cumsum(targets.lengths[order]) * num_batches // (targets.lengths.sum() + 1)
    return {
        "packed": [Batch(*(x[part] for x in rows)) for part in np.split(chosen, num_batches)],
        "bucketed": [pad(order[number == index]) for index in range(num_batches)],
        "padded": [
            Batch(*(x[batch.target_segments.any(axis=1)] for x in batch))  # without empty rows
            for batch in bucket(
                sources, targets, ROW_LENGTH, ROW_LENGTH, batch_tokens, **ids, fine=True
            )
        ],
    }


# Contenders: each makes a function that takes a step for each batch of a part.


def nmt_steps(
    config: Config, vocabulary: tokenizer.Tokenizer, batches: list[Batch]
) -> Callable[[slice], None]:
    """Steps compiled as training compiles them."""
    model = build(config.model, vocabulary.vocab_sizes, vocabulary.shared)
    optimizer = make_optimizer(config)
    step = parallel.pmap_train_step(make_train_step(model, optimizer, config.training))
    state = parallel.replicate(init_state(model, optimizer, jax.random.key(0)))

    def take(part: slice) -> None:
        nonlocal state
        for batch in batches[part]:
            state, _ = step(state, parallel.split_global(batch))
        jax.block_until_ready(state)

    return take


def torch_steps(
    config: Config, vocabulary: tokenizer.Tokenizer, batches: list[Batch]
) -> Callable[[slice], None]:
    """Steps with fused Adam, and autocast where the precision is bfloat16."""
    if isinstance(config.model, RecurrentConfig):
        return torch_recurrent_steps(config, vocabulary, batches)
    device, model = torch_device(), config.model
    transformer, embedding = torch_model(model, vocabulary.vocab_sizes[1], device)
    parameters = [*transformer.parameters(), *embedding.parameters()]
    sinusoids = np.array(sinusoidal_positions(jnp.arange(ROW_LENGTH), model.emb_dim))
    sinusoids = torch.from_numpy(sinusoids).to(device)

    def embed(ids: Any) -> Any:
        x = embedding(ids) * model.emb_dim**0.5 + sinusoids[: ids.shape[1]]
        return F.dropout(x, model.dropout_rate)

    def loss(batch: Batch) -> Any:
        width = batch.labels.shape[1]
        states = transformer(
            embed(batch.source),
            embed(batch.decoder_input),
            tgt_mask=torch.ones(width, width, dtype=torch.bool, device=device).triu(1),
            src_key_padding_mask=batch.source_segments == 0,
            tgt_key_padding_mask=batch.target_segments == 0,
            memory_key_padding_mask=batch.source_segments == 0,
        )
        return F.cross_entropy(
            F.linear(states, embedding.weight).flatten(0, 1),
            batch.labels.flatten(),
            ignore_index=vocabulary.pad_id,
            label_smoothing=config.training.label_smoothing,
        )

    return torch_takes(loss, parameters, config, batches)


def torch_recurrent_steps(
    config: Config, vocabulary: tokenizer.Tokenizer, batches: list[Batch]
) -> Callable[[slice], None]:
    """The same of a recurrent model."""
    model = torch_recurrent.Recurrent(config.model, vocabulary.vocab_sizes[1]).to(torch_device())

    def loss(batch: Batch) -> Any:
        return model.loss(batch, config.training.label_smoothing, vocabulary.pad_id)

    return torch_takes(loss, list(model.parameters()), config, batches)


def torch_takes(
    loss: Callable[[Batch], Any], parameters: list[Any], config: Config, batches: list[Batch]
) -> Callable[[slice], None]:
    """Makes the function that takes a step for each batch of a part."""
    device, bfloat16 = torch_device(), config.model.compute_dtype == "bfloat16"
    optimizer = torch.optim.Adam(parameters, 1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)
    tensors = [Batch(*(torch.from_numpy(x).to(device).long() for x in batch)) for batch in batches]

    def take(part: slice) -> None:
        for batch in tensors[part]:
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
                mean = loss(batch)
            mean.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return take


def torch_device() -> str:
    """Returns the device to use, with PyTorch set to make the most of it."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cuda.matmul.allow_tf32 = True  # as JAX does
    torch.backends.cuda.enable_flash_sdp(torch.cuda.is_available())  # slower than none on a CPU
    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_model(config: TransformerConfig, vocab_size: int, device: str) -> tuple[Any, Any]:
    """Makes a Transformer that drops where nmt's does, and the table that embeds and projects."""
    sizes = config.emb_dim, config.num_heads, config.num_layers, config.num_layers, config.mlp_dim
    transformer = torch.nn.Transformer(*sizes, config.dropout_rate, batch_first=True)
    for module in transformer.modules():
        # PyTorch also drops attention weights, and values inside the feed-forward network.
        if isinstance(module, torch.nn.MultiheadAttention):
            module.dropout = 0.0
        elif hasattr(module, "linear1"):
            module.dropout = torch.nn.Identity()
    embedding = torch.nn.Embedding(vocab_size, config.emb_dim)
    torch.nn.init.normal_(embedding.weight, std=config.emb_dim**-0.5)
    return transformer.to(device), embedding.to(device)


# Measuring.


def measure(
    name: str,
    config: Config,
    vocabulary: tokenizer.Tokenizer,
    layouts: dict[str, list[Batch]],
    options: Options,
    rates: dict[str, float],
) -> list[Result]:
    """Lets the contenders take turns; keeps the best rates of matrix multiplication in `rates`."""
    recurrent = isinstance(MODELS[name], RecurrentConfig)
    own = ["padded"] if recurrent else ["packed", "padded"]
    ways = [("nmt", layout, "float32") for layout in own]
    if options.bfloat16:
        ways.append(("nmt", own[0], "bfloat16"))
    if torch is not None:
        ways += [("PyTorch", layout, "float32") for layout in ("bucketed", own[-1])]
        ways.append(("PyTorch", "bucketed", "bfloat16"))
    contenders, results = [], []
    for framework, layout, precision in ways:
        model, batches = dataclasses.replace(MODELS[name], compute_dtype=precision), layouts[layout]
        make = nmt_steps if framework == "nmt" else torch_steps
        take = make(dataclasses.replace(config, model=model), vocabulary, batches)
        take(slice(None))  # compiles all shapes
        contenders.append((take, batches))
        fill = num_tokens(batches) / sum(batch.labels.size for batch in batches)
        count = recurrent_flops if recurrent else train_flops
        flops = sum(count(model, vocabulary.vocab_sizes[1], batch) for batch in batches)
        flops_per_token = flops / num_tokens(batches)
        results.append(Result(name, framework, layout, precision, fill, flops_per_token, []))
    for start in range(options.rounds):
        part = slice(start, None, options.rounds)
        for precision, rate in matmul_rates():
            rates[precision] = max(rates.get(precision, 0.0), rate)
        for (take, batches), result in zip(contenders, results, strict=True):
            take(slice(start, start + 1))
            begin = time.perf_counter()
            take(part)
            seconds = time.perf_counter() - begin
            result.tokens_per_second.append(num_tokens(batches[part]) / seconds)
    return results


def num_tokens(batches: list[Batch]) -> int:
    """Counts target tokens, without padding."""
    return sum(int((batch.target_segments != 0).sum()) for batch in batches)


def train_flops(config: TransformerConfig, vocab_size: int, batch: Batch) -> int:
    """Counts a step's matrix products: 3 times those of the forward pass, 2 FLOPs a product.

    Padding counts, being computed; so do masked attention scores. For each source position
    L (4D² + 2DF + 2SD) in the encoder and L 2D² for the decoder's keys and values of it; for each
    target position L (6D² + 2DF + 2TD + 2SD) in the decoder and DV for its logits.
    """
    d, layers = config.emb_dim, config.num_layers
    (rows, s), t = batch.source.shape, batch.labels.shape[1]
    source = layers * (6 * d * d + 2 * d * config.mlp_dim + 2 * s * d)
    target = layers * (6 * d * d + 2 * d * config.mlp_dim + 2 * (s + t) * d) + d * vocab_size
    return 6 * rows * (s * source + t * target)


def recurrent_flops(config: RecurrentConfig, vocab_size: int, batch: Batch) -> int:
    """Counts a step's products as `train_flops` does; tanh and the like do not count."""
    (rows, s), t = batch.source.shape, batch.labels.shape[1]
    gates = 3 if config.cell == "gru" else 4
    width, annotation = config.hidden_dim, config.annotation_dim
    size, inside, readout = config.encoder_width, config.attention_width, config.readout_width
    luong = config.decoder == "luong"
    query = width * inside if config.attention == "additive" else 0
    source, target = annotation * inside, query + s * (inside + annotation) + readout * vocab_size
    below = [config.emb_dim, *[annotation] * (config.num_layers - 1)]
    source += sum(len(config.directions) * gates * size * (b + size) for b in below)
    below = [config.emb_dim, *[width] * (config.num_layers - 1)]
    target += sum(gates * width * (b + width) for b in below)
    target += gates * width * (readout if luong else annotation)
    target += (annotation + width) * readout if luong else 0
    target += 0 if luong else 2 * readout * (width + config.emb_dim + annotation)
    return 6 * rows * (s * source + t * target)


def matmul_rates() -> Iterator[tuple[str, float]]:
    """Yields, by precision, the FLOPs a second of large square matrices in either framework."""
    size = 2048 if jax.default_backend() == "cpu" else 8192

    def rate(multiply: Callable[[], Any], repeats: int = 4) -> float:
        multiply()
        start = time.perf_counter()
        for _ in range(repeats):
            multiply()
        return 2 * size**3 * repeats / (time.perf_counter() - start)

    for precision in ("float32", "bfloat16"):
        x = jax.random.normal(jax.random.key(0), (size, size), precision)
        yield precision, rate(lambda x=x: jax.block_until_ready(x @ x))
        if torch is not None:
            y = torch.randn(size, size, dtype=getattr(torch, precision), device=torch_device())
            yield precision, rate(lambda y=y: (y @ y)[0, 0].item())


def machine() -> str:
    """Names the hardware and the versions."""
    cpu = re.search("model name\\s*: (.*)", Path("/proc/cpuinfo").read_text())
    names = [f"{cpu[1] if cpu else platform.machine()}, {len(os.sched_getaffinity(0))} cores"]
    names += [d.device_kind for d in jax.devices()[:1] if d.platform != "cpu"]
    versions = [f"{name} {version(name)}" for name in ("jax", "torch")[: 1 + (torch is not None)]]
    return "; ".join([*names, *versions, f"Python {platform.python_version()}"])


def table(results: list[Result], rates: dict[str, float]) -> Iterator[str]:
    """Yields the lines of the report: medians, and the range of the rounds' ratios."""
    for precision, rate in rates.items():
        yield f"matrix products, {precision}: {rate / 1e9:,.0f} GFLOP/s"
    yield (
        f"\n{'':9} {'':8} {'':9} {'':9} {'fill':>4} {'tokens/s':>9} {'x PyTorch float32':>18} "
        f"{'x PyTorch best':>18} {'GFLOP/s':>8} {'of rate':>7}"
    )
    for r in results:
        peers = [x for x in results if (x.framework, x.model) == ("PyTorch", r.model)]
        peers.sort(key=lambda x: (x.layout != r.layout, x.precision != "float32"))
        best = max(peers, key=lambda peer: median(peer.tokens_per_second), default=None)
        flops = median(r.tokens_per_second) * r.flops_per_token
        yield (
            f"{r.model:9} {r.framework:8} {r.layout:9} {r.precision:9} {r.fill:4.2f} "
            f"{median(r.tokens_per_second):9,.0f} {ratio(r, peers[0] if peers else None):>18} "
            f"{ratio(r, best):>18} {flops / 1e9:8,.0f} {flops / rates[r.precision]:7.0%}"
        )


def ratio(result: Result, peer: Result | None) -> str:
    """Compares with a peer, round by round: the median, the least and the most."""
    if peer is None:
        return ""
    pairs = zip(result.tokens_per_second, peer.tokens_per_second, strict=True)
    ratios = [ours / theirs for ours, theirs in pairs]
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


if __name__ == "__main__":
    main(tyro.cli(Options))
