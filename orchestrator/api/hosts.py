"""Which machines run trials, and how does another become one of them? It is told where the workers' Ray is,
and both machines show that they see the same files."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.auth import Admin, Reader
from orchestrator.api.bodies import StrictRoute
from orchestrator.api.deps import Here, Parts
from orchestrator.api.errors import told
from orchestrator.api.views import view
from orchestrator.ground.errors import BackendLost, MoveRefused
from orchestrator.ledger.records import HostState
from orchestrator.readings import hosts as readings
from orchestrator.runs import provenance, shared

router = APIRouter(tags=["hosts"], route_class=StrictRoute)


HostName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$", description="A host's name.")]


@view(readings.HostLine)
class Host(BaseModel):
    """A machine that runs trials."""

    state: HostState
    reason: str = Field(
        description="Of a host that is drained or set aside: why; of one that others use too: what."
    )
    places: int = Field(description="Trials at a time, at most.")
    has: dict[str, float] = Field(
        description="CPU, GPU and TPU (chips); GPU_GiB and TPU_GiB: the memory of one."
    )
    at_work: list[str] = Field(description="The trials that run there.")
    locks: bool = Field(description="False: locks on the files of runs were found not to reach from there.")
    slice: str = Field(description="The TPU slice that it is a host of, as Ray names it.")
    tpu_type: str = Field(description="Such as v3-16.")
    tpu_host: int | None = Field(description="Its place in the slice: the TPU's worker id.")


@view(readings.SliceLine)
class Slice(BaseModel):
    """A TPU slice of several hosts: a trial takes all of it or none."""

    hosts: list[str] = Field(description="The hosts of it that are there, by their place in it.")
    reason: str = Field(description="Why it is not whole, so that no trial begins on it; empty: it is whole.")


class HostList(BaseModel):
    items: list[Host]
    slices: list[Slice]


class Cluster(BaseModel):
    address: str = Field(description="host:port of the workers' Ray.")
    token: str = Field(description="What opens that Ray. Whoever holds it can run code on every host.")
    versions: dict[str, str] = Field(description="Of Python, Ray and orch: a host must have the same.")
    runs: str = Field(description="The folder of all runs, which a host must mount at the same path.")
    word: str = Field(description="What the file `.hosts/word` in that folder holds.")


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "0" * 32}]})
    name: str = Field(
        pattern=f"^{shared.ANSWER.pattern}$", description="The file in `.hosts` that the host has written."
    )


class Shared(BaseModel):
    shared: bool
    locks: bool = Field(description="Whether the lock that the host holds on that file is seen here.")


@router.get(
    "/hosts", summary="List the hosts that run trials", response_model=HostList, responses=told(401, 403)
)
def list_hosts(parts: Here, _: Reader) -> Any:
    """What each has, what runs there, which are not used and why: as whoever leads saw them last."""
    found = readings.hosts(parts.store, parts.settings.runs)
    items = [readings.to_dict(line) for line in found]
    return {"items": items, "slices": [readings.to_dict(each) for each in readings.slices(found)]}


@router.post(
    "/hosts/{host}/drain",
    summary="Empty a host",
    response_model=Host,
    responses=told(401, 403, 404, 422, 503),
)
def drain_host(parts: Here, host: HostName, caller: Admin) -> Any:
    """Nothing more begins there; its trials save and go on elsewhere. Until `use`."""
    return _drained(parts, host, by=caller.name)


@router.post(
    "/hosts/{host}/use",
    summary="Use a host again",
    response_model=Host,
    responses=told(401, 403, 404, 422, 503),
)
def use_host(parts: Here, host: HostName, _: Admin) -> Any:
    """Take back that it was drained."""
    return _drained(parts, host, by="")


def _drained(parts: Parts, host: str, *, by: str) -> dict[str, Any]:
    parts.store.drain_host(host, by=by)
    parts.nudge()
    return readings.to_dict(readings.host(parts.store, host, parts.settings.runs))


@router.get(
    "/cluster",
    summary="Get what a host needs to join",
    response_model=Cluster,
    responses=told(401, 403, 503),
)
def get_cluster(parts: Here, _: Admin) -> Any:
    """The address, the token and the versions of the workers' Ray, for `orch join`. 503 while none runs."""
    from orchestrator.backends import daemon

    address = daemon.find(parts.settings.home)
    if address is None:
        raise BackendLost("No workers run here yet: the service is starting them. Ask again in a moment.")
    return {
        "address": address,
        "token": daemon.token_path(parts.settings.home).read_text(),
        "versions": provenance.of_hosts(),
        "runs": str(parts.settings.runs),
        "word": shared.word_of(parts.settings.runs),
    }


@router.post(
    "/cluster/storage",
    summary="Check that a host's files are seen here",
    response_model=Shared,
    responses=told(400, 401, 403, 409, 422),
)
def check_storage(parts: Here, answer: Answer, _: Admin) -> Any:
    """Whether the file that a host has written is there, and locked by it. 409 where there is none."""
    locks = shared.is_held(parts.settings.runs, answer.name)
    if not shared.heard(parts.settings.runs, answer.name):
        raise MoveRefused(
            f"The file that the host has written is not in {parts.settings.runs} on the server. Mount the "
            f"disk of the server's ORCH_HOME on the host, at the same path."
        )
    return {"shared": True, "locks": locks}
