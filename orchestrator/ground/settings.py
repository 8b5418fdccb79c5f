"""Which environment variables matter? Read once, validated at the start."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.ground.errors import BadSpec

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FILE = "sqlite:///"
LEDGERS = (FILE, "postgresql://")
TRACKING = re.compile(r"databricks|(https?|databricks|(sqlite|postgresql|mysql|mssql)(\+\w+)?)://.+")

ADDRESS = re.compile(r"[A-Za-z0-9_.-]+:[0-9]{1,5}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LEAST_PORTS = 20  # a Ray has eight of its own, and each worker needs one

_LOGIN = re.compile(r"^([\w.+-]+://)?(?:[^:@/]*:[^@]*@)?(?:[^@/?#]*@)?")
_SECRET_PARAMETER = re.compile(r"(?<=[?&])[^=&]*(?:pass|pwd|odbc_connect)[^=&]*=[^&#]*&?", re.IGNORECASE)


@dataclass(frozen=True)
class Settings:
    """home: where everything lies. ledger: its address. workers: trials at a time on this machine.

    mlflow: the address of the store that studies are mirrored to; None: they are not. mlflow_ui: where
    browsers find MLflow's pages, if that is not the store's own address. proxies: who stands before the
    service, and is believed in whose name it asks. ray: the cluster whose hosts run the trials; None: orch's
    own. storage: the folder, on a disk that all hosts mount, of what runs write; None: the home. ports:
    the first and the last that the workers' Ray may listen on; None: any. passed: the variables that workers
    on all hosts are given. head_state: whether the workers' Ray of a service keeps on
    disk what it knows. other_code: what becomes of a trial whose entrypoint is another file on its host,
    refuse or tell.
    """

    home: Path
    ledger: str
    workers: int
    mlflow: str | None = None
    requests_per_s: int = 200  # of one client of the service; five times as many in a burst
    mlflow_ui: str | None = None
    proxies: tuple[Network, ...] = ()
    ray: str | None = None
    storage: Path | None = None
    ports: tuple[int, int] | None = None
    passed: tuple[str, ...] = ()
    head_state: bool = True
    other_code: str = "refuse"

    @property
    def ledger_file(self) -> Path | None:
        """Where a SQLite ledger lies; None for another."""
        file = self.ledger.removeprefix(FILE)
        return None if file == self.ledger else Path(file).expanduser()

    @property
    def runs(self) -> Path:
        return (self.storage or self.home) / "runs"

    @property
    def reports(self) -> Path:
        return self.home / "reports"


def without_secrets(address: str) -> str:
    """The address of a server or database for people to see: without what one logs in with.

    A password may hold any character but @ (SQLAlchemy's grammar); in a user's name alone / ends it.
    """
    if address.startswith(FILE):  # a path, as it stands
        return address
    return _SECRET_PARAMETER.sub("", _LOGIN.sub(r"\1", address)).rstrip("?&")


def home_of(environ: Mapping[str, str]) -> Path:
    """ORCH_HOME, or ./orch-data."""
    try:
        return Path(environ.get("ORCH_HOME") or "orch-data").absolute()
    except FileNotFoundError:
        raise BadSpec(
            "The folder that this was called in has been deleted. Go to another, or set ORCH_HOME."
        ) from None


def cores() -> int:
    """The cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """ORCH_HOME (./orch-data), ORCH_LEDGER (SQLite under ORCH_HOME), ORCH_WORKERS (one a core),
    ORCH_MLFLOW (on), MLFLOW_TRACKING_URI (SQLite under ORCH_HOME), ORCH_MLFLOW_UI (the same, if that is a
    server), ORCH_REQUESTS_PER_S (200), ORCH_PROXIES (none), ORCH_RAY (orch's own), ORCH_STORAGE (ORCH_HOME),
    ORCH_PORTS (any), ORCH_PASS (none), ORCH_HEAD_STATE (on), ORCH_OTHER_CODE (refuse)."""
    home = home_of(environ)
    ledger = environ.get("ORCH_LEDGER") or f"{FILE}{home / 'ledger.db'}"
    problems = []
    if not ledger.startswith(LEDGERS):
        shown = ledger.split("://")[0][:40]  # the rest may hold a password
        problems.append(
            f"ORCH_LEDGER begins with {shown!r}. Allowed: sqlite:///path/to/file or postgresql://user@host/name."
        )
    try:
        if home.exists() and not home.is_dir():
            problems.append(f"ORCH_HOME is {home}, which is a file. Name a folder.")
    except OSError as problem:  # in a folder of another user's
        problems.append(
            f"ORCH_HOME is {str(home)[:200]}, which cannot be looked at ({problem.strerror}). "
            f"Name another folder."
        )
    workers = environ.get("ORCH_WORKERS") or str(cores())
    if not workers.isdecimal() or not 1 <= int(workers) <= 1024:
        problems.append(f"ORCH_WORKERS is {workers[:40]!r}. Allowed: a whole number from 1 to 1024.")
    rate = environ.get("ORCH_REQUESTS_PER_S") or str(Settings.requests_per_s)
    if not rate.isdecimal() or not 1 <= int(rate) <= 1_000_000:
        problems.append(f"ORCH_REQUESTS_PER_S is {rate[:40]!r}. Allowed: a whole number from 1 to 1000000.")
    proxies, wrong = _networks(environ.get("ORCH_PROXIES") or "")
    problems += wrong
    mirrored = environ.get("ORCH_MLFLOW") or "on"
    if mirrored not in ("on", "off"):
        problems.append(f"ORCH_MLFLOW is {mirrored[:40]!r}. Allowed: on, off.")
    mlflow = environ.get("MLFLOW_TRACKING_URI") or f"{FILE}{home / 'mlflow.db'}"
    if mirrored != "off":
        problems += _not_a_store(mlflow)
    pages = environ.get("ORCH_MLFLOW_UI") or None
    if pages is not None and not _has_host(pages):
        problems.append(
            f"ORCH_MLFLOW_UI is {pages[:60]!r}. Allowed: the http:// or https:// address at which browsers "
            f"find MLflow's pages."
        )
    ray, storage, ports, passed, wrong = _of_hosts(environ)
    problems += wrong
    head_state = environ.get("ORCH_HEAD_STATE") or "on"
    if head_state not in ("on", "off"):
        problems.append(f"ORCH_HEAD_STATE is {head_state[:40]!r}. Allowed: on, off.")
    other_code = environ.get("ORCH_OTHER_CODE") or "refuse"
    if other_code not in ("refuse", "tell"):
        problems.append(f"ORCH_OTHER_CODE is {other_code[:40]!r}. Allowed: refuse, tell.")
    if problems:
        raise BadSpec(problems)
    return Settings(
        home=home,
        ledger=ledger,
        workers=int(workers),
        mlflow=None if mirrored == "off" else mlflow,
        requests_per_s=int(rate),
        mlflow_ui=pages,
        proxies=proxies,
        ray=ray,
        storage=storage,
        ports=ports,
        passed=passed,
        head_state=head_state == "on",
        other_code=other_code,
    )


def _of_hosts(
    environ: Mapping[str, str],
) -> tuple[str | None, Path | None, tuple[int, int] | None, tuple[str, ...], list[str]]:
    """ORCH_RAY, ORCH_STORAGE, ORCH_PORTS and ORCH_PASS, and what is wrong with them."""
    problems = []
    ray, storage = environ.get("ORCH_RAY") or None, environ.get("ORCH_STORAGE") or None
    if ray is not None and not ADDRESS.fullmatch(ray):
        problems.append(
            f"ORCH_RAY is {ray[:60]!r}. Allowed: host:port of a Ray cluster's head, such as 10.0.0.5:6379."
        )
    if storage is not None and ("://" in storage or not Path(storage).is_absolute()):
        problems.append(
            f"ORCH_STORAGE is {storage[:60]!r}. Allowed: the path of a folder, from the root, that all hosts "
            f"mount at the same place. Mount a bucket, and give the mounted path."
        )
    ports, given = None, environ.get("ORCH_PORTS") or ""
    if given:
        first, _, last = given.partition("-")
        if first.isdecimal() and last.isdecimal() and int(first) >= 1024 and int(last) <= 65535:
            ports = int(first), int(last)
        if ports is None or ports[1] - ports[0] + 1 < LEAST_PORTS:
            problems.append(
                f"ORCH_PORTS is {given[:40]!r}. Allowed: the first and the last port, such as 20000-20100, "
                f"between 1024 and 65535, at least {LEAST_PORTS} of them."
            )
    passed = tuple(filter(None, map(str.strip, (environ.get("ORCH_PASS") or "").split(","))))
    kept = [name for name in passed if not VARIABLE.fullmatch(name) or name.startswith("ORCH_")]
    problems += [
        f"ORCH_PASS names {name[:40]!r}. Allowed: names of variables, separated by commas; none of orch's."
        for name in kept
    ]
    return ray, None if storage is None else Path(storage), ports, passed, problems


def _networks(given: str) -> tuple[tuple[Network, ...], list[str]]:
    """The addresses and networks of ORCH_PROXIES, and what is wrong with it."""
    found, problems = list[Network](), list[str]()
    for each in filter(None, map(str.strip, given.split(","))):
        try:
            found.append(ipaddress.ip_network(each, strict=False))
        except ValueError:
            problems.append(
                f"ORCH_PROXIES names {each[:60]!r}, which is no IP address and no network. Allowed: "
                f"addresses and networks, separated by commas, such as 127.0.0.1,10.0.0.0/8."
            )
    return tuple(found), problems


def _not_a_store(address: str) -> list[str]:
    """What is wrong with the address of an MLflow store. (MLflow writes no folders of files any more.)"""
    allowed = (
        "Allowed: http://host:port or https://host of a server, sqlite:///path/to/file, or another database "
        "that MLflow knows. To mirror nothing, set ORCH_MLFLOW=off."
    )
    shown = address.split("://")[0][:40]  # the rest may hold a password
    if not TRACKING.fullmatch(address):
        return [f"MLFLOW_TRACKING_URI begins with {shown!r}. {allowed}"]
    if address.startswith(FILE) and set("?%") & set(address):
        return [
            f"MLflow would take the ? or % in {address} for something else than a file's name. Name another "
            f"folder in ORCH_HOME, or another file in MLFLOW_TRACKING_URI. To mirror nothing, set "
            f"ORCH_MLFLOW=off."
        ]
    if address.startswith("http") and not _has_host(address):
        return [f"MLFLOW_TRACKING_URI names no host after {shown}://. {allowed}"]
    return []


def _has_host(address: str) -> bool:
    """Whether it is the address of a server."""
    try:
        return address.startswith(("http://", "https://")) and bool(urlsplit(address).hostname)
    except ValueError:  # an address in brackets that is none
        return False
