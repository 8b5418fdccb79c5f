"""A checkpoint was found damaged: do the command line and the trial's page name the one that was used?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI

from dashboards.web import routes
from orchestrator.ledger import Store
from orchestrator.ledger.records import Event
from tests.dashboards.asgi import get
from tests.faults.world import created, small_study, world
from tests.orchestrator.conftest import Orch

USED, DAMAGED = "a/checkpoint-4", ["b/checkpoint-8", "a/checkpoint-8"]
WORDS = "went on from a/checkpoint-4, since b/checkpoint-8 and a/checkpoint-8 are damaged"


def _fell_back(folder: Path, store: Store | None = None) -> tuple[Store, str]:
    """A ledger with a trial whose first attempt said so, and the trial."""
    there = world(folder, store=store)
    created(there, small_study())
    there.engine().tick()
    (attempt, *_) = there.store.live_attempts()
    epoch = there.store.lead("one")
    assert epoch is not None
    payload = {"path": USED, "damaged": DAMAGED}
    there.store.append(
        epoch, [Event(*attempt.key, attempt.sequence + 1, "fallback", 4, payload, 1700000000.0)]
    )
    return there.store, attempt.trial_id


def test_the_command_line_names_the_checkpoint_that_was_used_and_the_damaged_ones(
    orch: Orch, ledger: Callable[[], Store], home: Path, tmp_path: Path
) -> None:
    home.mkdir()
    store, trial = _fell_back(tmp_path / "runs", ledger())
    store.close()
    assert orch("trial", "show", trial).out.splitlines()[-1] == f"Attempt 1 {WORDS}."
    (shown,) = orch("trial", "show", trial, "--json").json["attempts"]
    assert (shown["resumed_from"], shown["damaged"]) == (USED, DAMAGED)
    assert orch("trial", "logs", trial).out.endswith(f"fallback    {WORDS}\n")


def test_the_page_names_the_checkpoint_that_was_used_and_the_damaged_ones(tmp_path: Path) -> None:
    store, trial = _fell_back(tmp_path)
    app = FastAPI()
    app.include_router(routes.router(store, presets=[], slots=2, role_of=lambda _: "admin"))
    text = get(app, f"/trials/{trial}").text
    assert f'<p class="small">Attempt 1 {WORDS}.</p>' in text
    assert f'<td class="text said">{WORDS}</td>' in text
    assert ">checkpoint-4</td>" in text
