"""Decoding speed beside CTranslate2: the same weights, the same sentences, the same search.

    pip install ctranslate2==4.8.5
    python benchmarks/translate.py --workdir runs/m30k --lines data/multi30k/test.de
    python benchmarks/translate.py --sentences 128 1024 1 --precisions float32 bfloat16  # on a GPU

The base Transformer and RNNsearch-50, with a vocabulary of 32,000 and random weights, of which
every hypothesis runs to 32 pieces; and the trained model of a run's folder, if given. CTranslate2
knows no recurrent models: of these nmt alone is measured. Each contender is a process of its own
for each model, so that memory is its own, no thread pool is in another's way and no model is slowed
by what another left behind (Multi30k's, in CTranslate2, took up to twice its time behind the base
model). They take turns: ratios compare times of the same round. The limit is an estimate from what
the machine did in that round: the time of the products of matrices alone, were all as fast as
NumPy's of large ones (on a GPU, as JAX's in float32), or of reading the weights for each step,
whichever is longer.
"""

import dataclasses
import json
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from train_step import machine

import nmt
from nmt import parallel
from nmt.checkpoint import read_tokenizer
from nmt.config import RecurrentConfig, TransformerConfig
from nmt.decoding import decoder
from nmt.decoding.compiled import Call, Compiled
from nmt.decoding.loading import Precision
from nmt.models.quantization import cast_params, quantize_params
from nmt.models.seq2seq import build, init_params

MODELS = {"base": TransformerConfig(), "rnnsearch": RecurrentConfig(readout_dim=500)}
VOCAB_SIZE, LENGTH = 32_000, 32

TURN = 1.0
"""Least seconds of a contender's turn: what takes less is repeated, and its median time counts, as
others' turns leave nothing of it in the caches."""

LONGEST = 64
"""Pieces that a translation of the trained model may have."""

NUM_CORES = len(os.sched_getaffinity(0))

CACHE = 32 << 20
"""Bytes of weights that stay near the cores from step to step."""

NUM_ROWS = {1: 128, 4: 64}
"""Sentences that a program of nmt decodes at once on CPU, by beam size, at most. CTranslate2 takes
up to 64, which is as fast for it as 128, and computes each batch with all threads: in float32 a
batch for each thread was at most 1.06 times as fast. On a GPU both take all sentences at once."""

