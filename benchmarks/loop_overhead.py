"""What does a whole trial cost over its bare steps? And a process that finds its programs on disk?

A `tiny` trial as on a warm worker: 400 steps of 32 sentences, five evaluations of 500 pairs, two checkpoints,
all reports, no decoding; over the same steps on batches that lie ready. CPU time, one thread on one core,
in turn. `cold_first_step_s`, `warm_first_step_s`: CPU time up to the end of the first step in a new process,
without and with the programs of another one on disk. `worker_mb`: what a process holds that has compiled and
run the programs of `bo-vs-guided --size quick`, as its worker does.  python -m benchmarks.loop_overhead
"""

from __future__ import annotations

import os

# Before JAX starts its threads.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)
if hasattr(os, "sched_setaffinity"):  # Linux only
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from benchmarks.measuring import Result, result, show, spread
from orchestrator.study.configs import expected_configs
from orchestrator.study.entrypoint import inherit_of
from studies import catalog
from trainer.config import TrainConfig
from trainer.data import home
from trainer.data.tokens import open_tokens
from trainer.models import mesh, model_settings
from trainer.protocol import Place, Reply, Report
from trainer.training import entrypoint
from trainer.training.assembly import job_of

WANTS = {
    "worker_mb": "≤ 800",
    "loop_over_bare": "≤ 1.2",
    "cold_first_step_s": "≤ 6",
    "warm_first_step_s": "≤ 1.5",
}
ROUNDS, STARTS = 4, 2
CONFIG: dict[str, Any] = {
    "steps": 400,
    "eval_every_steps": 80,
    "checkpoint_every_steps": 200,
    "score": {"dev_sentences": 0},
}
ONE_STEP = {
    **CONFIG,
    "steps": 1,
    "eval_every_steps": 1,
    "checkpoint_every_steps": 1,
    "schedule": {"warmup_steps": 0},
}
GUIDED = {"guidance": {"estimator": "held-out", "learn": ["alpha", "beta1"]}}
# Prints the CPU seconds of a process up to its first report.
PROGRAM = """
import json, sys, tempfile, time
from pathlib import Path
from trainer import run
from trainer.protocol import Place, Reply
def heard(report):
    if report.kind == "train":
        print(time.process_time(), flush=True)
    return Reply.STOP
run.run(json.loads(sys.argv[1]), heard, Path(tempfile.mkdtemp(dir=sys.argv[2])), Place())
"""
# Trains a chunk with each of these configs, the first of them to its end; prints the MB that it holds then.
HOLDS = """
import json, sys, tempfile
from pathlib import Path
from trainer import run
from trainer.protocol import Place, Reply
for number, config in enumerate(json.loads(sys.argv[1])):
    answer = Reply.GO if number == 0 else Reply.STOP
    outcome = run.run(config, lambda report: answer, Path(tempfile.mkdtemp(dir=sys.argv[2])), Place())
    assert outcome.status == ("completed" if number == 0 else "stopped"), outcome
print(int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1000)
"""


def heard(report: Report) -> Reply:
    return Reply.GO


def trial(folder: Path) -> None:
    outcome = entrypoint.run(CONFIG, heard, Path(tempfile.mkdtemp(dir=folder)), Place())
    assert outcome.status == "completed"


def bare_steps() -> Callable[[], None]:
    config = TrainConfig.from_dict(CONFIG)
    tokens = open_tokens(config, home=home.texts())
    settings = model_settings(config.model, vocabulary=tokens.vocabulary.size)
    job = job_of(config, tokens, settings, mesh.make_mesh(config.mesh))
    lengths, step = [], 0
    while length := job.cadence.next_length(step):
        lengths.append(length)
        step += length
    chunks, cursor = [], job.cursor
    for length in lengths:
        batches, cursor, _ = job.batches.chunk(cursor, length)
        chunks.append(job.put(batches))
    key, held = jax.random.key(0), [job.state]

    def steps() -> None:
        for chunk in chunks:
            held[0], metrics = job.scan(held[0], chunk, key)
        jax.block_until_ready(metrics)

    return steps


def cpu_s(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def new_home(place: Path) -> Path:
    """Of processes that find no programs. Text they do: it is not what is measured."""
    place.mkdir()
    (place / "data").symlink_to(home.texts())
    return place


def printed(program: str, given: Any, folder: Path, place: Path) -> list[str]:
    """The words that a new process of that home prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(given), str(folder)],
        env={**os.environ, "ORCH_HOME": str(place)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.split()


def starts(config: dict[str, Any], folder: Path) -> tuple[list[float], list[float]]:
    """CPU seconds to the first report: of the processes that find no programs, and that find some."""
    sides: tuple[list[float], list[float]] = ([], [])
    for number in range(STARTS):
        place = new_home(folder / f"start-{number}-{len(config)}")
        for side in sides:
            side.append(float(printed(PROGRAM, config, folder, place)[0]))
    return sides


def worker_mb(folder: Path) -> float:
    """Of one that finds no program on disk. Linux only."""
    spec, programs = catalog.get("bo-vs-guided", "quick"), dict[str, dict[str, Any]]()
    for _, config in expected_configs(spec, inherit_of(spec.entrypoint)):
        programs.setdefault(entrypoint.shape_key(config), {**config, "seed": 0})
    return float(printed(HOLDS, list(programs.values()), folder, new_home(folder / "holds"))[-1])


def measure() -> Result:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["ORCH_HOME"] = str(folder / "home")
        trial(folder)  # text and programs
        bare = bare_steps()
        bare()
        times: dict[str, list[float]] = {"trial": [], "bare": []}
        for _ in range(ROUNDS):
            times["trial"].append(cpu_s(lambda: trial(folder)))
            times["bare"].append(cpu_s(bare))
        cold, warm = starts(ONE_STEP, folder)
        guided_cold, guided_warm = starts({**ONE_STEP, **GUIDED}, folder)
        held_mb = worker_mb(folder) if sys.platform == "linux" else math.nan
    medians = {name: statistics.median(samples) for name, samples in times.items()}
    median = statistics.median
    return result(
        "loop_overhead",
        ratios={
            "worker_mb": held_mb,
            "loop_over_bare": medians["trial"] / medians["bare"],
            "cold_first_step_s": median(cold),
            "warm_first_step_s": median(warm),
        },
        figures={
            "trial_s": medians["trial"],
            "bare_s": medians["bare"],
            "spread": spread([t / b for t, b in zip(times["trial"], times["bare"], strict=True)]),
            "first_step_s": {
                "cold": median(cold),
                "warm": median(warm),
                "guided cold": median(guided_cold),
                "guided warm": median(guided_warm),
            },
        },
        wants=WANTS,
    )


if __name__ == "__main__":
    show(measure())
