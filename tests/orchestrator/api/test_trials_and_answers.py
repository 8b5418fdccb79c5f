"""Trials and what was found, over HTTP: the same numbers as the ledger and the reports have."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pytest

from orchestrator.api.deps import cursor
from orchestrator.api.results import Figure, Side, TableOf
from orchestrator.ledger.records import Event
from tests.orchestrator.api.conftest import Make, Service

TRIALS = "/api/v1/trials"
CLAIM = {"text": "random beats the base", "challenger": "random", "incumbent": "base"}


@pytest.fixture
def ended(make: Make) -> Service:
    service = make()
    service.ran(claim=CLAIM)
    return service


def _get(service: Service, path: str) -> Any:
    said = service.ask("GET", f"/api/v1/{path}")
    assert said.status == 200, said.body
    return said.json


def test_pages_of_trials_are_whole_and_in_order(service: Service) -> None:
    study = service.ran()
    seen, cursor = [], ""
    while cursor is not None:
        page = _get(service, f"studies/small/trials?limit=3{cursor and f'&cursor={cursor}'}")
        assert len(page["items"]) <= 3
        seen += [item["trial_id"] for item in page["items"]]
        cursor = page["next"]
    assert seen == [t.trial_id for t in service.store.trials(study.study_id)]
    some = _get(service, "studies/small/trials?arm=random&state=completed")["items"]
    assert [item["arm"] for item in some] == ["random"] * 3
    assert service.ask("GET", "/api/v1/studies/small/trials?state=done").status == 422


@pytest.mark.parametrize("number", [2**31, 2**63, 10**30, -1])
def test_a_place_that_no_ledger_has_is_no_cursor_of_ours(service: Service, number: int) -> None:
    service.ran()
    for place in (("random", number, 0), ("random", 0, number)):
        said = service.ask("GET", f"/api/v1/studies/small/trials?cursor={cursor(*place)}")
        assert (said.status, "is none of ours" in said.json["detail"]) == (422, True)
    last = _get(service, f"studies/small/trials?cursor={cursor('zzz', 2**31 - 1, 2**31 - 1)}")
    assert (last["items"], last["next"]) == ([], None)


def test_a_trial_is_shown_with_its_config_and_its_attempts(ended: Service) -> None:
    shown = _get(ended, "trials/small.random.0.1")
    row = ended.store.trial(shown["trial_id"])
    assert (shown["value"], shown["config"], shown["point"]) == (row.value, row.config, row.point)
    assert [a["state"] for a in shown["tried"]] == ["completed"]
    for name, status in (("small.random.0.99", 404), ("nothing.random.0.1", 404), ("small.random", 422)):
        assert ended.ask("GET", f"{TRIALS}/{name}").status == status


def test_logs_are_all_that_a_trial_said(ended: Service) -> None:
    row = ended.store.trials(ended.store.study("small").study_id)[0]
    seen, after = [], 0
    while after is not None:
        page = _get(ended, f"trials/{row.trial_id}/logs?after={after}&limit=2")
        seen += [(item["event_id"], item["kind"], item["step"]) for item in page["items"]]
        after = page["next"]
    stored = ended.store.events(trial_id=row.trial_id)
    assert seen == [(s.event_id, s.event.kind, s.event.step) for s in stored]


def test_trajectories_are_what_was_reported_by_step(ended: Service) -> None:
    row = ended.store.trials(ended.store.study("small").study_id)[0]
    reported: dict[str, dict[int, float]] = {}
    for stored in ended.store.events(trial_id=row.trial_id):
        for part in ("values", "hyper"):
            for name, value in stored.event.payload.get(part, {}).items():
                reported.setdefault(name, {})[stored.event.step] = value
    curves = {c["name"]: c for c in _get(ended, f"trials/{row.trial_id}/trajectories")["curves"]}
    assert {n: dict(zip(c["steps"], c["values"], strict=True)) for n, c in curves.items()} == reported
    (one,) = _get(ended, f"trials/{row.trial_id}/trajectories?name=train_loss&after=10&most=2")["curves"]
    steps = [step for step in reported["train_loss"] if step > 10]
    assert one["steps"] == [steps[0], steps[-1]]


def test_a_learned_schedule_is_given_step_by_step_or_not_found(ended: Service) -> None:
    row = ended.store.trials(ended.store.study("small").study_id)[0]
    assert ended.ask("GET", f"{TRIALS}/{row.trial_id}/schedule").status == 404
    folder = ended.parts.settings.runs / row.study_id / row.trial_id / "attempt-1"
    np.savez(folder / "schedule.npz", multiplier=np.float32([0.1, 1.0]), alpha=np.float32([1.0, np.nan]))
    curves = _get(ended, f"trials/{row.trial_id}/schedule")["curves"]
    assert curves == {"multiplier": [0.1, 1.0], "alpha": [1.0, None]}


def test_an_attempt_names_the_checkpoint_that_it_used_and_the_damaged_ones(service: Service) -> None:
    service.created()
    service.engine.tick()
    (attempt, *_) = service.store.live_attempts()
    epoch = service.store.lead(service.engine.who)
    assert epoch is not None
    payload = {"path": "c1", "damaged": ["c3", "c2"]}
    said = Event(*attempt.key, attempt.sequence + 1, "fallback", 4, payload, 0.0)
    assert service.store.append(epoch, [said]) == 1
    (shown,) = _get(service, f"trials/{attempt.trial_id}")["tried"]
    assert (shown["resumed_from"], shown["damaged"]) == ("c1", ["c3", "c2"])
    assert _get(service, f"trials/{attempt.trial_id}")["checkpoint"] == "c1"
    logged = _get(service, f"trials/{attempt.trial_id}/logs")["items"]
    assert [entry["payload"] for entry in logged if entry["kind"] == "fallback"] == [payload]


def test_only_a_failed_trial_is_tried_again(ended: Service) -> None:
    said = ended.ask("POST", f"{TRIALS}/small.random.0.1/retry")
    assert (said.status, said.json["type"]) == (409, "urn:orch:refused")
    assert "only a failed one can be tried again" in said.json["detail"]


def test_a_diverged_trial_has_null_where_it_has_no_number(make: Make) -> None:
    service = make()
    base = {
        "steps": 40,
        "eval_every_steps": 20,
        "checkpoint_every_steps": 10,
        "rehearsal": {"nan_at_step": 20},
    }
    study = service.ran(base=base, arms=[{"name": "base", "method": "fixed"}])
    (item,) = _get(service, "studies/small/trials")["items"]
    assert item["state"] == "diverged"
    stored = [s.event for s in service.store.events(study_id=study.study_id)]
    assert any(math.isnan(v) for e in stored for v in e.payload.get("values", {}).values())
    logs = _get(service, f"trials/{item['trial_id']}/logs")["items"]
    assert any(v is None for e in logs for v in e["payload"].get("values", {}).values())
    assert _get(service, "studies/small")["no_valid_result"] is True
    assert service.ask("GET", "/api/v1/studies/small/report?format=html").status == 200


# -- what was found ----------------------------------------------------------------------------------------
def test_the_report_comes_as_a_page_as_text_and_as_numbers(ended: Service) -> None:
    page = ended.ask("GET", "/api/v1/studies/small/report")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("sandbox ")
    assert "connect-src" not in page.headers["content-security-policy"]  # default-src 'none' covers it
    text = ended.ask("GET", "/api/v1/studies/small/report?format=md")
    assert (text.status, text.headers["content-type"][:13]) == (200, "text/markdown")
    numbers = _get(ended, "studies/small/report?format=json")
    assert numbers["verdict"] == _get(ended, "studies/small/verdict")["verdict"]
    assert ended.ask("GET", "/api/v1/studies/small/report?format=pdf").status == 422


def test_tables_come_in_four_forms_with_the_same_numbers(ended: Service) -> None:
    made = TableOf.model_validate(_get(ended, "studies/small/tables")).table
    text = ended.ask("GET", "/api/v1/studies/small/tables?format=csv")
    assert text.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(text.body.decode())))
    assert len(rows) >= len({cell["row"] for cell in made.cells})
    for form in ("md", "latex"):
        assert ended.ask("GET", f"/api/v1/studies/small/tables?format={form}").status == 200
    said = ended.ask("GET", "/api/v1/studies/small/tables?metric=bleu2")
    assert (said.status, said.json["detail"][:30]) == (422, "No run reported 'bleu2'. Repor")


def test_figures_are_listed_and_drawn(ended: Service) -> None:
    listed = _get(ended, "studies/small/figures")["items"]
    assert {"anytime", "learning"} <= {each["name"] for each in listed}
    for each in listed:
        drawn = Figure.model_validate(_get(ended, f"studies/small/figures/{each['name']}"))
        assert [plot.title for plot in drawn.plots] == each["plots"]
    assert ended.ask("GET", "/api/v1/studies/small/figures/nothing").status == 404


def test_a_study_without_a_single_run_has_answers_too(make: Make) -> None:
    service = make()
    service.led = False
    service.created(claim=CLAIM)
    assert _get(service, "studies/small/verdict")["verdict"]["answer"] == "undecided"
    for path in (
        "report",
        "report?format=md",
        "report?format=json",
        "tables",
        "tables?format=csv",
        "figures",
    ):
        assert service.ask("GET", f"/api/v1/studies/small/{path}").status == 200, path


@pytest.mark.fault(26)
def test_a_formula_in_a_name_stays_text_in_csv_and_a_script_in_a_page(make: Make) -> None:
    service = make()
    arms = [{"name": "base", "method": "fixed", "row": "=cmd|' /C calc'!A0", "trials": 1}]
    service.ran(arms=arms, question="<script>alert(1)</script>")
    text = service.ask("GET", "/api/v1/studies/small/tables?format=csv").body.decode()
    assert not any(cell.startswith("=") for row in csv.reader(io.StringIO(text)) for cell in row)
    assert "<script>alert(1)" not in service.ask("GET", "/api/v1/studies/small/report").body.decode()


# -- presets -----------------------------------------------------------------------------------------------
def test_presets_are_listed_and_what_is_given_can_be_posted(make: Make) -> None:
    service = make()
    presets = _get(service, "presets")["items"]
    assert "bo-vs-guided" in {each["name"] for each in presets}
    assert all(each["question"] and "smoke" in each["sizes"] for each in presets)
    given = _get(service, "presets/bo-vs-guided/smoke")
    said = service.ask("POST", "/api/v1/plans", {"spec": given})
    assert (said.status, said.json["study"]) == (200, given["name"])
    for path in ("presets/bo-vs-guidde/smoke", "presets/bo-vs-guided/huge"):
        assert service.ask("GET", f"/api/v1/{path}").status == 404


def test_what_each_seed_of_a_side_came_to_is_told_by_its_number() -> None:
    told = {"arm": "a", "label": "a", "spoken": "a", "values": {1000: 3.5, 1001: None}, "mean": 3.5}
    assert json.loads(Side.model_validate(told).model_dump_json())["values"] == {"1000": 3.5, "1001": None}
