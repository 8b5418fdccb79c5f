"""What do kills at random moments make of a study of the real trainer, and what must hold then?

Everything is hit: the service, its workers, Ray's gcs and its raylet, each by kill -9.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards.report.answer import answer_dict, gather
from orchestrator.backends import daemon
from orchestrator.ledger.codec import finite
from orchestrator.study.spec import StudySpec
from studies import parts
from tests.dashboards.answers import without_costs
from tests.faults import invariants
from tests.faults.serving import WORKERS, Service, actors, awaited, kill_all, named

KINDS = ("service", "worker", "gcs", "raylet")
PROGRAMS = {"gcs": "gcs_server", "raylet": "raylet"}
WARM = ("programs", "data")  # kept from run to run: the same would be made anew, in a minute
PATIENCE_S = 180.0


@dataclass(frozen=True)
class Blow:
    kind: str
    at_s: float  # since the study was created
    ended: int  # trials until then
    leads_after_s: float  # of the kill, down time included; 0 for a worker, whose death ends no leadership


def spec(*, random_trials: int = 4, guided: int = 2) -> StudySpec:
    """Plain and guided runs of the size smoke, each arm's choice confirmed; a worker may be lost often."""
    alpha = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
    eta = {"path": "guidance.eta", "values": [0.01 * (1 + i) for i in range(guided)]}
    learns = {"guidance": {"estimator": "held-out", "learn": ["alpha", "beta1"]}}
    searches: list[dict[str, Any]] = [
        {"name": "random", "method": "random", "space": [alpha], "trials": random_trials},
        {"name": "guided", "method": "grid", "space": [eta], "trials": guided, "config": learns},
    ]
    confirming = [
        {
            "name": f"confirm-{arm['name']}",
            "method": "fixed",
            "trials": 2,
            "after": {"arm": arm["name"]},
            "fresh_seeds": True,
            "phase": "confirm",
            "row": arm["name"],
        }
        for arm in searches
    ]
    words = {"text": "Guided.", "challenger": "guided", "incumbent": "random", "metric": "dev_loss"}
    return StudySpec.model_validate(
        {
            "name": "storm",
            "entrypoint": parts.ENTRYPOINT,
            "base": {
                **parts.sizes()["smoke"].base,
                "checkpoint_every_steps": 10,
                "score": {"dev_sentences": 8},
            },
            "arms": [*searches, *confirming],
            "objective": {"metric": parts.METRIC, "targets": [5.0]},
            "claim": words,
            "retries": {"attempts": 100},
        }
    )


def warmed(home: Path, from_home: Path) -> Path:
    for folder in WARM:
        if (from_home / folder).is_dir():
            shutil.copytree(from_home / folder, home / folder)
    return home


def answer(there: Service, study_id: str) -> dict[str, Any]:
    """The whole report as values, cost columns aside (I7)."""
    with there.ledger() as store:
        gathered = gather(store, study_id, slots=WORKERS, runs=there.home / "runs")
    told: dict[str, Any] = json.loads(json.dumps(finite(answer_dict(gathered))))
    return without_costs(told)


def undisturbed(there: Service, study: StudySpec) -> dict[str, Any]:
    """The report of a run that nothing happens to."""
    there.start()
    study_id = awaited(lambda: there.create(study))
    there.to_the_end(study_id, within_s=PATIENCE_S)
    held(there, study_id)
    return answer(there, study_id)


def held(there: Service, study_id: str) -> None:
    """I1 to I6 of a study that has ended; its service is ended too."""
    with there.ledger() as store:
        invariants.check(store, study_id)
    assert len(actors(there.home)) <= WORKERS
    there.end()
    left = daemon.processes(there.home)
    assert left == []


def struck(
    there: Service, study_id: str, dice: random.Random, kinds: Sequence[str], *, longest_wait_s: float = 2.0
) -> list[Blow]:
    """One blow of each of these kinds, in turn, at a random moment after the service has led and something
    was heard of a trial since the blow before. Fewer where the study is over sooner."""
    begun, blows = time.monotonic(), list[Blow]()
    for kind in kinds:
        with there.ledger() as store:
            heard = store.newest_event()
        over = awaited(lambda heard=heard: _over_or_news(there, study_id, heard), within_s=PATIENCE_S)
        time.sleep(dice.random() * longest_wait_s)
        if over == "over" or not there.runs(study_id):
            break
        struck_at, ended = time.monotonic(), there.ended(study_id)
        _strike(there, kind, dice)
        leads_after_s = 0.0 if kind == "worker" else time.monotonic() - struck_at
        blows.append(Blow(kind, struck_at - begun, ended, leads_after_s))
    return blows


def _over_or_news(there: Service, study_id: str, heard: int) -> str | None:
    if not there.runs(study_id):
        return "over"
    with there.ledger() as store:
        return "news" if store.newest_event() > heard else None


def _strike(there: Service, kind: str, dice: random.Random) -> None:
    """The blow; back once the service leads again."""
    if kind == "service":
        there.kill()
        there.start()
        there.leads(within_s=PATIENCE_S)
    elif kind == "worker":
        kill_all([dice.choice(found)] if (found := actors(there.home)) else [])
    else:
        victims = named(there.home, PROGRAMS[kind])
        kill_all(victims)
        awaited(lambda: _renewed(there, kind, victims), within_s=PATIENCE_S, what=f"a Ray without its {kind}")


def _renewed(there: Service, kind: str, victims: Sequence[int]) -> bool | None:
    """Whether the service leads over a Ray that is whole and another."""
    assert there.alive(), f"the service ended with its {kind}: {there.said.read_text()[-2000:]}"
    programs = [named(there.home, program) for program in PROGRAMS.values()]
    whole = all(programs) and not set(victims) & {pid for pids in programs for pid in pids}
    return (whole and there.ask("/health/ready")["engine"] == "leading") or None
