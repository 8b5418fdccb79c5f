"""What does a training program say of a config: is it sound, what does it learn, what can others take of it?

An entrypoint is a module (trainer/protocol.py), and a person's own code.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.ground.errors import BadSpec
from orchestrator.study.whereabouts import Code, beside, digest, here, located, require_from_there

OFFERED = ("check", "shape_key", "run")
# What an arm starts from that takes this of a run with that config; sentences where it cannot.
Inherit = Callable[[str, Mapping[str, Any]], dict[str, Any] | list[str]]
# Those found so far: by name and the folder that this process stood in, the module and its own folder.
_found: dict[tuple[str, str | None], tuple[ModuleType, str | None]] = {}


def find_entrypoint(name: str) -> ModuleType:
    """The module of that dotted name, from the current folder or what is installed. BadSpec when it is none,
    or lies in both."""
    module, _ = _found.get((name, here()), (None, None))
    if module is not None and sys.modules.get(name) is module:
        return module
    try:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ImportError("it is no dotted name")
        where = located(name)
        with beside(where.folder):
            module = importlib.import_module(name)
    except BadSpec:
        raise
    except (Exception, SystemExit) as why:  # it runs the person's own code
        raise BadSpec(
            f"The entrypoint {name[:80]!r} cannot be imported ({reason(why)}). "
            f"Name a module on the Python path that offers {', '.join(OFFERED)}, "
            f"such as 'orchestrator.rehearsal'."
        ) from why
    require_from_there(name, where)
    missing = [what for what in OFFERED if not callable(getattr(module, what, None))]
    if missing:
        raise BadSpec(
            f"The entrypoint {name[:80]!r} does not offer {', '.join(missing)}. "
            f"An entrypoint is a module with {', '.join(OFFERED)} (see trainer/protocol.py)."
        )
    _found[name, here()] = module, where.folder
    return module


def code_of(module: Any, name: str) -> Code:
    """What its runs are to load."""
    folder = _found.get((name, here()), (None, None))[1]
    file = getattr(module, "__file__", None) or ""
    return Code(here() or "", folder is not None, file, digest(file) if file else "")


def _asking(name: str) -> AbstractContextManager[None]:
    """While its functions are called: imports inside them are looked for where it lies."""
    return beside(_found.get((name, here()), (None, None))[1])


def find_shape_key(entrypoint: Any, name: str, config: Mapping[str, Any]) -> str:
    """What the entrypoint says of a config's program. BadSpec when it raises."""
    try:
        with _asking(name):
            return str(entrypoint.shape_key(config))
    except Exception as why:
        raise BadSpec(f"{name}.shape_key failed on a trial's config ({reason(why)}). Mend it.") from why


def objections(entrypoint: Any, name: str, config: dict[str, Any]) -> list[str]:
    """What the entrypoint has against a config, a sentence each."""
    try:
        with _asking(name):
            said = _sentences(entrypoint.check(config))
    except Exception as why:
        return [f"{name}.check failed ({reason(why)}). Mend it, or the config that it was asked about."]
    if not said:
        find_shape_key(entrypoint, name, config)
    return said


def misfits(entrypoint: Any, name: str, config: Mapping[str, Any], resources: Mapping[str, Any]) -> list[str]:
    """Why a run of that config cannot use what a trial holds; where an entrypoint has no `fits` it can."""
    try:
        with _asking(name):
            return _sentences(entrypoint.fits(config, resources)) if hasattr(entrypoint, "fits") else []
    except Exception as why:
        return [f"{name}.fits failed ({reason(why)}). Mend it, or the config that it was asked about."]


def learned(entrypoint: Any, name: str, config: Mapping[str, Any]) -> list[str]:
    """The hyperparameters that a run learns; an entrypoint that offers no `learns` learns none."""
    try:
        with _asking(name):
            return _sentences(entrypoint.learns(config)) if hasattr(entrypoint, "learns") else []
    except Exception as why:
        raise BadSpec(f"{name}.learns failed on an arm's config ({reason(why)}). Mend it.") from why


def inherited(
    entrypoint: Any,
    name: str,
    take: str,
    config: Mapping[str, Any],
    folder: Path | None = None,
    others: Sequence[Path] = (),
) -> dict[str, Any] | list[str]:
    """What an arm starts from that takes this of a run with that config; sentences where it cannot. `folder`
    is the finished run's, None before it has run; `others`, those of the runs that are taken together."""
    if take == "config":
        return dict(config)
    if not hasattr(entrypoint, "inherit"):
        return [f"The entrypoint {name} offers no inherit. Allowed is take: config."]
    try:
        more = (tuple(others),) if others else ()  # an inherit of three parameters goes on working
        with _asking(name):
            taken = entrypoint.inherit(take, config, folder, *more)
        return dict(taken) if isinstance(taken, Mapping) else _sentences(taken)
    except OSError:  # the disk's, which whoever runs the study can name
        raise
    except Exception as why:
        raise BadSpec(f"{name}.inherit failed ({reason(why)}). Mend it.") from why


def inherit_of(name: str) -> Inherit:
    """`inherited` of one entrypoint, which is imported once something else than a config is taken."""

    def inherit(take: str, config: Mapping[str, Any]) -> dict[str, Any] | list[str]:
        return dict(config) if take == "config" else inherited(find_entrypoint(name), name, take, config)

    return inherit


def _sentences(said: Any) -> list[str]:
    if isinstance(said, str) or not all(isinstance(each, str) for each in said):
        raise TypeError(f"it returned {said!r:.60}, which is no list of sentences")
    return list(said)


def reason(why: BaseException) -> str:
    text = " ".join(str(why).split())[:200]
    return text if isinstance(why, ImportError) else f"{type(why).__name__}: {text}"
