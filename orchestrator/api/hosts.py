"""How does another machine become a host of this service's studies? It is told where the workers' Ray is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from orchestrator.api.auth import Admin
from orchestrator.api.deps import Here
from orchestrator.api.errors import told
from orchestrator.ground.errors import BackendLost
from orchestrator.runs import provenance

router = APIRouter(tags=["hosts"])


class Cluster(BaseModel):
    address: str = Field(description="host:port of the workers' Ray.")
    token: str = Field(description="What opens that Ray. Whoever holds it can run code on every host.")
    versions: dict[str, str] = Field(description="Of Python, Ray and orch: a host must have the same.")


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
    }