PAD, BOS, EOS = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure decoding beside CTranslate2."""

    # Models of random weights to measure.
    models: tuple[Literal["base", "rnnsearch"], ...] = tuple(MODELS)
    # Folder of a run, to be measured on --lines too.
    workdir: Path | None = None
    # Source sentences for --workdir.
    lines: Path | None = None
    # Sentences of --lines that are taken, from the first.
    num_lines: int = 1000
    # Sentences of the models of random weights that are translated together.
    sentences: tuple[int, ...] = (32, 128, 1)
    # Who is measured; CTranslate2 need not be installed for the other.
    contenders: tuple[Literal["nmt", "CTranslate2"], ...] = ("nmt", "CTranslate2")
    # Turns that a contender takes, after one that does not count.
    rounds: int = 5
    # Types of activations and weights that are computed in.
    precisions: tuple[Precision, ...] = ("float32", "int8")
    # File to write the results to, each round of them.
    json: Path | None = None


class Case(NamedTuple):
    """What is to be decoded."""

    model: str  # of `MODELS`, or "own"
    num_sentences: int
    beam_size: int


class Sizes(NamedTuple):
    """What a Transformer computes with."""

    config: TransformerConfig
    vocab_size: int
    num_pieces: list[int]  # of each source


class Hardware(NamedTuple):
    """What the machine reaches at the moment."""

    flops: float  # a second, in a product of large float32 matrices
    bandwidth: float  # bytes a second that all cores read from memory


class Answer(NamedTuple):
    """What a contender did."""

    seconds: float
    num_tokens: int
    outputs: list[Any]  # pieces or text of the best hypothesis
    megabytes: float  # of memory, at most so far


def main(options: Options) -> None:
    """Measures, prints, writes."""
    with tempfile.TemporaryDirectory() as folder:
        known = write_models(options, Path(folder))
        names = [f"{who} {p}" for p in options.precisions for who in options.contenders]
        beams = 4, 1
        cases = [Case(m, n, k) for m in options.models for n in options.sentences for k in beams]
        if options.workdir:
            cases += [Case("own", n, k) for n in (options.num_lines, 1) for k in beams]
        answers: dict[Case, dict[str, list[Answer]]] = {}
        limits: dict[Case, list[Hardware]] = {}
        for model, of_model in groupby(dict.fromkeys(cases), lambda case: case.model):
            able = [name for name in names if name.startswith("nmt") or model in known]
            contenders = {name: start(name, options, folder) for name in able}
            for case in of_model:
                for contender in contenders.values():
                    ask(contender, case)
                answers[case], limits[case] = {name: [] for name in able}, []
                for _ in range(options.rounds):
                    limits[case].append(measure_hardware())
                    for name in able:
                        answers[case][name].append(ask(contenders[name], case))
                for line in table(case, answers[case], known.get(model), limits[case]):
                    print(line, flush=True)
            for contender in contenders.values():
                contender.send(None)
    found = [hardware for of_case in limits.values() for hardware in of_case]
    flops, bandwidth = (sorted(x) for x in zip(*found, strict=True))
    print(
        f"products of matrices: {median(flops) / 1e9:,.0f} ({flops[0] / 1e9:,.0f}-"
        f"{flops[-1] / 1e9:,.0f}) GFLOP/s; memory: {median(bandwidth) / 1e9:,.0f} "
        f"({bandwidth[0] / 1e9:,.0f}-{bandwidth[-1] / 1e9:,.0f}) GB/s"
    )
    print(machine())
    if options.json:
        report = [
            {**case._asdict(), "contender": name, "seconds": [a.seconds for a in found],
             "num_tokens": found[0].num_tokens, "megabytes": found[-1].megabytes,
             "hardware": [hardware._asdict() for hardware in limits[case]]}
            for case, by_name in answers.items() for name, found in by_name.items()
        ]  # fmt: skip
        options.json.write_text(json.dumps({"machine": machine(), "results": report}, indent=1))


def write_models(options: Options, folder: Path) -> dict[str, Sizes]:
    """Writes what CTranslate2 reads; returns the sizes of the models that it knows of."""
    tokens = [str(n) for n in range(VOCAB_SIZE)]
    tokens[PAD], tokens[BOS], tokens[EOS], tokens[3] = "<pad>", "<s>", "</s>", "<unk>"

    def write(config: TransformerConfig, params: Any, tokens: list[str], name: str) -> None:
        if "CTranslate2" in options.contenders:
            from ct2_convert import convert  # need not be installed where it is not measured

            convert(config, jax.device_get(params), tokens, folder / name)

    write(MODELS["base"], random_model("base")[1], tokens, "base")
    known = {"base": Sizes(TransformerConfig(), VOCAB_SIZE, [LENGTH] * max(options.sentences))}
    if options.workdir:
        translator = nmt.load(options.workdir)
        if not isinstance(translator.config.model, TransformerConfig):
            return known
        size = translator.tokenizer.vocab_sizes[0]
        tokens = translator.tokenizer.source.id_to_piece(list(range(size)))
        write(translator.config.model, translator.params, tokens, "own")
        encoded = translator.tokenizer.encode_source(read_lines(options))
        known["own"] = Sizes(translator.config.model, size, [len(ids) for ids in encoded])
    return known


def read_lines(options: Options) -> list[str]:
    """Reads the sentences for a run's own model."""
    return options.lines.read_text().splitlines()[: options.num_lines] if options.lines else []


def random_model(name: str, compute_dtype: str = "float32") -> tuple[Any, Any]:
    """Makes a model of random weights."""
    config = dataclasses.replace(MODELS[name], compute_dtype=compute_dtype)
    model = build(config, (VOCAB_SIZE, VOCAB_SIZE), shared=True)
    return model, jax.jit(partial(init_params, model))(jax.random.key(0))


