"""Does the service answer as its own document says, whatever is asked? Requests made up from the document.

Every route, with a token and without, alone and in sequences. No answer may be a 5xx, no status or body other
than the document declares, and no route may forget to ask for a token.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("schemathesis", reason="schemathesis is a development dependency")

import hypothesis
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from orchestrator.api.app import create_app
from orchestrator.api.deps import Parts
from orchestrator.api.links import Links
from orchestrator.api.stream import Tail
from orchestrator.ground.keys import digest
from orchestrator.ground.settings import Settings
from orchestrator.ledger.records import ENDED, Role, Token
from orchestrator.service.runner import OFF
from tests.faults.world import World, created, small_study, world

ADDRESS = "http://127.0.0.1"
SECRET = "orch_a-token-of-an-admin"
BEARER = {"Authorization": f"Bearer {SECRET}"}
FEW, MANY = 5, 100  # requests a route
STREAM_S = 0.03  # how long a stream of events goes on
NOT_OURS = (
    checks.positive_data_acceptance,  # a schema cannot say which specs can run, nor which names exist
)
NO_WORKERS = {"GET /api/v1/cluster": (not_a_server_error,)}  # none run here: 503
OPEN = (checks.ignored_auth,)  # of an open service, where everybody on this machine is an admin

ODD = (("s3", "failing", {"fail_at_step": 15}), ("s4", "diverging", {"nan_at_step": 25}))

quick = hypothesis.settings(
    max_examples=FEW,
    deadline=None,
    derandomize=True,  # the same requests each time: what fails here fails again
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
long = hypothesis.settings(quick, max_examples=MANY, derandomize=False)


class Streams(Tail):
    """Streams tell of what was there, and then end by themselves."""

    def listen(self, **asked: Any) -> AsyncGenerator[bytes, None]:
        return super().listen(**{**asked, "lifetime_s": STREAM_S})


def document(place: World, *, tokens: bool) -> Any:
    """The document of a service with studies that have ended, in every way there is, and one that runs."""
    engine = place.engine()
    created(place, small_study(), study_id="s1")
    place.drive(engine, "s1")
    for study_id, name, odd in ODD:
        base = {**small_study().base, "rehearsal": odd}
        created(place, small_study(name=name, base=base), study_id=study_id)
        place.drive(engine, study_id)
    created(place, small_study(name="running"), study_id="s2")
    for _ in range(6):  # so far that some of its trials have said something
        place.step(engine)
    ended = {trial.state for study in place.store.studies() for trial in place.store.trials(study.study_id)}
    assert ended >= ENDED
    if tokens:
        place.store.add_token(Token("ada", digest(SECRET), Role.ADMIN, 0.0, None))
    tail = Streams(place.store)
    parts = Parts(
        settings=Settings(place.folder, "memory://", 2, requests_per_s=1_000_000),
        store=place.store,
        clock=place.clock,
        tail=tail,
        engine=lambda: OFF,
        nudge=engine.tick,
        key="",
        links=Links(now=place.clock.monotonic),
        open=not tokens,
        answer_within_s=0.0,
    )
    config = schemathesis.Config.from_dict({"base-url": ADDRESS})
    found = schemathesis.openapi.from_asgi("/api/v1/openapi.json", create_app(parts), config=config)
    found.hook("map_case")(at_what_there_is)
    return found


def at_what_there_is(_: Any, case: schemathesis.Case) -> schemathesis.Case:
    """Of ten valid requests seven ask for what exists; a made-up name never does."""
    if case.meta is None or case.meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
        return case
    for name, there in (
        ("study", ("s1", "running", "small", "failing", "s4")),
        (
            "trial",
            ("s1.base.0.0", "small.random.0.1", "running.base.0.0", "s3.grid.0.0", "diverging.base.0.0"),
        ),
    ):
        if name in case.path_parameters:
            dice = zlib.crc32(str(case.path_parameters[name]).encode())
            if dice % 10 < 7:
                case.path_parameters[name] = there[dice % len(there)]
    return case


def ask(document: Any, settings: hypothesis.settings, *, tokens: bool) -> None:
    """Every route in turn; all that fail are told together."""
    headers = BEARER if tokens else {}
    without = [*NOT_OURS, *(() if tokens else OPEN)]
    wrong = {}
    for found in document.get_all_operations():
        operation = found.ok()
        valid, invalid = (operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)

        @settings
        @hypothesis.given(case=valid | invalid)
        def answered_as_declared(case: schemathesis.Case, *, without: Any) -> None:
            case.call_and_validate(headers=headers, excluded_checks=without)

        try:
            answered_as_declared(without=[*without, *NO_WORKERS.get(operation.label, ())])
        except (Exception, BaseExceptionGroup) as failure:
            wrong[operation.label] = failure
    for label, failure in wrong.items():
        print(f"\n{label}\n{failure}")
    assert sorted(wrong) == []


def test_the_fuzzer_s_ledger_has_trials_of_every_end_and_its_streams_tell_of_them(tmp_path: Path) -> None:
    """Else the requests made up below would pass by what they are meant to meet."""
    made = document(world(tmp_path), tokens=False)
    said = made["/api/v1/studies/{study}/events"]["GET"].Case(
        path_parameters={"study": "failing"}, query={"after": 0}
    )
    answer = said.call()
    assert answer.status_code == 200
    assert b"event: started" in answer.content
    said.validate_response(answer, excluded_checks=[*NOT_OURS, *OPEN])  # every event is as declared


# -- short: in every run -----------------------------------------------------------------------------------
@pytest.mark.fault(22)
def test_with_tokens_every_answer_is_as_declared(tmp_path: Path) -> None:
    ask(document(world(tmp_path), tokens=True), quick, tokens=True)


@pytest.mark.fault(22)
def test_without_tokens_every_answer_is_as_declared(tmp_path: Path) -> None:
    ask(document(world(tmp_path), tokens=False), quick, tokens=False)


# -- long: make test-slow ----------------------------------------------------------------------------------
@pytest.mark.fault(22)
@pytest.mark.slow
@pytest.mark.parametrize("tokens", [True, False])
def test_many_requests_are_answered_as_declared(tmp_path: Path, tokens: bool) -> None:
    ask(document(world(tmp_path), tokens=tokens), long, tokens=tokens)


@pytest.mark.fault(22)
@pytest.mark.slow
def test_sequences_of_requests_are_answered_as_declared(tmp_path: Path) -> None:
    machine: Any = document(world(tmp_path), tokens=True).as_state_machine()

    class Sequence(machine):  # type: ignore[misc]
        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"headers": BEARER}

        def validate_response(self, response: Any, case: schemathesis.Case, **_: Any) -> None:
            case.validate_response(response, excluded_checks=list(NOT_OURS))

    Sequence.run(settings=hypothesis.settings(long, max_examples=60, stateful_step_count=8))
