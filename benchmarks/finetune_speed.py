"""How long does a fine-tuning take? Ours over Seq2SeqTrainer of Hugging Face transformers.

The same T5 of the size `t5-tiny`, which we wrote as a folder of theirs; the same rows of a task; the same
steps, batch, Adafactor and evaluations (the dev loss, and greedy outputs of all dev rows), each side a
process of its own on one core with one thread, in turn in every round. The start is told apart:
`vs_hf_trainer` is theirs over ours in wall clock without imports and, on our side, compiling. `cold` has all
of that in it, on a machine that has seen no such model; `warm` is a process that finds the programs on disk;
`…_cpu` is the same by CPU seconds, and `start_s` says how long each side's start took.
python -m benchmarks.finetune_speed
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import their_t5
from benchmarks.measuring import Result, result, show, spread

WANTS = {"vs_hf_trainer": "≥ 1.5"}
ROUNDS = 3
ROWS = {"train": 480, "dev": 120}
PIECES, EMBEDDED = 100, 320  # the rest of the rows is for sentinels and to spare, as in a T5
SIDES = ("theirs", "ours_cold", "ours_warm")
PRAISE = ("splendid", "moving", "clever", "warm", "funny")
BLAME = ("dreadful", "dull", "clumsy", "cold", "endless")
PARTS = ("plot", "cast", "music", "ending", "dialogue", "camera", "pace", "humour")


def reviews(count: int, *, seed: int) -> list[str]:
    """Rows of a TSV: a review, and whether it praises."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        praises = rng.random() < 0.5
        words = PRAISE if praises else BLAME
        said = " and ".join(f"the {part} was {rng.choice(words)}" for part in rng.sample(PARTS, 3))
        rows.append(f"film {seed}{number} : {said}\t{'positive' if praises else 'negative'}")
    return rows


def prepare(folder: Path) -> None:
    """The rows, and a T5 that has learned nothing yet."""
    from benchmarks.finetune_sides import rows_of
    from trainer import huggingface
    from trainer.config import ModelConfig
    from trainer.data.vocabulary import vocabulary
    from trainer.models import init_params, model_settings

    (folder / "rows").mkdir()
    for seed, (split, count) in enumerate(ROWS.items(), start=1):
        text = "".join(f"{row}\n" for row in reviews(count, seed=seed))
        (folder / "rows" / f"{split}.tsv").write_text(text, encoding="utf-8")
    words = vocabulary(
        rows_of(folder / "rows" / "train.tsv"), size=PIECES, fingerprint="reviews", home=folder / "pieces"
    )
    words.save(folder / "spiece.model")
    settings = model_settings(ModelConfig(size="t5-tiny"), vocabulary=EMBEDDED)
    huggingface.export(
        folder / "t5",
        settings,
        init_params(settings, 0),
        vocabulary=(folder / "spiece.model").read_bytes(),
        dropout=settings.dropout,
    )


def one_core() -> dict[str, str]:
    """The environment of both sides; they are kept where this process is."""
    if hasattr(os, "sched_setaffinity"):  # Linux only
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def ran(side: str, folder: Path, *, home: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """A side in a new process: its own figures, and the wall clock and CPU seconds of the process."""
    before, begun_s = os.times(), time.time()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.finetune_sides", side.split("_")[0], str(folder), str(begun_s)],
        env={**environment, "ORCH_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    wall_s, after = time.time() - begun_s, os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {**json.loads(done.stdout.splitlines()[-1]), "wall_s": wall_s, "cpu_s": cpu_s}


def compared(rounds: list[dict[str, dict[str, float]]]) -> Result:
    """What is told of sides that ran in turn: theirs over ours."""
    asked = {(run["steps"], run["evaluations"]) for sides in rounds for run in sides.values()}
    if len(asked) > 1:
        raise SystemExit(f"The sides made different (steps, evaluations): {sorted(asked)}. Compare equals.")

    def over(ours: str, of: str) -> list[float]:
        return [sides["theirs"][of] / sides[ours][of] for sides in rounds]

    def start_s(run: Mapping[str, float]) -> float:
        return run["imports_s"] + run["compile_s"]

    def left_s(run: Mapping[str, float]) -> float:
        return run["all_s"] - start_s(run)

    left = [left_s(sides["theirs"]) / left_s(sides["ours_cold"]) for sides in rounds]
    figures: dict[str, Any] = {
        "over_ours": {
            "cold": statistics.median(over("ours_cold", "wall_s")),
            "cold_cpu": statistics.median(over("ours_cold", "cpu_s")),
            "warm": statistics.median(over("ours_warm", "wall_s")),
            "warm_cpu": statistics.median(over("ours_warm", "cpu_s")),
        },
        "start_s": {side: statistics.median(map(start_s, (r[side] for r in rounds))) for side in SIDES},
        "spread": spread(left),
    }
    for side in SIDES:
        figures[side] = {of: statistics.median(r[side][of] for r in rounds) for of in rounds[0][side]}
    ratios = {"vs_hf_trainer": statistics.median(left)}
    return result("finetune_speed", ratios=ratios, figures=figures, wants=WANTS)


def measure() -> Result:
    environment = one_core()
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for number in range(ROUNDS):
            home = folder / f"home-{number}"  # that of the warm one has what the cold one left
            rounds.append({side: ran(side, folder, home=home, environment=environment) for side in SIDES})
    return compared(rounds)


if __name__ == "__main__":
    lacking = their_t5.absent("finetune_speed")
    if lacking:
        sys.exit(their_t5.missing(lacking))
    show(measure())
