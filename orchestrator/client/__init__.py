"""How does a program ask a service for studies? Launch one, follow it, take its tables: over HTTP.

    with Client("http://127.0.0.1:8000") as orch:
        study = orch.create(preset="bo-vs-guided", size="smoke")["study_id"]
        orch.wait(study)
        print(orch.table(study, form="md"))

What the API gives as an object is a dict here, with the API's keys. A refusal is the error that the command
line knows, with the service's own sentence; all are OrchError.
"""

from orchestrator.client.calls import Changes, Client, at_rest, running
from orchestrator.client.events import Ears, Heard
from orchestrator.client.http import Json
from orchestrator.ground.errors import (
    BackendLost,
    BadSpec,
    KeyUsed,
    LedgerBusy,
    MoveRefused,
    NameTaken,
    NotAllowed,
    NotFound,
    OrchError,
    ServiceLost,
)

__all__ = [
    "BackendLost",
    "BadSpec",
    "Changes",
    "Client",
    "Ears",
    "Heard",
    "Json",
    "KeyUsed",
    "LedgerBusy",
    "MoveRefused",
    "NameTaken",
    "NotAllowed",
    "NotFound",
    "OrchError",
    "ServiceLost",
    "at_rest",
    "running",
]
