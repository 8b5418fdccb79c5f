"""What can be asked of a service? One method a question, named as in the API."""

from __future__ import annotations

import copy
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack
from urllib.parse import quote

from orchestrator.client.events import Ears, Heard, stream
from orchestrator.client.http import TIMEOUT_S, Json, Wire
from orchestrator.ground.errors import BadSpec, MoveRefused, NotFound
from trainer.protocol import whole

PAGE = 500  # the most that the service gives at once
ANSWER_WITHIN_S = 10.0  # what whoever leads is given to answer a request
LOOK_S = 0.5  # between two looks at a study that is waited for
SHARE = 20  # looking may take one part in so many of the time
MOST_BETWEEN_LOOKS_S = 10.0


class Changes(TypedDict, total=False):
    """What may differ from a preset."""

    trials: int  # of every arm that searches
    replicates: int
    search: str  # the method of every Bayesian arm
    pair: str
    init: str  # of finetuning, and so are the next four
    task: str
    path: str
    prefix: str
    metrics: Sequence[str]
    set: Mapping[str, Any]  # values in the base config, by dotted path


class Client:
    """A service (`orch serve`) as a Python object. Safe to use from several threads."""

    def __init__(
        self,
        url: str = "",
        *,
        token: str = "",
        patience_s: float | None = None,
        timeout_s: float = TIMEOUT_S,
        wait: Callable[[float], None] = time.sleep,
        refused_s: float | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """`url` and `token`: ORCH_URL and ORCH_TOKEN unless told. Without a token, a service on this machine
        is asked with the key in ORCH_HOME.

        `patience_s`: how long a service that does not answer is asked again, `refused_s`: one that takes no
        connection, by what only looks. `tell` is told of it; it goes to the log unless given.
        """
        told = {} if tell is None else {"tell": tell}
        self._wire = Wire(
            url, token, patience_s=patience_s, timeout_s=timeout_s, wait=wait, refused_s=refused_s, **told
        )

    @property
    def url(self) -> str:
        return self._wire.url

    def close(self) -> None:
        self._wire.close()

    def patient(self) -> Client:
        """The same client, for one who waits: `refused_s` is its `patience_s`."""
        made = copy.copy(self)
        made._wire = self._wire.patient()
        return made

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- create ------------------------------------------------------------------------------------------
    def presets(self) -> list[Json]:
        return list(self._get("/presets")["items"])

    def preset(self, name: str, size: str = "quick") -> Json:
        """The whole spec, to be changed and given to `create`."""
        return self._get(f"/presets/{_word(name)}/{_word(size)}")

    def plan(
        self,
        *,
        preset: str | None = None,
        size: str = "quick",
        spec: Mapping[str, Any] | None = None,
        name: str | None = None,
        refuse_above: float | None = None,
        slots: int | None = None,
        **changes: Unpack[Changes],
    ) -> Json:
        """What a study would run and cost, with `slots` runs at a time. Nothing is started."""
        asked = _asked(preset, size, spec, name, refuse_above, changes)
        return self._post("/plans", asked | ({} if slots is None else {"slots": slots}), key=_new_key())

    def create(
        self,
        *,
        preset: str | None = None,
        size: str = "quick",
        spec: Mapping[str, Any] | None = None,
        name: str | None = None,
        refuse_above: float | None = None,
        attach: bool = False,
        key: str | None = None,
        **changes: Unpack[Changes],
    ) -> Json:
        """A new study, which the service runs. `attach`: an equal one of that name will do as well.

        Asked again with the same `key`, also by another process, it answers as before and makes no other.
        """
        asked = {**_asked(preset, size, spec, name, refuse_above, changes), "attach": attach}
        return self.patient()._post("/studies", asked, key=key or _new_key())

    # -- look --------------------------------------------------------------------------------------------
    def studies(self, *, state: str | None = None, name: str | None = None) -> Iterator[Json]:
        """The newest first; `name`: a part of it."""
        return self._pages("/studies", {"state": state, "name": name})

    def study(self, study: str) -> Json:
        """How it stands, arm by arm, and its spec. By id or name, as everywhere."""
        return self._get(_study(study))

    def requests(self, study: str) -> list[Json]:
        """What people asked of it, and what came of that."""
        return list(self._get(f"{_study(study)}/requests")["items"])

    def request(self, study: str, request_id: int) -> Json:
        """One of them."""
        return self._get(f"{_study(study)}/requests/{request_id}")

    def trials(self, study: str, *, arm: str | None = None, state: str | None = None) -> Iterator[Json]:
        return self._pages(f"{_study(study)}/trials", {"arm": arm, "state": state})

    def trial(self, trial: str) -> Json:
        """`study.arm.replicate.index`: its config, its result and, as `tried`, its attempts."""
        return self._get(_trial(trial))

    def logs(self, trial: str, *, after: int = 0) -> Iterator[Json]:
        """All that a trial has reported after that event."""
        following: int | None = after
        while following is not None:
            page = self._get(f"{_trial(trial)}/logs", {"after": following, "limit": PAGE})
            yield from page["items"]
            following = page["next"]

    def output(
        self, trial: str, *, attempt: int | None = None, offset: int = 0, tail: int | None = None
    ) -> Json:
        """What an attempt printed (default: the newest), from `offset` on or its last lines. To follow it,
        ask again with `offset` = the answer's `next`."""
        query = {"attempt": attempt, "offset": offset, "tail": tail}
        return self._get(f"{_trial(trial)}/output", query)

    def artifacts(self, trial: str) -> list[Json]:
        """The files that the trial's outcome named: name and bytes."""
        return list(self._get(f"{_trial(trial)}/artifacts")["items"])

    def artifact(self, trial: str, name: str, path: str | Path) -> Path:
        """One of them, saved at that path, whole or not at all."""
        with whole(Path(path)) as file:
            self._wire.save(f"{_trial(trial)}/artifacts/{quote(name)}", file)
        return Path(path)

    def trajectories(
        self, trial: str, *, name: str | None = None, after: int = -1, most: int = 1000
    ) -> list[Json]:
        """Losses and hyperparameters by step: name, kind, steps and values of each curve."""
        query = {"name": name, "after": after, "most": most}
        return list(self._get(f"{_trial(trial)}/trajectories", query)["curves"])

    def schedule(self, trial: str) -> dict[str, list[Any]]:
        """Every step's multiplier and hyperparameters."""
        return dict(self._get(f"{_trial(trial)}/schedule")["curves"])

    def ready(self) -> Json:
        """Who leads, and how the service's engine stands."""
        return self._get("/health/ready")

    def version(self) -> str:
        return str(self._get("/version")["version"])

    def hosts(self) -> list[Json]:
        """The machines that run trials, and what each is at work on."""
        return list(self._get("/hosts")["items"])

    def drain_host(self, name: str) -> Json:
        """Nothing more begins there; its trials save and go on elsewhere."""
        return self._wire.read(self._wire.ask("POST", f"/hosts/{_word(name)}/drain"))

    def use_host(self, name: str) -> Json:
        return self._wire.read(self._wire.ask("POST", f"/hosts/{_word(name)}/use"))

    def cluster(self) -> Json:
        """What a host needs to join: the workers' Ray, the versions, and where the runs lie."""
        return self._get("/cluster")

    def sees(self, name: str) -> bool:
        """Whether the service sees this machine's lock on the file that it has written for it. MoveRefused
        unless it sees the file."""
        told = self._wire.read(self._wire.ask("POST", "/cluster/storage", body={"name": name}))
        return bool(told["locks"])

    def link(self) -> Json:
        """`url`: where a browser signs in with this client's token, once; it works for `expires_in_s`."""
        made = self._wire.read(self._wire.ask("POST", "/session/links"))
        return {"url": self.url + made["path"], "expires_in_s": made["expires_in_s"]}

    # -- what was found ----------------------------------------------------------------------------------
    def verdict(self, study: str) -> Json:
        return self._get(f"{_study(study)}/verdict")

    def table(
        self, study: str, *, metric: str | None = None, form: Literal["json", "md", "csv", "latex"] = "json"
    ) -> Any:
        """In the shape of the paper's table: a dict, or for the other forms their text."""
        query = {"metric": metric, "format": form}
        return self._text(f"{_study(study)}/tables", query, plain=form == "json")

    def report(
        self,
        study: str,
        path: str | Path | None = None,
        *,
        form: Literal["html", "md", "json"] = "html",
        slots: int | None = None,
    ) -> Any:
        """The whole answer, also before the end; with `path` written there, whole or not at all."""
        query = {"format": form, "slots": slots}
        found = self._text(f"{_study(study)}/report", query, plain=form == "json")
        if path is None:
            return found
        with whole(Path(path)) as file:
            file.write_text(found if isinstance(found, str) else json.dumps(found), encoding="utf-8")
        return Path(path)

    def figures(self, study: str) -> list[Json]:
        return list(self._get(f"{_study(study)}/figures")["items"])

    def figure(self, study: str, name: str) -> Json:
        """One figure, as plotly draws it."""
        return self._get(f"{_study(study)}/figures/{_word(name)}")

    # -- steer -------------------------------------------------------------------------------------------
    def pause(self, study: str) -> Json:
        return self._ask(_study(study), "pause")

    def drain(self, study: str) -> Json:
        return self._ask(_study(study), "drain")

    def resume(self, study: str) -> Json:
        return self._ask(_study(study), "resume")

    def cancel(self, study: str) -> Json:
        return self._ask(_study(study), "cancel")

    def extend(
        self,
        study: str,
        arms: Mapping[str, int] | None = None,
        *,
        seeds: int | None = None,
        arm: str | None = None,
    ) -> Json:
        """How many more trials each arm gets, in each replicate; or so many more fresh `seeds` in the
        confirmations of both sides of the claim, or of one arm."""
        asked: Json = {"arms": None if arms is None else dict(arms), "seeds": seeds, "arm": arm}
        return self._ask(_study(study), "extend", {k: v for k, v in asked.items() if v is not None})

    def retry(self, trial: str) -> Json:
        return self._ask(_trial(trial), "retry")

    def delete(self, study: str) -> bool:
        """A study that has ended, with its files. False: the request stands, and nobody has obeyed it yet."""
        answer = self._wire.ask("DELETE", _study(study))
        if answer.status_code == 204:
            return True
        try:
            self._obeyed(self._wire.read(answer))
        except NotFound:
            return True
        return False

    def _ask(self, path: str, verb: str, body: Json | None = None) -> Json:
        """The request, answered or (`answer` None) not yet. MoveRefused carries a refusal.

        It is sent once: who cannot tell whether an extension arrived must not ask for a second one.
        """
        return self._obeyed(self._wire.read(self._wire.ask("POST", f"{path}/{verb}", body=body)))

    def _obeyed(self, request: Json) -> Json:
        give_up_at = time.monotonic() + ANSWER_WITHIN_S
        while request["answer"] is None and time.monotonic() < give_up_at:
            self._wire.wait(LOOK_S)
            request = self.request(request["study_id"], request["request_id"])
        if request["answer"]:
            raise MoveRefused(request["answer"])
        return request

    # -- follow ------------------------------------------------------------------------------------------
    def events(self, study: str | None = None, *, after: int | None = None) -> Iterator[Heard]:
        """What trials say, as they say it, without an end: of one study or all, after that event or from now.

        A connection that breaks is made anew, and nothing is missed or heard twice.
        """
        return (heard for heard in stream(self._wire, _events(study), after=after) if heard is not None)

    @contextmanager
    def listening(self, study: str, *, after: int | None = None) -> Iterator[Ears]:
        """The same in a thread, for one who has something else to do meanwhile."""
        ears = Ears(stream(self._wire, _events(study), after=after))
        try:
            yield ears
        finally:
            ears.over = True

    def wait(
        self,
        study: str,
        *,
        on_event: Callable[[Heard], None] | None = None,
        timeout_s: float | None = None,
    ) -> Json:
        """Until nothing of the study runs and nothing will: how it stands then (`status` tells which way).

        `on_event` hears all that its trials have said and say, from the first word on.
        """
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        patient = self.patient()
        with self.listening(study, after=0) if on_event else nullcontext(_Deaf(self._wire.wait)) as ears:
            while True:
                began = time.monotonic()
                seen = patient.study(study)
                resting = at_rest(seen)
                took_s = time.monotonic() - began
                if not resting and give_up_at is not None and began >= give_up_at:
                    raise TimeoutError(f"The study {seen['study']} still runs after {timeout_s:g} s.")
                # A look that outlasted a restart of the service says nothing of how dear looks are.
                within_s = max(LOOK_S, min(took_s * SHARE, MOST_BETWEEN_LOOKS_S))
                if give_up_at is not None:
                    within_s = max(0.0, min(within_s, give_up_at - time.monotonic()))
                for heard in ears.heard(within_s=within_s, all_of_it=resting):
                    if on_event is not None:
                        on_event(heard)
                if resting:
                    return seen

    # -- requests ----------------------------------------------------------------------------------------
    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Json:
        return self._wire.read(self._wire.ask("GET", path, query=query))

    def _text(self, path: str, query: Mapping[str, Any], *, plain: bool) -> Any:
        answer = self._wire.ask("GET", path, query=query)
        return self._wire.read(answer) if plain else answer.content.decode()

    def _post(self, path: str, body: Json, *, key: str) -> Json:
        return self._wire.read(self._wire.ask("POST", path, body=body, key=key))

    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[Json]:
        cursor: str | None = None
        while True:
            page = self._get(path, {**query, "limit": PAGE, "cursor": cursor})
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return


class _Deaf:
    """For one who only looks."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        self._wait = wait

    def heard(self, *, within_s: float, all_of_it: bool = False) -> Iterator[Heard]:
        if not all_of_it:
            self._wait(within_s)
        return iter(())


def at_rest(seen: Mapping[str, Any]) -> bool:
    """Of what `Client.study` gives: nothing of it runs, and nothing will."""
    return seen["status"] in ("paused", "drained", "completed", "cancelled") and not running(seen)


def running(seen: Mapping[str, Any]) -> int:
    """How many of its trials run now."""
    return sum(arm["states"].get("running", 0) for arm in seen["arms"])


# -- words -----------------------------------------------------------------------------------------------
def _word(text: str) -> str:
    return quote(text, safe="+") or "-"


def _study(study: str) -> str:
    return f"/studies/{_word(study)}"


def _trial(trial: str) -> str:
    return f"/trials/{_word(trial)}"


def _new_key() -> str:
    return uuid.uuid4().hex


def _asked(
    preset: str | None,
    size: str,
    spec: Mapping[str, Any] | None,
    name: str | None,
    refuse_above: float | None,
    changes: Changes,
) -> Json:
    if (preset is None) == (spec is None):
        raise BadSpec("Give either preset= or spec=, and not both.")
    if spec is not None and changes:
        raise BadSpec(f"{', '.join(changes)} go with a preset. Change the spec itself.")
    given: Json = {"name": name, "refuse_above": refuse_above}
    what: Json = {"spec": dict(spec)} if spec else {"preset": {"name": preset, "size": size, **changes}}
    return what | {key: value for key, value in given.items() if value is not None}


def _events(study: str | None) -> str:
    return "/events" if study is None else f"{_study(study)}/events"
