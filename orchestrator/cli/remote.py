"""What can be asked of a service? The site of studies that somebody else's `orch serve` runs."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from pydantic import TypeAdapter

from orchestrator.cli.findings import Conclusion, conclusion_of
from orchestrator.cli.foreground import Interrupts, show_result
from orchestrator.cli.output import note
from orchestrator.cli.progress import Running, Seen, heard_of, shown
from orchestrator.client import Client, Ears, Heard, Json, at_rest, running
from orchestrator.ground.errors import BadSpec, LedgerBusy, MoveRefused, NotFound
from orchestrator.ground.settings import Settings
from orchestrator.ledger.records import (
    ENDED,
    AttemptRow,
    AttemptState,
    Event,
    StoredEvent,
    StudyRow,
    TrialRow,
    TrialState,
    Wish,
    study_of,
)
from orchestrator.readings.hosts import HostLine
from orchestrator.readings.overview import ArmLine, Overview
from orchestrator.readings.states import Status, stored
from orchestrator.runs.output import Output
from orchestrator.runs.schedules import LearnedSchedule
from orchestrator.service.creation import Created
from orchestrator.study.canonical import canonical
from orchestrator.study.plan import Plan
from orchestrator.study.spec import NAME, StudySpec

if TYPE_CHECKING:
    from dashboards.evidence.tables import Table

Row = TypeVar("Row", TrialRow, AttemptRow, ArmLine)

REQUEST = ("study_id", "verb", "detail", "asked_at", "asked_by", "answer")
LOOK_EVERY_S = 1.0  # at least, also when no trial says anything
NEWS_S = 0.25  # at most so often, however much they say
NUMBERS = ("values", "charged", "productive", "clocks", "saved_clocks")
TRIAL = re.compile(rf"{NAME.pattern}\.{NAME.pattern}\.[0-9]{{1,9}}\.[0-9]{{1,9}}")


class RemoteSite:
    def __init__(self, settings: Settings, client: Client) -> None:
        self.settings, self.client = settings, client
        self.name = client.url

    # -- before a study ------------------------------------------------------------------------------
    def plan(self, spec: StudySpec, *, slots: int | None, refuse_above: float | None) -> Plan:
        told = self.client.plan(spec=_written(spec), slots=slots, refuse_above=refuse_above)
        return TypeAdapter(Plan).validate_python(told)

    def create(self, spec: StudySpec, *, workers: int | None, refuse_above: float | None) -> Created:
        if workers is not None:
            raise BadSpec("--workers is about this machine, and the service has its own. Leave it out.")
        made = self.client.create(spec=_written(spec), attach=True, refuse_above=refuse_above)
        return Created(self.study(made["study_id"]), attached=made["attached"])

    # -- hosts ---------------------------------------------------------------------------------------
    def hosts(self) -> list[HostLine]:
        return [_host(told) for told in self.client.hosts()]

    def leads(self) -> bool:
        return self.client.ready()["leader"] is not None

    def path_of(self, key: str) -> str:
        """Below the folder of the service's runs."""
        return key

    def drain_host(self, name: str) -> HostLine:
        return _host(self.client.drain_host(name))

    def use_host(self, name: str) -> HostLine:
        return _host(self.client.use_host(name))

    # -- look ----------------------------------------------------------------------------------------
    def listed(self) -> list[Json]:
        return list(self.client.studies())[::-1]

    def study(self, name: str) -> StudyRow:
        view = self._view(name)
        return StudyRow(
            study_id=view["study_id"],
            name=view["study"],
            spec=view["spec"],
            spec_hash="",  # not told, and nobody here asks
            state=stored(Status(view["status"])),
            created_at=view["created_at"],
            reason=view["reason"],
        )

    def overview(self, study: StudyRow) -> Overview:
        return _overview(self._view(study.study_id))

    def requests(self, study: StudyRow) -> list[Wish]:
        return [
            Wish(wish_id=told["request_id"], **{name: told[name] for name in REQUEST})
            for told in self.client.requests(study.study_id)
        ]

    def running(self, study: StudyRow) -> int:
        return running(self._view(study.study_id))

    def trials(self, study: StudyRow, *, arm: str | None, state: TrialState | None) -> list[TrialRow]:
        """Of their configs only the seed."""
        found = self.client.trials(study.study_id, arm=arm, state=state)
        return [_trial({**each, "config": {"seed": each.get("seed")}}) for each in found]

    def trial(self, given: str) -> TrialRow:
        return _trial(self._trial_view(given))

    def attempts(self, trial: TrialRow) -> list[AttemptRow]:
        return [
            _row(AttemptRow, {**each, "state": AttemptState(each["state"])})
            for each in self._trial_view(trial.trial_id)["tried"]
        ]

    def events(self, trial: TrialRow, *, after: int, most: int) -> list[StoredEvent]:
        found = self.client.logs(trial.trial_id, after=after)
        return [_stored(trial.trial_id, each) for each in islice(found, most)]

    def output(self, trial: TrialRow, attempt: int, *, offset: int, tail: int | None) -> Output:
        if not attempt:
            return Output(0, 0, 0, 0, "")
        told = self.client.output(trial.trial_id, attempt=attempt, offset=offset, tail=tail)
        return Output(**{field.name: told[field.name] for field in fields(Output)})

    def artifacts(self, trial: TrialRow) -> list[Json]:
        where = f"{self.client.url}/api/v1/trials/{trial.trial_id}/artifacts"
        return [
            {"name": each["name"], "bytes": each["bytes"], "where": f"{where}/{each['name']}"}
            for each in self.client.artifacts(trial.trial_id)
        ]

    def charts(self, study: StudyRow) -> str | None:
        """The service's page of the study links to them."""
        return None

    def schedule(self, trial: TrialRow) -> LearnedSchedule:
        return self.client.schedule(trial.trial_id)

    def _view(self, name: str) -> Json:
        if not NAME.fullmatch(name):
            raise NotFound(f"There is no study {name[:80]!r}. `orch study list` shows all.")
        return self.client.study(name)

    def _trial_view(self, given: str) -> Json:
        if not TRIAL.fullmatch(given):
            raise NotFound(
                f"{given[:80]!r} is no trial. A trial is written study.arm.replicate.index, "
                f"such as bo-vs-guided-quick.base.0.0."
            )
        return self.client.trial(given)

    # -- what was found ------------------------------------------------------------------------------
    def table(self, study: StudyRow, *, metric: str | None) -> Table:
        from dashboards.evidence import table_values

        told = self.client.table(study.study_id, metric=metric)
        return table_values.from_dict(told["study"], told["table"])

    def verdict(self, study: StudyRow) -> Json:
        return conclusion_of(self.client.verdict(study.study_id))

    def conclude(self, study: StudyRow) -> Conclusion:
        told = self.client.verdict(study.study_id)
        report = f"{self.client.url}/api/v1/studies/{study.study_id}/report"
        return Conclusion(
            told["study"], told["status"], conclusion_of(told), self.table(study, metric=None), report
        )

    def report(self, study: StudyRow, folder: Path, *, slots: int | None) -> Conclusion:
        from dashboards.evidence import csv_tables, matrix, table_values
        from dashboards.report import files
        from dashboards.report.answer import table_dict

        answer = self.client.report(study.study_id, form="json", slots=slots)
        made = [table_values.from_dict(study.name, told) for told in answer["tables"]]
        texts = {
            files.MARKDOWN: self.client.report(study.study_id, form="md", slots=slots),
            **files.table_texts(made),
            **files.spec_and_answer(
                StudySpec.stored(study.spec),
                {**answer, "tables": [table_dict(each) for each in made]},
            ),
            files.PAGE: self.client.report(study.study_id, slots=slots),
        }
        if answer["matrix"] is not None:
            texts["matrix.csv"] = csv_tables.csv_text(matrix.CSV_HEADER, answer["matrix"]["cells"])
        path = files.write_texts(texts, folder)
        return Conclusion(study.name, answer["status"], conclusion_of(answer), made[0], str(path))

    # -- act -----------------------------------------------------------------------------------------
    def ask(self, study: StudyRow, verb: str, detail: Mapping[str, Any]) -> None:
        verbs: dict[str, Callable[[], Json]] = {
            "pause": lambda: self.client.pause(study.study_id),
            "drain": lambda: self.client.drain(study.study_id),
            "resume": lambda: self.client.resume(study.study_id),
            "cancel": lambda: self.client.cancel(study.study_id),
            "extend": lambda: self.client.extend(study.study_id, detail),
            "retry": lambda: self.client.retry(detail["trial_id"]),
            "delete": lambda: {"answer": "" if self.client.delete(study.study_id) else None},
        }
        try:
            request = verbs[verb]()
        except BadSpec as refusal:  # of an extension
            raise MoveRefused(str(refusal)) from None
        if request["answer"] is None:
            raise LedgerBusy(
                f"The request to {verb} stands, and no process has obeyed it yet: either none runs studies "
                f"there, or it is slow. Look with `orch study show {study.name}`."
            )

    def let_stop(self, study: StudyRow) -> None:
        """Whoever leads there sees to it."""

    def is_led(self) -> bool:
        return True

    def see_to_the_end(
        self,
        study: StudyRow,
        *,
        workers: int | None,
        as_json: bool,
        extra: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> int:
        with Interrupts() as interrupts:
            note(f"Following {study.name} at {self.name}. Ctrl-C stops following; it keeps running there.")
            fresh = bool(extra and extra.get("created"))
            if not self._follow(study, left=lambda: interrupts.asked, fresh=fresh):
                note(
                    f"{study.name} goes on at {self.name}. Follow it again: orch study watch {study.name}. "
                    f"To pause it: orch study pause {study.name}"
                )
                raise click.Abort
        return show_result(self, self.study(study.study_id), as_json=as_json, extra=extra, verbose=verbose)

    def watch(self, study: StudyRow) -> None:
        if not at_rest(self._view(study.study_id)):
            if self.client.ready()["leader"] is None:
                raise MoveRefused(
                    f"No process runs {study.name} now, so there is nothing to watch. {self.hint(study)}"
                )
            self._follow(study, left=lambda: False)

    def hint(self, study: StudyRow) -> str:
        if self.client.ready()["leader"] is None:
            return f"No process runs studies there now. Whoever keeps {self.name} can start it: orch serve"
        return f"The service runs it. Look with: orch study watch {study.name}"

    def left_alone(self, study: StudyRow) -> str:
        return self.hint(study)

    def _follow(self, study: StudyRow, *, left: Callable[[], bool], fresh: bool = False) -> bool:
        """Show its progress until it rests; False: the person left, and left the study alone."""
        with self.client.listening(study.study_id) as ears:
            sight = InService(self.client.patient(), study, ears)
            with shown(sight, study, fresh=fresh) as progress:
                while not sight.resting:
                    progress.update()
                    look_at = time.monotonic() + LOOK_EVERY_S
                    while True:
                        time.sleep(NEWS_S)
                        if left():
                            return False
                        if sight.resting or ears.news() or time.monotonic() > look_at:
                            break
        return True


class InService:
    """Looks at a study behind a service; what its trials say arrives by itself."""

    def __init__(self, client: Client, study: StudyRow, ears: Ears) -> None:
        self._client, self._study_id, self._ears = client, study.study_id, ears
        self._metric = StudySpec.stored(study.spec).objective.metric
        self._last: dict[tuple[str, int], Heard] = {}
        self._ended: dict[str, TrialRow] = {}
        self.resting = False

    def __call__(self) -> Seen:
        for heard in self._ears.heard(within_s=0.0):
            if heard.payload.get("values"):
                self._last[heard.trial_id, heard.attempt] = heard
        told = self._client.study(self._study_id)
        self.resting, view = at_rest(told), _overview(told)
        if view.ended != len(self._ended):  # a large study is not read again for every look
            self._ended = {
                trial["trial_id"]: _trial(trial)
                for state in ENDED
                for trial in self._client.trials(self._study_id, state=state)
            }
        live = [_trial(t) for t in self._client.trials(self._study_id, state=TrialState.RUNNING)]
        keys = {(trial.trial_id, trial.attempts) for trial in live}
        self._last = {key: heard for key, heard in self._last.items() if key in keys}
        return Seen(view, tuple(map(self._running, live)), tuple(self._ended.values()))

    def _running(self, trial: TrialRow) -> Running:
        key = (trial.trial_id, trial.attempts)
        heard = self._last.get(key)
        said = None if heard is None else (heard.step, _numbers(heard.payload["values"]))
        return heard_of(key, said, metric=self._metric)


# -- records from what a service tells -------------------------------------------------------------------
def _host(told: Json) -> HostLine:
    return TypeAdapter(HostLine).validate_python(told)


def _written(spec: StudySpec) -> Json:
    """Without the keys that came later and say nothing: an older service would refuse them."""
    written: Json = json.loads(canonical(spec))
    return written


def _overview(view: Json) -> Overview:
    objective = view["spec"]["objective"]
    return Overview(
        study_id=view["study_id"],
        name=view["study"],
        status=view["status"],
        reason=view["reason"],
        metric=objective["metric"],
        goal=objective["goal"],
        arms=tuple(_row(ArmLine, arm) for arm in view["arms"]),
        failure=view["failure"],
        failed_trial=view["failed_trial"],
        waits=view.get("waits", ""),  # a service of before does not say it
    )


def _trial(view: Json) -> TrialRow:
    return _row(TrialRow, {"config": {}, **view, "state": TrialState(view["state"])})


def _stored(trial_id: str, told: Json) -> StoredEvent:
    payload = {
        key: _numbers(value) if key in ("values", "hyper", "clocks") else value
        for key, value in told["payload"].items()
    }
    event = Event(
        trial_id=trial_id,
        attempt=told["attempt"],
        sequence=told["sequence"],
        kind=told["kind"],
        step=told["step"],
        payload=payload,
        at=told["at"],
    )
    return StoredEvent(told["event_id"], study_of(trial_id), event)


def _row(kind: type[Row], told: Json) -> Row:
    """A record by its fields' names; a service may tell more than we know of."""
    known: Json = {f.name: told[f.name] for f in fields(kind)}
    return kind(**known | {name: _numbers(known[name]) for name in NUMBERS if name in known})


def _numbers(told: Mapping[str, float | None]) -> dict[str, float]:
    """JSON has no NaN: what is not finite comes as null."""
    return {name: math.nan if value is None else value for name, value in told.items()}
