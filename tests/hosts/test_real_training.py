"""Is a run of the trainer, whose host is gone in the middle, the run that nobody disturbed? Bit for bit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies import parts
from tests.hosts.cluster import Cluster
from tests.hosts.machines import until
from tests.hosts.test_hosts_and_faults import settled

pytestmark = pytest.mark.hosts
STEPS, INTERVAL = 1600, 100  # of training, and between two checkpoints
SPEC: dict[str, Any] = {
    "name": "trained",
    "entrypoint": "trainer.run",
    "base": {
        **parts.sizes()["smoke"].base,
        "steps": STEPS,
        "eval_every_steps": STEPS // 4,
        "checkpoint_every_steps": INTERVAL,
        "score": {"dev_sentences": 8},
    },
    "arms": [{"name": "base", "method": "fixed", "trials": 2}],  # of one config and one seed: twice the same
    "objective": {"metric": "dev_loss"},
    "keep": "all",
}


@pytest.mark.fault(28, real=True)
def test_a_run_that_goes_on_on_another_host_ends_as_the_one_that_was_left_alone(cluster: Cluster) -> None:
    study = str(cluster.ask("/studies", {"spec": SPEC})["study_id"])
    places = cluster.begun(study, 2)
    assert sorted(places.values()) == [cluster.a.name, cluster.b.name]
    alone, moved = sorted(places, key=lambda trial: places[trial] == cluster.b.name)
    ended = time.monotonic()
    cluster.b.end()
    until(lambda: len(cluster.tried(study)[moved]) == 2, within_s=90)
    print(f"a host is gone: attempt 2 after {time.monotonic() - ended:.1f} s")
    tried = cluster.done(study)
    settled(cluster, study)
    assert [attempt["state"] for attempt in tried[alone]] == ["completed"]
    first, second = tried[moved]
    assert (first["state"], second["state"]) == ("lost", "completed")
    assert second["provenance"]["host"] == cluster.a.name
    began_at = STEPS - int(second["clocks"]["steps"])
    assert second["resumed_from"] == f"{study}/{moved}/attempt-1/checkpoint-{began_at}"
    newest = int(first["saved_clocks"]["steps"])
    assert began_at in (newest, newest + INTERVAL)  # its last one may not have been told any more
    _same(cluster, study, alone, moved)


def _same(cluster: Cluster, study: str, alone: str, moved: str) -> None:
    """What they came to, in every digit, and every parameter in every bit."""
    one, other = (cluster.ask(f"/trials/{trial}") for trial in (alone, moved))
    assert one["config"] == other["config"]
    assert one["values"]["dev_loss"] > 0
    assert one["values"] == other["values"]
    runs = cluster.home / "runs" / study
    there = [_parameters(runs / alone / "attempt-1"), _parameters(runs / moved / "attempt-2")]
    assert there[0]
    assert there[0].keys() == there[1].keys()
    for name in there[0]:
        np.testing.assert_array_equal(there[0][name], there[1][name], err_msg=name, strict=True)


def _parameters(folder: Path) -> dict[str, Any]:
    with np.load(folder / "params.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
