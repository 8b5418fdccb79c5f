"""Which variables do workers inherit? All but what one logs in with: training code is other people's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

# Of the service's environment its workers inherit all but what one logs in with: training code is other
# people's, and a Ray hands its own environment to every worker.
KEPT = ("ORCH_HOME",)  # of orch's own, the one that a worker reads
# A Ray's own variables (an address, a running Ray's ids) are for another Ray. libpq reads PG…, MLflow's
# client MLFLOW_TRACKING_…, and the containers of databases take their passwords by these names.
OTHERS = re.compile(
    r"ORCH_|RAY_|PG|POSTGRES|MYSQL|MARIADB|MLFLOW_TRACKING_|MLFLOW_BACKEND_|MLFLOW_REGISTRY_|DATABASE_URL",
    re.IGNORECASE,
)
# The address of a database with a login in it; that of a web proxy is needed to download text.
DATABASE = re.compile(r"(?!https?:|socks)[\w.+-]+://[^/?#\s]*:[^@\s]*@", re.IGNORECASE)
SECRET_PARAMETER = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
ADDRESSES = ("ORCH_LEDGER", "MLFLOW_TRACKING_URI")


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the Ray daemon, and so of its workers."""
    secrets = {environ.get("ORCH_TOKEN", ""), *_passwords(environ)} - {""}
    return {
        name: value
        for name, value in environ.items()
        if name in KEPT
        or not (OTHERS.match(name) or DATABASE.match(value) or value in secrets or _holds(value, secrets))
    }


def _passwords(environ: Mapping[str, str]) -> Iterator[str]:
    """Those in the addresses of the ledger and of MLflow's store, as written and as meant."""
    for name in ADDRESSES:
        try:
            address = urlsplit(environ.get(name, ""))
            found = [address.password or ""]
        except ValueError:  # no address at all
            continue
        found += [value for key, value in parse_qsl(address.query) if SECRET_PARAMETER.search(key)]
        for password in found:
            yield from (password, unquote(password))


def _holds(value: str, secrets: set[str]) -> bool:
    """A long secret is found anywhere in a value; a short one might be part of a path."""
    return any(secret in value for secret in secrets if len(secret) >= 8)
