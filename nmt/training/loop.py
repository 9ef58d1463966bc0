"""The training run: data, steps, evaluation, checkpoints, log, summary."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import optax

from nmt import checkpoint, parallel
from nmt.analysis import figures
from nmt.analysis.attention import attention
from nmt.config import Config, InputError, differences, to_json
from nmt.data import corpora, pipeline, tokenizer
from nmt.data.batching import Batch, fill_rows
from nmt.data.tokenizer import Tokenizer
from nmt.decoding import alignment
from nmt.decoding.alignment import ALIGNER, Aligner
from nmt.decoding.translator import Translator
from nmt.evaluation.metrics import corpus_scores
from nmt.models.seq2seq import Model, Params, build
from nmt.progress import progress_bar, say, watched
from nmt.training.history import History, read_history
from nmt.training.loss import Sums
from nmt.training.optimizer import make_optimizer, make_schedule
from nmt.training.step import TrainState, init_state, make_eval_step, make_train_step

SUMMARY, DATA, TRANSLATIONS = "summary.json", "data.json", "translations.txt"

NUM_SAMPLES = 3
"""Dev translations shown beside their references at each evaluation."""


class Progress(NamedTuple):
    """What a checkpoint holds beside arrays: where the data goes on, and what was counted."""

    position: dict[str, int]
    loss: float = 0.0  # summed since the last record
    tokens: int = 0  # since the last record
    step_seconds: float = 0.0  # spent in training steps since the last record
    all_tokens: int = 0
    all_step_seconds: float = 0.0
    seconds: float = 0.0  # by the clock, from reading the data on, over all starts


class Run(NamedTuple):
    """What stays the same while a run trains."""

    begin: float  # when the process began with it, by `time.perf_counter`
    config: Config
    workdir: Path
    splits: corpora.Splits
    tokenizer: Tokenizer
    model: Model
    translator: Translator  # without parameters; what it compiles is compiled once


def train(config: Config, workdir: Path) -> dict[str, Any]:
    """Trains as configured, or goes on where the run in `workdir` stopped; returns the summary.

    Raises:
      InputError: the data, or a run already in the folder, does not fit the configuration.
    """
    begin = time.perf_counter()
    compare_configuration(config, workdir)
    if (workdir / SUMMARY).exists():
        finished = read_json(workdir / SUMMARY, steps=int)
        if finished["steps"] >= config.training.num_steps:
            say(f"{workdir}: this run has finished")
            return finished
    splits = corpora.load_corpus(config.data)
    checkpoint.write_atomic(workdir / checkpoint.CONFIG, to_json(config))
    vocabulary = prepare_tokenizer(config, workdir, splits)
    model = build(config.model, vocabulary.vocab_sizes, vocabulary.shared)
    translator = Translator(model, None, vocabulary, config)
    run = Run(begin, config, workdir, splits, vocabulary, model, translator)
    checkpoints = checkpoint.Checkpoints(workdir)
    try:
        progress = take_steps(run, checkpoints)
        return finish(run, checkpoints, progress)
    finally:
        checkpoints.close()


def compare_configuration(config: Config, workdir: Path) -> None:
    """Compares a configuration with that of the run in the folder, if one has begun.

    Some fields may differ: how often the loss is logged; more steps, where the schedule does not
    look at their number; where the data lies, since its digests tell whether it is the same.

    Raises:
      InputError: any other field differs; all that differ are printed.
    """
    if not (workdir / DATA).exists():  # nothing has been made of the configuration yet
        return
    harmless = {"training.log_every_steps", "data.path", "data.tfds_data_dir"}
    harmless |= {f"data.{split}_files" for split in corpora.Splits._fields}
    refused = False
    for field, old, new in differences(checkpoint.read_config(workdir), config):
        say(f"{field}: this run has {old!r}, now given {new!r}")
        more = field == "training.num_steps" and new > old
        refused |= field not in harmless and not (more and config.optimizer.schedule != "linear")
    if refused:
        raise InputError(
            f"{workdir / checkpoint.CONFIG}: the run in this folder has another configuration; "
            "give another --workdir, or the same configuration"
        )


def prepare_tokenizer(config: Config, workdir: Path, splits: corpora.Splits) -> Tokenizer:
    """Trains a new run's tokenizer and counts what its data holds; reads an old run's.

    Raises:
      InputError: no pair can be used, or the data is not that with which the run began.
    """
    path, train = workdir / DATA, splits.train
    found = {name: digest(split) for name, split in splits._asdict().items()}
    if not path.exists():  # it is written last: where it stands, the tokenizer does too
        say(f"training a tokenizer on {len(train.source):,} pairs")
        vocabulary = tokenizer.train(config.tokenizer, *train)
        checkpoint.write_atomic(workdir / checkpoint.TOKENIZER, vocabulary.to_bytes())
        counts = pipeline.count_pairs(train, vocabulary, config.data)
        text = json.dumps({**counts, "sha256": found}, indent=2)
        checkpoint.write_atomic(path, text + "\n")
    vocabulary = checkpoint.read_tokenizer(workdir)
    data = read_json(path, sha256=dict, pairs=int, empty=int, too_long=int)
    changed = [name for name in found if found[name] != data["sha256"].get(name)]
    if changed:
        raise InputError(
            f"{path}: the text of {', '.join(changed)} is not that with which this run began; "
            "give another --workdir, or the same text"
        )
    say(
        f"{data['pairs']:,} training pairs; left out: {data['empty']:,} empty on one side, "
        f"{data['too_long']:,} too long"
    )
    return vocabulary


def digest(corpus: corpora.Corpus) -> str:
    """Returns the SHA-256 of all sentences, side by side."""
    sha256 = hashlib.sha256()
    for source, target in zip(*corpus, strict=True):
        sha256.update(f"{source}\n{target}\n".encode())
    return sha256.hexdigest()


def read_json(path: Path, **fields: type) -> dict[str, Any]:
    """Reads a JSON object that an earlier start wrote, which has at least these fields."""
    try:
        found = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not a JSON object: {error}") from None
    for name, kind in fields.items():
        if not isinstance(found.get(name), kind):
            raise InputError(f"{path}: {name} is {found.get(name)!r}; expected {kind.__name__}")
    return found


class Step(NamedTuple):
    """What became of one training step."""

    number: int
    state: TrainState  # until the next step takes its memory
    sums: Sums
    grad_norm: float
    seconds: float
    position: dict[str, int]  # of the data, behind the step's batch


def take_steps(run: Run, checkpoints: checkpoint.Checkpoints) -> Progress:
    """Takes the steps that are left, logging, evaluating and saving on the way."""
    training = run.config.training
    optimizer, schedule = make_optimizer(run.config), make_schedule(run.config)
    start, progress = restore(run, optimizer, checkpoints)
    first = int(start.step)
    if first == training.num_steps:
        History(run.workdir, first).close()  # rewrites events that a killed process still buffered
        return progress
    state = parallel.replicate(start)
    evaluate = make_evaluate(run, start.params)  # on a host of its own, hence from NumPy arrays
    say(describe(run, start.params))
    del start
    begin = run.begin - progress.seconds

    def due(every: int) -> bool:
        return step.number % every == 0 or step.number == training.num_steps

    with (
        closing(History(run.workdir, first)) as history,
        progress_bar(None, "train", training.num_steps, initial=first) as bar,
        closing(steps(run, optimizer, state, progress.position)) as taken,
    ):
        for step in taken:
            bar.update()
            progress = count(progress, step)
            if due(training.log_every_steps):
                record = {
                    "loss": progress.loss / progress.tokens,
                    "learning_rate": float(schedule(step.number - 1)),
                    "grad_norm": step.grad_norm,
                    "tokens_per_second": progress.tokens / progress.step_seconds,
                }
                history.append(step.number, "train", **record)
                bar.set_postfix_str(show(record))
                if not watched():
                    say(f"step {step.number}: {show(record)}")
                progress = progress._replace(loss=0.0, tokens=0, step_seconds=0.0)
            score = None
            if due(training.eval_every_steps):
                measures = evaluate(step.state.params)
                history.append(step.number, "dev", **measures)
                say(f"step {step.number}: dev {show(measures)}")
                score = measures["bleu"]
            if score is not None or due(training.save_every_steps):
                progress = progress._replace(seconds=time.perf_counter() - begin)
                rest = without_params(step.state)
                checkpoints.save(step.number, step.state.params, rest, progress._asdict(), score)
    return progress


def steps(
    run: Run,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    position: dict[str, int],
) -> Generator[Step, None, None]:
    """Yields the steps from a state and a position of the data to the end of training."""
    training = run.config.training
    train_step = parallel.pmap_train_step(make_train_step(run.model, optimizer, training))
    data = pipeline.TrainBatches(run.splits.train, run.tokenizer, run.config, run.model.packable)
    data.set_state(position)
    parts = num_parts(run)
    with closing(grain.experimental.ThreadPrefetchDatasetIterator(data, 2)) as batches:

        def take_batch() -> tuple[Batch, dict[str, int]]:
            batch = fill(next(batches), run, parts)
            return parallel.split_global(batch), batches.get_state()

        first = int(state.step)
        batch, position = take_batch()
        for number in range(first + 1, training.num_steps + 1):
            start, reached = time.perf_counter(), position
            state, metrics = train_step(state, batch)
            batch, position = take_batch()  # while the devices compute
            sums, grad_norm = jax.device_get(metrics)
            if not (math.isfinite(sums.loss) and math.isfinite(grad_norm)):
                raise InputError(
                    f"step {number}: the loss is {sums.loss}, the norm of its gradient "
                    f"{grad_norm}; start anew with a smaller optimizer.learning_rate, or with "
                    "optimizer.clip_norm"
                )
            seconds = time.perf_counter() - start
            yield Step(number, state, sums, float(grad_norm), seconds, reached)


def count(progress: Progress, step: Step) -> Progress:
    """Adds a step to what was counted."""
    return progress._replace(
        position=step.position,
        loss=progress.loss + float(step.sums.loss),
        tokens=progress.tokens + int(step.sums.num_tokens),
        step_seconds=progress.step_seconds + step.seconds,
        all_tokens=progress.all_tokens + int(step.sums.num_tokens),
        all_step_seconds=progress.all_step_seconds + step.seconds,
    )


def restore(
    run: Run, optimizer: optax.GradientTransformation, checkpoints: checkpoint.Checkpoints
) -> tuple[TrainState, Progress]:
    """Returns the state of the latest checkpoint, or of a run not yet begun, as NumPy arrays."""

    def init(key: jax.Array) -> TrainState:
        return init_state(run.model, optimizer, key)

    key = jax.random.key(run.config.training.seed)
    if not checkpoints.steps():
        return jax.device_get(jax.jit(init)(key)), Progress(pipeline.Position()._asdict())
    shapes = without_params(jax.eval_shape(init, key))
    params, rest, progress = checkpoints.restore(shapes)
    say(f"{run.workdir}: goes on from step {int(rest['step'])}")
    return TrainState(params=params, **rest), Progress(**progress)


def without_params(state: TrainState) -> dict[str, Any]:
    """Returns what is saved of a state beside its parameters."""
    return {name: value for name, value in state._asdict().items() if name != "params"}


def fill(batch: Batch, run: Run, parts: int) -> Batch:
    """Fills a batch up with empty rows to a multiple of `parts`."""
    return fill_rows(batch, filled(len(batch.source), parts), run.tokenizer.pad_id)


def filled(num_rows: int, parts: int) -> int:
    """Rounds up to a multiple of `parts`."""
    return num_rows + -num_rows % parts


def num_parts(run: Run) -> int:
    """Counts the parts of a training batch: each device takes its share in micro-batches."""
    return parallel.num_devices() * run.config.training.micro_batches


def make_evaluate(run: Run, params: Params) -> Callable[[Params], dict[str, float]]:
    """Makes the measurement of parameters on dev, which shows some translations as it goes.

    Loss, perplexity and token accuracy are teacher-forced; BLEU and chrF are those of greedy
    translations, a fraction of the time of a beam. All shapes are compiled and tried here, with
    parameters of any value, and those of test's beam too: what is too large for the memory is found
    before the first step.
    """
    dev, decoding = run.splits.dev, run.config.decoding
    # What BLEU of this language needs, and is not installed, is missed before the first step.
    corpus_scores(dev.target[:1], dev.target[:1], run.config.data.target_language)
    eval_step = parallel.pmap_eval_step(make_eval_step(run.model))
    batch_tokens = decoding.batch_tokens * parallel.num_local_devices()
    batches = pipeline.eval_batches(dev, run.tokenizer, batch_tokens, decoding.max_target_length)
    shapes = sorted({batch.source.shape for batch in batches})
    say(f"evaluation compiles {len(shapes)} shapes: {shapes} (rows, pieces)")
    translator = run.translator.with_params(params)

    def measure(params: Params, batch: Batch) -> Sums:
        rows = fill(batch, run, parallel.num_local_devices())
        return jax.device_get(eval_step(params, parallel.split_local(rows)))

    for batch in {batch.source.shape: batch for batch in batches}.values():
        measure(translator.params, batch)
    shapes = translator.warm_up(dev.source, beam_size=1)
    say(f"translating dev compiles {len(shapes)} shapes: {shapes} (rows, source pieces)")
    shapes = translator.warm_up(run.splits.test.source)  # with the beam
    say(f"translating test compiles {len(shapes)} shapes: {shapes}")
    del translator  # the next step takes the memory of these parameters

    def evaluate(params: Params) -> dict[str, float]:
        translator = run.translator.with_params(params)
        bar = progress_bar(batches, "dev loss", len(batches), leave=False)
        sums = [measure(translator.params, batch) for batch in bar]
        loss, correct, tokens = (float(sum(column)) for column in zip(*sums, strict=True))
        texts = translate_all(translator, dev.source, "dev", beam_size=1)
        bleu, chrf = corpus_scores(texts, dev.target, run.config.data.target_language)
        for lines in islice(zip(dev.source, texts, dev.target, strict=True), NUM_SAMPLES):
            shown = (tokenizer.clean(line)[:500] for line in lines)
            say("  source:      {}\n  translation: {}\n  reference:   {}\n".format(*shown))
        return {
            "loss": loss / tokens,
            "perplexity": math.exp(min(loss / tokens, 700)),  # more is beyond a float
            "accuracy": correct / tokens,
            "bleu": bleu.score,
            "chrf": chrf.score,
        }

    return evaluate


def finish(run: Run, checkpoints: checkpoint.Checkpoints, progress: Progress) -> dict[str, Any]:
    """Translates test with the best parameters; writes translations, summary and pictures."""
    begin, test, workdir = time.perf_counter(), run.splits.test, run.workdir
    params = checkpoints.params("best")
    translator = run.translator.with_params(params)
    texts = translate_all(translator, test.source, "test")  # by each host: none waits for another
    bleu, chrf = corpus_scores(texts, test.target, run.config.data.target_language)
    gold = corpora.gold_alignments(run.config.data) if translator.aligner else None
    if gold is not None:
        translator.aligner, error = align(translator, run.splits, gold)
    summary = {
        "bleu": bleu.score,
        "chrf": chrf.score,
        "signature": f"{bleu.signature} {chrf.signature}",
        "steps": run.config.training.num_steps,
        "seconds": progress.seconds + time.perf_counter() - begin,
        "tokens": progress.all_tokens,
        "tokens_per_second": progress.all_tokens / progress.all_step_seconds,
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
    }
    if gold is not None:
        summary["alignment_error_rate"] = error
    if parallel.is_first_host():
        if gold is not None and translator.aligner is not None:
            checkpoint.write_atomic(workdir / ALIGNER, alignment.to_json(translator.aligner))
        checkpoint.write_atomic(workdir / TRANSLATIONS, "".join(text + "\n" for text in texts))
        draw(translator, test.source, workdir)
        # Last: it says that the run has finished.
        checkpoint.write_atomic(workdir / SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary


def align(
    translator: Translator, splits: corpora.Splits, gold: tuple[corpora.Gold, corpora.Gold]
) -> tuple[Aligner, float]:
    """Chooses the aligner by dev; returns it and its alignment error rate on test."""
    dev, test = (
        translator.attentions(list(zip(*corpus, strict=True)), alignments.words)
        for corpus, alignments in zip(splits[1:], gold, strict=True)
    )
    aligner = alignment.choose_aligner(dev, *gold[0][:2])
    return aligner, alignment.error_rate(test, aligner, *gold[1][:2])


def draw(translator: Translator, sentences: Sequence[str], workdir: Path) -> None:
    """Draws the learning curve, and the attention of one sentence, if the model has any."""
    figures.learning_curve(read_history(workdir), workdir / "learning_curve.png")
    if translator.aligner is None:
        return
    lengths = map(len, translator.tokenizer.encode_source(sentences))
    # A sentence whose picture is neither trivial nor too large to read.
    distance, number = min((abs(length - 16), number) for number, length in enumerate(lengths))
    if distance < 16:
        looks = attention(translator, sentences[number])
        weights = looks.maps["cross"].mean((0, 1))
        figures.attention_maps(
            [{"": weights}], *looks.axes("cross")[::-1], workdir / "attention.png"
        )


def translate_all(
    translator: Translator, sentences: Sequence[str], name: str, **options: Any
) -> list[str]:
    """Translates a whole split, one line for each."""
    lines = translator.translate_lines(sentences, **options)
    bar = progress_bar(lines, name, len(sentences), leave=False)
    return [translation.text for translation in bar]


def show(measures: dict[str, float]) -> str:
    """Writes measures in a line, to four digits."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in measures.items())


def describe(run: Run, params: Params) -> str:
    """Tells the size of the model and the shapes that its training may compile."""
    shapes = [
        (filled(rows, num_parts(run)), source, target)
        for rows, source, target in pipeline.training_shapes(run.config, run.model.packable)
    ]
    size = sum(x.size for x in jax.tree.leaves(params))
    return (
        f"{size:,} parameters, vocabularies of {run.tokenizer.vocab_sizes} pieces"
        f"{', shared' if run.tokenizer.shared else ''}\n"
        f"{parallel.num_devices()} {parallel.device_kind()} device(s); training compiles "
        f"at most {len(shapes)} shape(s): {shapes} (rows, source pieces, target pieces)"
    )
