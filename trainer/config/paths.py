"""What stands in a config, a plain dict, at a dotted path, and what is it with another value there?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def value_at(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    place: Any = config
    for key in path.split("."):
        if not isinstance(place, Mapping) or key not in place:
            return None
        place = place[key]
    return place


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the value of each dotted path replaced; missing sections are made."""
    changed: dict[str, Any] = copied(dict(config))
    for path, value in values.items():
        *sections, key = path.split(".")
        place = changed
        for section in sections:
            inner = place.get(section)
            place[section] = inner = dict(inner) if isinstance(inner, dict) else {}
            place = inner
        place[key] = value
    return changed


def copied(value: Any) -> Any:
    """Of what a config can hold. Unlike `copy.deepcopy` it makes two of what stands at two places, so that
    a change at one is none at the other."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(copied, value))
    return value
