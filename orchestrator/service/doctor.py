"""Is all that a study needs here? Each finding says what it is for and, when it is missing, what to do."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from orchestrator.ground import extras
from orchestrator.ground.errors import BadSpec, OrchError
from orchestrator.ground.release import DISTRIBUTION
from orchestrator.ground.settings import Settings, cores, from_environment, without_secrets
from orchestrator.runs.shared import no_locks

if TYPE_CHECKING:
    from orchestrator.backends.checkups import Asked

PYTHON = (3, 11)
ANSWER_WITHIN_S = 3.0  # a server of MLflow
FREE_GB = 1.0  # a quick study writes some MB; below this a disk is as good as full


@dataclass(frozen=True)
class Finding:
    """One look at one thing. `needed`: nothing works without it."""

    what: str
    ok: bool
    needed: bool
    found: str
    purpose: str
    advice: str = ""


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """All findings, in the order in which to mend them."""
    findings = [_python(), *_packages()]
    findings.append(Finding("cores", True, True, str(cores()), "one run on each at a time"))
    try:
        settings = from_environment(environ)
    except BadSpec as bad:
        return [
            *findings,
            Finding("settings", False, True, "invalid", "where files are stored", " ".join(bad.problems)),
        ]
    return [*findings, *_home(settings), _ledger(settings), _workers(settings), _mirror(settings)]


def of_hosts(environ: Mapping[str, str]) -> list[Finding]:
    """One for each host of the workers' Ray, by what it says of itself."""
    from orchestrator.backends import checkups, daemon

    settings = from_environment(environ)
    address = daemon.find(settings.home)
    if address is None:
        advice = "Start them with `orch serve`, or run a study."
        return [Finding("hosts", False, True, f"No workers run for {settings.home}.", "trials", advice)]
    token = daemon.token_path(settings.home) if settings.ray is None else None
    asked = checkups.of_hosts(address, token, settings.runs)
    return [*map(_host, asked), *_locks([a.name for a in asked if a.there is not None and not a.there.locks])]


def _host(asked: Asked) -> Finding:
    told = [asked.has]
    if asked.there is not None:
        told += [f"{name} {version}" for name, version in asked.there.versions.items()]
        told += [f"{asked.there.free_gb:.0f} GB free", f"clock {asked.off_s:+.0f} s"]
    return Finding(asked.name, not asked.troubles, True, ", ".join(told), "trials", " ".join(asked.troubles))


def _locks(without: list[str]) -> Iterator[Finding]:
    """Trials run without them."""
    if without:
        purpose = "one training of each trial when another machine leads"
        yield Finding("locks", False, False, f"not from {', '.join(without)}", purpose, no_locks(without))


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, PYTHON))
    return Finding(
        "Python", sys.version_info >= PYTHON, True, found, "everything", f"Install Python {wanted} or newer."
    )


def _packages() -> Iterator[Finding]:
    """Those of the base, then each extra and its own. Nobody has to want an extra; one without which studies
    cannot run is missing only where a part of it is here."""
    yield from (_package(module, purpose, needed=True) for module, purpose in extras.BASE.items())
    told: set[str] = set()
    for extra in extras.EXTRAS.values():
        gone = extras.absent(extra.modules)
        needed = extra.name == "run" and "ray" not in gone
        found = "here" if not gone else "in part" if len(gone) < len(extra.modules) else "not installed"
        advice = f"Install it: {extras.command(extra.name)}" if gone else ""
        yield Finding(f"[{extra.name}]", not gone, needed, found, extra.purpose, advice)
        for module, purpose in extra.modules.items():
            if module not in told:
                yield _package(module, purpose, needed=needed)
        told |= extra.modules.keys()


def _package(module: str, purpose: str, *, needed: bool) -> Finding:
    """What to do about a missing one says its extra; about one of the base, this."""
    name = extras.pip_name(module)
    if extras.absent([module]):  # nothing is imported: that would take seconds
        advice = "" if module not in extras.BASE else f"Install it: pip install {DISTRIBUTION}"
        return Finding(name, False, needed, "not installed", purpose, advice)
    try:
        return Finding(name, True, needed, metadata.version(name), purpose)
    except metadata.PackageNotFoundError:
        return Finding(name, True, needed, "version unknown", purpose)


def _home(settings: Settings) -> Iterator[Finding]:
    """Whether it can be written, found out without making it, and what its disk has left."""
    there = next(p for p in (settings.home, *settings.home.parents) if p.exists())
    writable = os.access(there, os.W_OK | os.X_OK)
    yield Finding(
        "ORCH_HOME",
        writable,
        True,
        f"{settings.home}" + ("" if there == settings.home else " (not made yet)"),
        "the ledger, checkpoints and logs",
        "" if writable else f"{there} cannot be written. Name another folder in ORCH_HOME.",
    )
    free_gb = shutil.disk_usage(there).free / 1e9
    yield Finding(
        "free disk",
        free_gb >= FREE_GB,
        True,
        f"{free_gb:.1f} GB",
        "checkpoints",
        ""
        if free_gb >= FREE_GB
        else f"Make room, or name a folder on another disk in ORCH_HOME; {FREE_GB:g} GB will do.",
    )


def _ledger(settings: Settings) -> Finding:
    from orchestrator.ledger import open_ledger

    shown = without_secrets(settings.ledger)
    try:
        if settings.ledger_file is not None and not settings.ledger_file.exists():
            return Finding(
                "ledger", True, True, f"{shown} (not made yet)", "study database (source of truth)"
            )
        with closing(open_ledger(settings.ledger)) as store:
            studies = len(store.studies())
    except (OrchError, OSError) as problem:
        return Finding("ledger", False, True, shown, "study database (source of truth)", str(problem))
    from orchestrator.ledger.migrations import UPGRADES, version_after

    found = f"{shown}, schema version {version_after(UPGRADES)}, studies: {studies}"
    return Finding("ledger", True, True, found, "study database (source of truth)")


def _workers(settings: Settings) -> Finding:
    """A study starts them by itself, so their absence is no fault."""
    from orchestrator.backends import daemon

    address = daemon.find(settings.home)
    return Finding("Ray daemon", True, False, address or "none runs (a study starts it)", "the workers")


def _mirror(settings: Settings) -> Finding:
    """A server that does not answer is no fault of a study's: what is missing there is written later."""
    from orchestrator.tracking.destination import destination

    place, purpose = destination(settings), "studies in MLflow"
    if place is None:
        return Finding("MLflow", True, False, "switched off (ORCH_MLFLOW=off)", purpose)
    if place.is_server and place.uri.startswith("http"):
        try:
            with urllib.request.urlopen(f"{place.shown.rstrip('/')}/health", timeout=ANSWER_WITHIN_S):
                pass
        except urllib.error.HTTPError:  # it answers
            pass
        except (OSError, http.client.HTTPException) as problem:  # no address, or no web server
            advice = f"It does not answer ({problem}). Studies run without it; later: orch mlflow sync"
            return Finding("MLflow", False, False, place.shown, purpose, advice)
    found = place.shown + (" (not made yet)" if place.is_emptied else "")
    return Finding("MLflow", True, False, found, purpose)
