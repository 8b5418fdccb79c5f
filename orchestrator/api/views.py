"""How is a record of the core told over HTTP? As a model with the record's fields; NaN is null."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import BaseModel, JsonValue, create_model

from orchestrator.study.space import Point, Value

Model = TypeVar("Model", bound=BaseModel)
# What stands for the types of a record; a record that has its model stands here as well.
TOLD: dict[Any, Any] = {
    Mapping[str, float]: dict[str, float | None],
    Mapping[str, Any]: dict[str, JsonValue],
    Point: dict[str, Value],
}


def view(record: type, *without: str) -> Callable[[type[Model]], type[Model]]:
    """Give a model the fields of a dataclass, in its order, but for those that the model says itself. A field
    that the record lacks comes after the one before it in the model."""
    hints = get_type_hints(record)
    names = [field.name for field in fields(record) if field.name not in without]

    def filled(model: type[Model]) -> type[Model]:
        own = {name: (field.annotation, field) for name, field in model.model_fields.items()}
        at = 0
        for name in own:
            if name not in names:
                names.insert(at, name)
            at = names.index(name) + 1
        every: Any = {name: own.get(name) or (TOLD.get(hints[name], hints[name]), ...) for name in names}
        made = create_model(model.__name__, __doc__=model.__doc__, __module__=model.__module__, **every)
        TOLD[record] = made
        return cast("type[Model]", made)

    return filled
