"""Does training wait for its data? A tiny Transformer on batches made beside it, and on the same ones ready.

Whole runs of `trainer.training.loop`, one thread on one core, both sides in turn in every round.
`wait_share` is the wall clock's share in which no scan was under way and, since the one core that makes
batches does not train, the share of CPU time that the batches took; `beside_over_ready` is the step's CPU
time, as noisy as a shared machine is. Then the same of T5s on unlabelled text, under random spans whose noise
is made beside the training (`wait_share_t5_tiny`, `wait_share_t5_small`), and `packed_over_padded`: the real
tokens a second of `t5-tiny` where documents are joined and cut into full rows, over those where each document
is a padded row. The documents are made up: their lengths are lognormal, half of them below a third of a row,
and what is longer than a row is cut to it, which favours padding. Then what the ways of batching cost and
pad, on a generated text of short sentences.
python -m benchmarks.data_speed
"""

from __future__ import annotations

import os

# Before JAX starts its threads.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)
if hasattr(os, "sched_setaffinity"):  # Linux only
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import functools
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.measuring import Result, result, show, spread
from trainer.config import ModelConfig
from trainer.config.noise_lengths import lengths
from trainer.data.batches import Batch, Bucketed
from trainer.data.denoising import Denoised, Denoiser
from trainer.data.examples import Examples, examples
from trainer.data.objectives import Noise
from trainer.data.packing import Packed
from trainer.data.vocabulary import Vocabulary, vocabulary
from trainer.models import Settings, forward, init_params, model_settings
from trainer.models.losses import token_cross_entropy
from trainer.optim import optimizers, schedules
from trainer.optim.hyperparameters import layout
from trainer.protocol import Reply
from trainer.training.clocks import Clocks
from trainer.training.loop import Cadence, Host, Job, train
from trainer.training.state import Recipe, begin, declared, settings_of
from trainer.training.step import compiled_scan

PAIRS, SIZES, LONGEST = 20_000, (320, 2_000), 64
STEPS, CHUNK_STEPS, ROUNDS = 100, 50, 6
# Of T5s: steps of a run, of a chunk, rows of a batch, and rounds.
T5S = {"t5-tiny": (30, 15, 32, 3), "t5-small": (4, 2, 2, 2)}
SOURCE_TOKENS, T5_PIECES, SENTINELS, STREAM_TOKENS = 128, 2_000, 100, 400_000
CHUNKS = 60  # of every way: nearly five epochs, so that new orders are drawn as well
WAYS: dict[str, Callable[[Examples], Any]] = {
    "buckets_1": lambda made: Bucketed(made, seed=0),
    "buckets_2": lambda made: Bucketed(made, seed=0, buckets=2),
    "buckets_4": lambda made: Bucketed(made, seed=0, buckets=4),
    "packed": lambda made: Packed(made, seed=0),
}


def text(pairs: int) -> list[tuple[str, str]]:
    """Sentences of two to eight made-up words whose shares fall as 1/rank, each word with one translation."""
    rng = random.Random(0)
    syllables = [a + b for a in "bdfghjklmnprstvz" for b in ("a", "e", "i", "o", "u", "ä", "ö")]

    def words() -> list[str]:
        return ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3)))) for _ in range(4_000)]

    sides, weights = (words(), words()), [1 / (rank + 5) for rank in range(4_000)]
    chosen = [rng.choices(range(4_000), weights, k=rng.randint(2, 8)) for _ in range(pairs)]
    return [tuple(" ".join(side[i] for i in ids) for side in sides) for ids in chosen]  # type: ignore[misc]


# -- batching alone --------------------------------------------------------------------------------------


def batching(made: Examples) -> dict[str, dict[str, float]]:
    """By way: a chunk's milliseconds, sentences a second, and the share of padding in what was made."""
    told: dict[str, dict[str, float]] = {}
    for way, batches_of in WAYS.items():
        batches = batches_of(made)
        cursor, times_s, sentences, real, computed = batches.first, [], 0, 0, 0
        for _ in range(CHUNKS):
            begun_s = time.process_time()
            pieces, cursor, tokens = batches.chunk(cursor, CHUNK_STEPS)
            times_s.append(time.process_time() - begun_s)
            real += tokens
            for piece in pieces:
                computed += piece["source"].size + piece["target_out"].size
                ends = piece["source"] == 1  # one a sentence
                sentences += int(np.count_nonzero(ends))
        told[way] = {
            "chunk_ms": 1000 * statistics.median(times_s),
            "longest_chunk_ms": 1000 * max(times_s),
            "sentences_per_s": sentences / sum(times_s),
            "padding_share": 1 - real / computed,
        }
    return told


