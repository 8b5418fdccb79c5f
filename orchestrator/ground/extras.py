"""Which packages are optional, which extra brings each, and what is said where one is missing?

Nothing is imported to find that out.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from orchestrator.ground.errors import MissingPackage
from orchestrator.ground.release import DISTRIBUTION

NAMED = 3  # of the missing packages in a sentence


@dataclass(frozen=True)
class Extra:
    """modules: what its packages are imported as, and what each is for. The first tells whether the extra was
    asked for."""

    name: str
    purpose: str
    modules: Mapping[str, str]


BASE = {
    "click": "the command line",
    "httpx": "the client of a service",
    "pydantic": "specs",
    "rich": "live progress on a terminal",
    "yaml": "specs in YAML",
}
EXTRAS = {
    extra.name: extra
    for extra in (
        Extra(
            "run",
            "studies on this machine, and the service",
            {
                "ray": "the workers",
                "optuna": "Bayesian optimization",
                "jax": "training models",
                "flax": "training models",
                "optax": "training models",
                "sqlalchemy": "the ledger",
                "numpy": "drawn points, intervals",
                "scipy": "Sobol points, intervals",
                "babel": "the embedded text",
                "num2words": "the embedded text",
                "py3langid": "filters of text by language",
                "sacrebleu": "BLEU and chrF",
                "sentencepiece": "vocabularies",
                "fastapi": "the service",
                "fastapi_offline": "the service's own documentation",
                "uvicorn": "the service",
            },
        ),
        Extra(
            "report",
            "reports and the live page",
            {
                "plotly": "figures",
                "jinja2": "pages",
                "numpy": "drawn points, intervals",
                "scipy": "Sobol points, intervals",
            },
        ),
        Extra(
            "gp",
            "Bayesian optimization by a Gaussian process",
            {
                "torch": "Gaussian processes; a CPU build is enough",
                "greenlet": "halves the time of a GP proposal",
                "optuna": "Bayesian optimization",
                "scipy": "Sobol points, intervals",
            },
        ),
        Extra("mlflow", "the mirror of all runs in MLflow", {"mlflow": "the mirror to MLflow"}),
        Extra("tfds", "text of TensorFlow Datasets", {"tensorflow_datasets": "text of TensorFlow Datasets"}),
        Extra("postgres", "a ledger in PostgreSQL", {"psycopg": "a ledger in PostgreSQL"}),
        Extra("tune", "runs as trials of Ray Tune", {"tensorboardX": "Ray Tune", "ray": "the workers"}),
    )
}


def absent(modules: Iterable[str]) -> list[str]:
    """Those that are not installed."""
    return [module for module in dict.fromkeys(modules) if find_spec(module) is None]


def pip_name(module: str) -> str:
    return {"yaml": "pyyaml"}.get(module, module.replace("_", "-").lower())


def command(*extras: str) -> str:
    return f"pip install '{DISTRIBUTION}[{','.join(extras)}]'"


def bringing(modules: Iterable[str]) -> list[str]:
    """The extras that bring these modules; the first, of several that do."""
    wanted, found = set(modules), list[str]()
    for extra in EXTRAS.values():
        if wanted & extra.modules.keys():
            found.append(extra.name)
            wanted -= extra.modules.keys()
    return found


def lacking(who: str, modules: Iterable[str], *, extras: Iterable[str] = (), instead: str = "") -> str:
    """The sentence that `who` needs these packages; "" where all are installed. `extras`: those to be named,
    if they are not the first that bring them. `instead`: what else can be done."""
    gone = absent(modules)
    if not gone:
        return ""
    names = [pip_name(module) for module in gone]
    if len(names) > NAMED + 1:
        shown = f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more packages"
    else:
        shown = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    are, them = ("is", "it") if len(names) == 1 else ("are", "them")
    by = command(*(extras or bringing(gone)))
    return f"{who} needs {shown}, which {are} not installed. Install {them}: {by}{instead}"


def require(who: str, *extras: str) -> None:
    """Raise MissingPackage with that sentence, where one of these extras is not here whole."""
    modules = [module for name in extras for module in EXTRAS[name].modules]
    lack = [name for name in extras if absent(EXTRAS[name].modules)]
    if sentence := lacking(who, modules, extras=lack):
        raise MissingPackage(sentence)


class Later:
    """A module of an extra that is imported when it is first used, so that what never uses it needs none."""

    def __init__(self, module: str, who: str = "This") -> None:
        self._module, self._who = module, who

    def __getattr__(self, name: str) -> Any:
        if sentence := lacking(self._who, (self._module,)):
            raise MissingPackage(sentence)
        found = getattr(importlib.import_module(self._module), name)
        setattr(self, name, found)
        return found
