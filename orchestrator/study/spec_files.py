"""What does this text ask for? Files and dicts to a StudySpec, or a sentence for each mistake.

Every limit is checked before what it protects from can cost anything: size before reading, aliases and
depth before building. YAML is read by the rules of YAML 1.2, where `off` is a word and 1e-3 a number.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.ground.errors import BadSpec, nearest
from orchestrator.ground.strict_json import (
    MOST_BYTES,
    MOST_DEPTH,
    cut,
    decoded,
    mistakes,
    object_of,
    parsed,
    shown,
    too_deep,
    too_large,
    too_many_digits,
)
from orchestrator.study.spec import Spec, StudySpec

MAX_YAML_NODES = 100_000  # about a second to build
MAX_SENTENCES = 100  # nobody reads more at once, and the nearest name of each costs a search
Model = TypeVar("Model", bound=Spec)


def read_spec(path: Path) -> StudySpec:
    """The spec in a JSON or YAML file, told apart by its suffix."""
    readers = {".json": parsed, ".yaml": _from_yaml, ".yml": _from_yaml}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadSpec(f"{path} is not read: its suffix is {path.suffix!r}. Allowed are {', '.join(readers)}.")
    text = _text(path)
    if not text.strip():
        raise BadSpec(
            f"{path} is empty. To begin with a preset's spec: orch study spec bo-vs-guided > {path}"
        )
    return spec_from_dict(reader(text, str(path)))


def spec_from_dict(data: Any) -> StudySpec:
    """The spec in a dict of JSON values. BadSpec holds all that is wrong."""
    return validated(StudySpec, data, called="")


def validated(model: type[Model], data: Any, *, called: str) -> Model:
    """A section of a config that is a spec of its own. BadSpec holds all that is wrong with it."""
    problems = list(mistakes(data, "The spec", called))
    if not problems and not isinstance(data, dict):
        problems = [
            f"{called} is {shown(data)}. Allowed is an object of keys and values."
            if called
            else f"A spec is an object of keys and values, and this is {shown(data)}."
        ]
    if problems:
        raise BadSpec(problems)
    try:
        # Strict, so that neither true nor "8" passes for a number; as JSON, so that lists pass for tuples.
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise BadSpec(_sentences(error, root=model, called=called)) from None


# -- text to values --------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadSpec(f"{path} cannot be read: {error.strerror}.") from None
    if len(raw) > MOST_BYTES:
        raise BadSpec(f"{too_large(str(path))} Is it the right file?")
    return decoded(raw.removeprefix(codecs.BOM_UTF8), str(path))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.2's core: no dates, no sexagesimal numbers, no merge keys, and booleans are true and false."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # replaces those of YAML 1.1


def _pairs(loader: Any, node: Any) -> Any:
    return object_of(loader.construct_pairs(node, deep=True))


def _whole(loader: Any, node: Any) -> int:
    return int(loader.construct_scalar(node))


for _tag, _form, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
):
    first = [c if c != "\0" else "" for c in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_form})$"), first)
_Loader.add_constructor("tag:yaml.org,2002:map", _pairs)
_Loader.add_constructor("tag:yaml.org,2002:int", _whole)


def _from_yaml(text: str, path: str) -> Any:
    try:
        _scan(text, path)
        return yaml.load(text, Loader=_Loader)  # a safe loader: see above
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise BadSpec(f"{path} is not YAML that a spec may use: {error.problem}{at}.") from None
    except yaml.YAMLError as error:  # characters that YAML does not allow
        raise BadSpec(f"{path} is not YAML: {cut(str(error).splitlines()[0])}.") from None
    except ValueError:
        raise BadSpec(too_many_digits(path)) from None


def _scan(text: str, path: str) -> None:
    """Refuse by the stream of events, before anything is built: ten lines of aliases can mean gigabytes."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > MAX_YAML_NODES:
            raise BadSpec(
                f"{path} holds more than {MAX_YAML_NODES:,} keys and values. Allowed in YAML are so many. "
                f"Write it as JSON, or make it smaller."
            )
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise BadSpec(
                f"{path} uses {cut(sign + event.anchor)!r} in line {line}. "
                f"Anchors and aliases are not allowed in a spec. Write the value out."
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                raise BadSpec(too_deep(path))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


# -- pydantic's findings as sentences --------------------------------------------------------------------

_ALLOWED = {  # by the beginning of pydantic's error type
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "an object of keys and values",
    "model": "an object of keys and values",
}
_BOUNDS = {
    "greater_than": ("gt", "a number above"),
    "greater_than_equal": ("ge", "a number of at least"),
    "less_than": ("lt", "a number below"),
    "less_than_equal": ("le", "a number of at most"),
    "too_short": ("min_length", "at least"),
    "too_long": ("max_length", "at most"),
}


def _sentences(error: ValidationError, *, root: type[Spec], called: str) -> list[str]:
    found = error.errors(include_url=False)
    blamed = {e["loc"][:n] for e in found for n in range(len(e["loc"]))}
    # Entries that are wrong are not counted, so a list of them is also called too short.
    said = [e for e in found if not (e["type"] == "too_short" and e["loc"] in blamed)]
    sentences = [_sentence(e, root, called) for e in said[:MAX_SENTENCES]]
    left = len(said) - len(sentences)
    return [*sentences, f"And {left:,} more."] if left else sentences


def _sentence(error: ErrorDetails, root: type[Spec], called: str) -> str:
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    place = _place(error["loc"], called)
    if kind == "value_error":  # our own validators speak in sentences
        return str(context["error"])
    if kind == "extra_forbidden":
        return _unknown_key(error["loc"], root, called)
    if kind == "missing":
        return f"{_place(error['loc'][:-1], called) or 'The study'} lacks {error['loc'][-1]!r}. Add it."
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"])
        return f"{place} is {shown(given)}.{nearest(given, names)} Allowed: {', '.join(names)}."
    if kind in ("too_short", "too_long"):
        key, words = _BOUNDS[kind]
        return f"{place} has {context['actual_length']} entries. Allowed are {words} {context[key]}."
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{place} is {shown(given)}. Allowed is {words} {context[key]:.10g}. Change it."
    allowed = _ALLOWED.get(kind.partition("_")[0])
    if allowed is not None:
        return f"{place} is {shown(given)}. Allowed is {allowed}."
    return f"{place} is {shown(given)}: {error['msg']}."


def _unknown_key(loc: tuple[int | str, ...], root: type[Spec], called: str) -> str:
    *parents, key = loc
    model = _model_at(parents, root)
    allowed = list(model.model_fields)
    where = _place(tuple(parents), called) or "the study"
    return f"Unknown key {shown(key)} in {where}.{nearest(key, allowed)} Allowed: {', '.join(allowed)}."


def _model_at(loc: Sequence[int | str], root: type[Spec]) -> type[Spec]:
    """The spec that stands at a place, as the annotations tell."""
    model = root
    for part in loc:
        if isinstance(part, str):
            found = _model_in(model.model_fields[part].annotation)
            assert found is not None, loc
            model = found
    return model


def _model_in(annotation: Any) -> type[Spec] | None:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a)) is not None), None)


def _place(loc: Sequence[int | str], called: str) -> str:
    text = called + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".")