# -- training --------------------------------------------------------------------------------------------


class Ready:
    """Another's chunks, all made and on the device before the run begins. A cursor is their number."""

    first = 0

    def __init__(self, batches: Any, steps: int = STEPS, chunk_steps: int = CHUNK_STEPS) -> None:
        cursor: Any = batches.first
        self._chunks = []
        for _ in range(steps // chunk_steps):
            pieces, cursor, tokens = batches.chunk(cursor, chunk_steps)
            self._chunks.append((jax.block_until_ready(jax.device_put(pieces)), tokens))

    def chunk(self, cursor: int, steps: int) -> tuple[Any, int, int]:
        pieces, tokens = self._chunks[cursor]
        return pieces, cursor + 1, tokens


def loss_of(settings: Settings) -> Callable[..., jax.Array]:
    def loss_fn(params: Any, batch: Any, key: jax.Array, train: bool) -> jax.Array:
        logits = forward(settings, params, batch, key=key if train else None)
        return token_cross_entropy(logits, batch["target_out"])

    return loss_fn


def train_once(
    recipe: Recipe, settings: Settings, batches: Any, steps: int = STEPS, chunk_steps: int = CHUNK_STEPS
) -> dict[str, float]:
    """A run's seconds a step: by the wall, and those of them between scans; of CPU, and of it for batches.
    And its real tokens a step."""
    hypers = declared(recipe.optimizer, ())
    schedule = schedules.curves_of("inverse-sqrt", warmup_steps=40, steps=steps)
    numbers = settings_of(recipe, hypers, learning_rate=0.01, schedule=schedule)
    scan, inside_s, making_s = compiled_scan(recipe), [0.0], [0.0]

    def timed(state: Any, pieces: Any, key: jax.Array) -> Any:
        begun_s = time.perf_counter()
        done = jax.block_until_ready(scan(state, pieces[0], key))
        inside_s[0] += time.perf_counter() - begun_s
        return done

    def put(pieces: Any) -> Any:  # the last that the thread of the batches does for a chunk
        placed = jax.device_put(pieces)
        making_s[0] = time.thread_time()
        return placed

    job = Job(
        scan=timed,
        state=begin(recipe, init_params(settings, 0), hypers, settings=numbers),
        batches=batches,
        put=put,
        cursor=batches.first,
        evaluate=lambda params: {},
        cadence=Cadence(steps, steps, steps, chunk_steps=chunk_steps),
        seed=0,
        fingerprint="",
    )
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        host = Host(lambda report: Reply.GO, Path(folder), clocks=Clocks(), save=lambda *_: Path(folder))
        begun_s = time.process_time()
        clocks = train(job, host).clocks
        cpu_s = time.process_time() - begun_s
    train_s = clocks["train_s"]
    seconds = {"wall": train_s, "between": train_s - inside_s[0], "cpu": cpu_s, "making": making_s[0]}
    return {name: of_run / steps for name, of_run in {**seconds, "tokens": clocks["tokens"]}.items()}


def waited(run: dict[str, float]) -> float:
    return run["between"] / run["wall"] + run["making"] / run["cpu"]


def waiting(words: Vocabulary, made: Examples) -> tuple[dict[str, float], dict[str, Any]]:
    """Shares of the step's time: the one that is claimed, and others to judge it by."""
    settings = model_settings(ModelConfig(size="tiny"), vocabulary=words.size)
    hypers = declared(optimizers.lamb(), ())
    recipe = Recipe(loss_of(settings), optimizers.lamb(), layout(hypers), None)
    # Each run a stream of its own, as a process would have, orders not yet drawn included.
    makers: dict[str, Callable[[], Any]] = {
        "beside": lambda: Bucketed(made, seed=0),
        "ready": functools.partial(Ready, Bucketed(made, seed=0)),
    }
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in makers}
    for number in range(ROUNDS + 1):
        for way, maker in makers.items():
            told = train_once(recipe, settings, maker())
            if number:  # the first has compiled
                runs[way].append(told)

    shares = [waited(each) for each in runs["beside"]]
    both = zip(runs["beside"], runs["ready"], strict=True)
    return {"wait_share": statistics.median(shares)}, {
        "wait_share_spread": spread(shares),
        "beside_over_ready": spread([beside["cpu"] / ready["cpu"] for beside, ready in both]),
        "step_ms": {way: 1000 * statistics.median(run["cpu"] for run in runs[way]) for way in runs},
    }


# -- unlabelled text -------------------------------------------------------------------------------------