def start(name: str, options: Options, folder: str) -> Connection:
    """Starts a contender."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs, name, options, Path(folder)), daemon=True).start()
    return ours


def ask(connection: Connection, case: Case) -> Answer:
    """Lets a contender decode."""
    connection.send(case)
    return connection.recv()


def serve(connection: Connection, name: str, options: Options, folder: Path) -> None:
    """Answers until nothing is asked."""
    lines = read_lines(options)
    sources = np.random.default_rng(0).integers(4, VOCAB_SIZE, (max(options.sentences), LENGTH))
    who, precision = name.split()
    make = nmt_decoder if who == "nmt" else partial(ct2_decoder, folder)
    decode = make(precision, options, lines, sources)
    while case := connection.recv():
        seconds: list[float] = []
        while sum(seconds) < TURN:
            begin = time.perf_counter()
            outputs = decode(case)
            seconds.append(time.perf_counter() - begin)
        tokens = sum(map(len, outputs))
        connection.send(Answer(median(seconds), tokens, outputs, peak_megabytes()))


def measure_hardware(times: int = 3) -> Hardware:
    """Multiplies large matrices and reads a large array, the best of some times."""
    array = np.ones(1 << 27, np.float32)
    if jax.default_backend() == "cpu":
        cores = len(os.sched_getaffinity(0))
        square, parts = np.ones((2048, 2048), np.float32), np.array_split(array, cores)
        multiply, largest = np.matmul, np.max
    else:
        cores, square, parts = 1, jnp.ones((8192, 8192)), [jnp.asarray(array)]
        multiply = jax.jit(partial(jnp.matmul, precision="highest"))
        largest = jax.jit(jnp.max)

    def best(function: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(times):
            begin = time.perf_counter()
            jax.block_until_ready(function())
            seconds.append(time.perf_counter() - begin)
        return min(seconds)

    with ThreadPoolExecutor(cores) as pool:
        read = best(lambda: list(pool.map(largest, parts)))
    product = best(lambda: multiply(square, square))
    return Hardware(2 * len(square) ** 3 / product, array.nbytes / read)


def least_seconds(case: Case, sizes: Sizes, num_tokens: int, hardware: Hardware) -> float:
    """Estimates how long the products of matrices take at least, or the reading of their weights.

    As if all hypotheses of a sentence were as long as the best, of which the first step needs one.
    Attention's own products and all that is no product are left out.
    """
    emb, mlp = sizes.config.emb_dim, sizes.config.mlp_dim
    # For each source piece the encoder's and cross-attention's keys and values; for each piece of a
    # hypothesis the decoder's others, as many; and its logits.
    layers, logits = sizes.config.num_layers * (6 * emb**2 + 2 * emb * mlp), emb * sizes.vocab_size
    num_source = sum(sizes.num_pieces[: case.num_sentences])
    num_steps = num_tokens + case.num_sentences * (case.model == "own")  # its end is not counted
    rows = case.num_sentences + case.beam_size * (num_steps - case.num_sentences)
    flops = 2 * (num_source * layers + rows * (layers + logits))
    weights = 4 * (layers + logits)
    read = weights * num_steps / case.num_sentences * (weights > CACHE)
    return max(flops / hardware.flops, read / hardware.bandwidth)


def peak_megabytes() -> float:
    """Returns the most memory that this process has had; `getrusage` counts its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def nmt_decoder(
    precision: Precision, options: Options, lines: list[str], sources: np.ndarray
) -> Callable[[Case], list[Any]]:
    """Makes the function that decodes with nmt."""
    device = jax.default_backend()
    values = (decoder.Values(0.6, max_length_factor=0.0, max_length_extra=LENGTH),)

    @cache
    def own() -> nmt.Translator:
        return nmt.load(options.workdir, precision=precision)

    @cache
    def made(name: str) -> tuple[Compiled, Any]:
        model, params = random_model(name, "bfloat16" if precision == "bfloat16" else "float32")
        if precision == "int8":
            params = quantize_params(params)
        elif precision == "bfloat16":
            params = cast_params(params, precision)
        return Compiled(model, decoder.Ids(PAD, BOS, EOS)), parallel.replicate_locally(params)

    def decode(case: Case) -> list[Any]:
        if case.model == "own":
            found = own().translate(
                lines[: case.num_sentences],
                beam_size=case.beam_size,
                one_row=case.num_sentences == 1,
                max_length_factor=1e-3,  # none; 0 is refused
                max_length_extra=LONGEST,
            )
            return [list(translation.tokens) for translation in found]
        # As `Translator` does: each program that runs beside others takes a part of the sentences.
        source = sources[: case.num_sentences].astype(np.int32)
        parts = np.array_split(source, min(len(source), parallel.num_programs()))
        num_rows = NUM_ROWS[case.beam_size] if device == "cpu" else len(source)
        static = {"num_hypotheses": case.beam_size, "num_rows": num_rows}
        compiled, params = made(case.model)
        calls = [Call(decoder.search, (p, decoder.Phrases()), values, static) for p in parts]
        tokens = np.concatenate([found.tokens[:, 0] for found in compiled.run(params, calls)])
        return [[str(t) for t in row if t != PAD] for row in tokens.tolist()]

    return decode


