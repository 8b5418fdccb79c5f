"""The two sides of `finetune_speed`, each a program of its own: one fine-tuning, and where its seconds went.

    python -m benchmarks.finetune_sides ours FOLDER BEGUN   # BEGUN: when the process was started, unix time

FOLDER holds a T5 (`t5/`) and the rows (`rows/train.tsv`, `rows/dev.tsv`). One JSON object is printed: seconds
from the start of the process to the end of its imports and to the end of all; those of evaluations, and of
compiling; how many evaluations and steps; the accuracy of the last outputs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STEPS, EVERY_STEPS, BATCH, AT_A_TIME = 300, 50, 32, 64
SOURCE_TOKENS, TARGET_TOKENS = 64, 8  # an input is shorter; so many are written for each at most
RATE, SEED = 1e-3, 0


def rows_of(file: Path) -> list[tuple[str, str]]:
    pairs = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines())
    return [(source, target) for source, target in pairs]


def ours(folder: Path, begun_s: float) -> dict[str, float]:
    """As `orch train --init t5/ --task files` does."""
    from trainer import run
    from trainer.protocol import Place, Reply, Report
    from trainer.training import assembly  # noqa: F401  (what `run` imports first)

    imports_s, evaluations = time.time() - begun_s, []

    def heard(report: Report) -> Reply:
        if report.kind == "eval":
            evaluations.append(report.values)
        return Reply.GO

    config = {
        "steps": STEPS,
        "eval_every_steps": EVERY_STEPS,
        "checkpoint_every_steps": STEPS,
        "seed": SEED,
        "init": str(folder / "t5"),
        "data": {
            "task": "files",
            "path": str(folder / "rows"),
            "source_tokens": SOURCE_TOKENS,
            "target_tokens": TARGET_TOKENS,
        },
        "optimizer": {"name": "adafactor", "beta1": 0, "learning_rate": RATE},
        "schedule": {"name": "constant", "warmup_steps": 0},
        "batch": {"sentences": BATCH},
        "score": {"dev_sentences": len(rows_of(folder / "rows" / "dev.tsv"))},
    }
    out = folder / f"ours-{time.time_ns()}"
    out.mkdir()
    outcome = run.run(config, heard, out, Place())
    assert outcome.status == "completed", outcome
    return {
        "imports_s": imports_s,
        "all_s": time.time() - begun_s,
        "eval_s": outcome.clocks["eval_s"],
        "compile_s": outcome.clocks["compile_s"],
        "evaluations": len(evaluations),
        "steps": outcome.clocks["steps"],
        "accuracy": outcome.values["accuracy"],
    }


def encoded(pieces: Any, file: Path) -> list[dict[str, list[int]]]:
    """As lists of ids with their ends."""
    sides = ((pieces.encode(source), pieces.encode(target)) for source, target in rows_of(file))
    return [
        {
            "input_ids": [*source[: SOURCE_TOKENS - 1], pieces.eos_id()],
            "labels": [*target[: TARGET_TOKENS - 1], pieces.eos_id()],
        }
        for source, target in sides
    ]


def padded(rows: Sequence[Sequence[int]], filling: int) -> Any:
    import torch

    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filling] * (longest - len(row))] for row in rows])


def collate(batch: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
    inputs = padded([row["input_ids"] for row in batch], 0)
    labels = padded([row["labels"] for row in batch], -100)
    return {"input_ids": inputs, "attention_mask": (inputs != 0).long(), "labels": labels}


def theirs(folder: Path, begun_s: float) -> dict[str, float]:
    """As the documentation of Seq2SeqTrainer would have it, in batches padded to their longest row."""
    import torch
    from sentencepiece import SentencePieceProcessor
    from transformers import (
        Adafactor,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        T5ForConditionalGeneration,
    )

    from benchmarks import their_t5

    their_t5.quiet()
    torch.set_num_threads(1)
    imports_s = time.time() - begun_s
    pieces = SentencePieceProcessor(model_file=str(folder / "t5" / "spiece.model"))
    end = pieces.eos_id()

    def texts(rows: Any) -> list[str]:
        return [pieces.decode([int(i) for i in row if i > end]) for row in rows]

    def metrics(found: Any) -> dict[str, float]:
        outputs, targets = texts(found.predictions), texts(found.label_ids)
        return {"accuracy": 100 * sum(map(str.__eq__, outputs, targets)) / len(targets)}

    model = T5ForConditionalGeneration.from_pretrained(folder / "t5")
    out = folder / f"theirs-{time.time_ns()}"
    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            output_dir=str(out),
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=AT_A_TIME,
            eval_strategy="steps",
            eval_steps=EVERY_STEPS,
            logging_steps=EVERY_STEPS,
            save_strategy="no",
            predict_with_generate=True,
            generation_max_length=1 + TARGET_TOKENS,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,  # ours clips in Adafactor alone
            seed=SEED,
            use_cpu=True,
            remove_unused_columns=False,
            disable_tqdm=True,
            report_to="none",
        ),
        data_collator=collate,
        train_dataset=encoded(pieces, folder / "rows" / "train.tsv"),
        eval_dataset=encoded(pieces, folder / "rows" / "dev.tsv"),
        compute_metrics=metrics,
        optimizers=(
            Adafactor(model.parameters(), lr=RATE, beta1=None, scale_parameter=True, relative_step=False),
            None,
        ),
    )
    trainer.train()
    trainer.save_model(str(out))
    read = [line for line in trainer.state.log_history if "eval_runtime" in line]
    return {
        "imports_s": imports_s,
        "all_s": time.time() - begun_s,
        "eval_s": sum(line["eval_runtime"] for line in read),
        "compile_s": 0.0,
        "evaluations": len(read),
        "steps": trainer.state.global_step,
        "accuracy": read[-1]["eval_accuracy"],
    }


if __name__ == "__main__":
    side, where, since = sys.argv[1:]
    said = {"ours": ours, "theirs": theirs}[side](Path(where), float(since))
    print(json.dumps(said))
