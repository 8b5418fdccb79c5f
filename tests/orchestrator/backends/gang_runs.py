"""A training program for gangs, without JAX: what befalls its processes is in its config."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.protocol import Outcome, PeerLost, Place, Reply, Report, Reporter, resume_note

EVERY = 10  # steps from checkpoint to checkpoint


def check(config: Mapping[str, Any]) -> list[str]:
    return []


def shape_key(config: Mapping[str, Any]) -> str:
    return "same"


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    """Each process writes down where it stands and what it was answered."""
    told, step = resume_note(workdir), 0
    if told is not None:
        step = int(Path(told["checkpoint"], "step").read_text())
    begun = workdir / f"begun-{place.process_index}"
    begun.write_text(f"{os.getpid()} {place.coordinator}")
    heard = (workdir / f"heard-{place.process_index}").open("a")
    while step < config["steps"]:
        step += 1
        threading.Event().wait(config.get("pace_s", 0.02))
        befalls(config, step, place)
        reply = reporter(Report(step, "train", {"loss": 1 / step}, clocks={"train_s": 0.01 * step}))
        if step % EVERY == 0 or reply is Reply.SAVE_AND_STOP:
            folder = workdir / f"checkpoint-{step}"
            if place.process_index == 0:
                folder.mkdir(exist_ok=True)
                (folder / "step").write_text(str(step))
            saved = reporter(Report(step, "checkpoint", path=str(folder), clocks={"train_s": 0.01 * step}))
            reply = saved if reply is Reply.GO else reply
        heard.write(f"{step} {reply.value}\n")
        heard.flush()
        if reply is not Reply.GO:
            return Outcome("stopped", {"loss": 1 / step}, {"train_s": 0.01 * step})
    return Outcome("completed", {"loss": 1 / step}, {"train_s": 0.01 * step})


def befalls(config: Mapping[str, Any], step: int, place: Place) -> None:
    """`raises`: {process: step}; those of `closed` say then that they have lost a peer; `kills`: likewise."""
    for what, act in (("raises", _raise), ("closed", _closed), ("kills", _kill)):
        if config.get(what, {}).get(str(place.process_index)) == step:
            act()


def _raise() -> None:
    raise ValueError("a bug")


def _closed() -> None:
    raise PeerLost("The connection was closed.")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