class OnePart:
    """A stream of made-up tokens."""

    def part(self, number: int) -> np.ndarray:
        return (np.random.default_rng(0).integers(3, T5_PIECES, STREAM_TOKENS).astype(np.int32),)[number]

    def parts(self) -> int:
        return 1


class PaddedDocuments:
    """A document in each row: of a length of its own, with noise by that length."""

    first = 0

    def __init__(self, denoiser: Denoiser, rows: int) -> None:
        self._denoiser, self._rows = denoiser, rows

    def chunk(self, cursor: int, steps: int) -> tuple[list[Batch], int, int]:
        rng, raw = np.random.default_rng([1, cursor]), self._denoiser.lengths.raw
        sizes = np.clip(np.exp(rng.normal(np.log(raw / 3), 0.8, steps * self._rows)), 8, raw).astype(int)
        made = [self._denoiser.rows(rng.integers(3, T5_PIECES, (1, size)), rng)[0] for size in sizes]
        joined = {name: np.concatenate([each[name] for each in made]) for name in made[0]}
        real = int(np.count_nonzero(joined["source"]) + np.count_nonzero(joined["target_out"]))
        return [{n: a.reshape(steps, self._rows, -1) for n, a in joined.items()}], cursor + 1, real


def denoising(size: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Of a T5: the share of its step's time that it waits, and for the small one what packing brings."""
    steps, chunk_steps, rows, rounds = T5S[size]
    settings = model_settings(ModelConfig(size=size), vocabulary=T5_PIECES + SENTINELS)
    optimizer = optimizers.adafactor(momentum=False)
    recipe = Recipe(loss_of(settings), optimizer, layout(declared(optimizer, ())), None)
    sentinels = np.arange(T5_PIECES + SENTINELS - 1, T5_PIECES - 1, -1, dtype=np.int32)
    noise = Noise(0.15, 3.0, sentinels, np.arange(3, T5_PIECES, dtype=np.int32))
    denoiser = Denoiser("random-spans", lengths("random-spans", SOURCE_TOKENS), noise)
    makers: dict[str, Callable[[], Any]] = {
        "packed": lambda: Denoised(OnePart(), denoiser, seed=0, sentences=rows)
    }
    if size == "t5-tiny":
        padded = functools.partial(Ready, PaddedDocuments(denoiser, rows), steps, chunk_steps)
        makers["padded"] = padded
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in makers}
    for number in range(rounds + 1):
        for way, maker in makers.items():
            told = train_once(recipe, settings, maker(), steps, chunk_steps)
            if number:
                runs[way].append(told)
    name = size.replace("-", "_")
    shares = [waited(run) for run in runs["packed"]]
    ratios = {f"wait_share_{name}": statistics.median(shares)}
    per_s = {way: [run["tokens"] / run["cpu"] for run in runs[way]] for way in runs}
    if "padded" in per_s:
        both = zip(per_s["packed"], per_s["padded"], strict=True)
        ratios["packed_over_padded"] = statistics.median(one / other for one, other in both)
    return ratios, {
        f"wait_share_{name}_spread": spread(shares),
        f"tokens_per_cpu_s_{name}": {way: statistics.median(each) for way, each in per_s.items()},
    }


def measure() -> Result:
    pairs, learned_s, encoded_s, made_of = text(PAIRS), {}, {}, {}
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        home = Path(folder)
        for size in SIZES:
            begun_s = time.process_time()
            words = vocabulary(pairs, size=size, fingerprint="generated", home=home)
            learned_s[str(size)] = time.process_time() - begun_s
            begun_s = time.process_time()
            made_of[size] = words, examples(pairs, words, longest=LONGEST, key=f"generated {size}", home=home)
            encoded_s[str(size)] = time.process_time() - begun_s
        ratios, figures = waiting(*made_of[min(SIZES)])  # the quicker step
        for t5 in T5S:
            more = denoising(t5)
            ratios, figures = {**ratios, **more[0]}, {**figures, **more[1]}
        made = made_of[max(SIZES)][1]
        ways = batching(made)
    by_figure = {name: {way: ways[way][name] for way in WAYS} for name in ways["packed"]}
    return result(
        "data_speed",
        ratios=ratios,
        figures={
            **figures,
            **by_figure,
            "vocabulary_s": learned_s,
            "encoding_s": encoded_s,
            "tokens_a_side": float((made.source_lengths.mean() + made.target_lengths.mean()) / 2),
        },
        wants={
            **dict.fromkeys(("wait_share", "wait_share_t5_tiny", "wait_share_t5_small"), "≤ 0.05"),
            "packed_over_padded": "≥ 1.5",
        },
    )


if __name__ == "__main__":
    show(measure())