def ct2_decoder(
    folder: Path, precision: Precision, options: Options, lines: list[str], sources: np.ndarray
) -> Callable[[Case], list[Any]]:
    """Makes the function that decodes with CTranslate2."""
    import ctranslate2

    on_cpu = jax.default_backend() == "cpu"
    device = "cpu" if on_cpu else "cuda"

    @cache
    def made(name: str) -> Any:
        return ctranslate2.Translator(
            str(folder / name),
            device,
            compute_type=precision,
            inter_threads=1,
            intra_threads=NUM_CORES,
        )

    encode = options.workdir and read_tokenizer(options.workdir).source.encode

    def decode(case: Case) -> list[Any]:
        if case.model == "own":
            batch = encode(lines[: case.num_sentences], out_type=str)
            limits = {"max_decoding_length": LONGEST}
        else:
            batch = [[str(n) for n in row] for row in sources[: case.num_sentences].tolist()]
            limits = {"max_decoding_length": LENGTH, "min_decoding_length": LENGTH}
        found = made(case.model).translate_batch(
            batch,
            beam_size=case.beam_size,
            length_penalty=0.6,
            max_batch_size=64 if on_cpu else len(batch),
            **limits,
        )
        return [result.hypotheses[0] for result in found]

    return decode


def table(
    case: Case,
    answers: dict[str, list[Answer]],
    sizes: Sizes | None,
    limits: Sequence[Hardware],
) -> Iterator[str]:
    """Yields a line a contender; ratios are to CTranslate2's in the same precision."""
    yield f"{case.model}, {case.num_sentences} sentences, beam {case.beam_size}"
    first = next(iter(answers))
    ours = answers[first][0]
    for name, found in answers.items():
        who, precision = name.split()
        peer = answers.get(f"CTranslate2 {precision}", found)
        ratios = [speed(x) / speed(y) for x, y in zip(found, peer, strict=True)]
        # Of hypotheses that run to the limit, nmt's last piece is the end and theirs is not.
        last = LENGTH - 1 if case.model in MODELS else None
        pairs = zip(ours.outputs, found[0].outputs, strict=True)
        same = sum(x[:last] == y[:last] for x, y in pairs)
        ratio = f"{median(ratios):5.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        ratio = ratio if who == "nmt" and peer is not found else ""
        share = ""
        if sizes and precision == "float32":
            least = (least_seconds(case, sizes, found[0].num_tokens, x) for x in limits)
            shares = (x / a.seconds for x, a in zip(least, found, strict=True))
            share = f"{median(shares):.0%} of the limit"
        yield (
            f"  {name:20} {found[0].num_tokens:6,} tokens "
            f"{median(map(speed, found)):8,.0f} tokens/s "
            f"{median(a.seconds for a in found) * 1e3:8,.0f} ms "
            f"{ratio:18} {share:16} {found[-1].megabytes:6,.0f} MB "
            f"{same:5} outputs as {first}"
        )


def speed(answer: Answer) -> float:
    """Output tokens a second."""
    return answer.num_tokens / answer.seconds


if __name__ == "__main__":
    main(tyro.cli(Options))
