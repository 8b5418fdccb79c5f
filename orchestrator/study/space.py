"""What may stand at a path of a search space: a number, a whole number, or one of a list of choices?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, WithJsonSchema, model_serializer, model_validator

from orchestrator.study.point import Point as Point
from orchestrator.study.point import Value as Value
from orchestrator.study.point import number_key as number_key
from orchestrator.study.point import value_text as value_text
from orchestrator.study.strict import LATER, Spec
from trainer.config.scales import Scale

Kind = Literal["float", "int", "choice"]
KINDS: tuple[Kind, ...] = ("float", "int", "choice")
KIND_WORDS: Mapping[Kind, str] = {"float": "floats", "int": "whole numbers", "choice": "choices"}

PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
LARGEST_WHOLE = 10**12  # up to here a place in the range, a float from 0 to 1, tells any two of them apart
MOST_CHOICES = 100
LONGEST_CHOICE = 200  # characters

Choice = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean"]})]


class Parameter(Spec):
    """One dimension of a search space: a dotted path into the config, and its range, values or choices."""

    path: str
    low: float | None = None
    high: float | None = None
    scale: Scale = "linear"
    values: tuple[float, ...] = ()  # for `grid`: these, and no range
    type: Annotated[Literal["float", "int", "bool"], LATER] = "float"
    step: Annotated[int, LATER, Field(ge=1)] = 1  # of a range of whole numbers
    choices: Annotated[tuple[Choice, ...], LATER, Field(max_length=MOST_CHOICES)] = ()

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A range of floats as before there were other kinds; whole numbers without a point."""
        fields = Parameter.model_fields
        written = {
            key: value
            for key, value in write(self).items()
            if LATER not in fields[key].metadata or getattr(self, key) != fields[key].default
        }
        if self.type == "int":
            numbers = {key: written[key] for key in ("low", "high") if written.get(key) is not None}
            written |= {key: int(number) for key, number in numbers.items()}
            written |= {"values": list(map(int, written["values"]))} if "values" in written else {}
        return written

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not PATH.fullmatch(self.path):
            raise ValueError(
                f"The path {self.path[:60]!r} is not a dotted name. Write it like 'optimizer.alpha'."
            )
        if self.type == "bool" and not self.choices:
            # short for its two choices, which alone are written down and hashed; the model is frozen
            self.__dict__.update(type="float", choices=(False, True))
        checks = self._of_choices if self.choices else self._of_values if self.values else self._of_range
        for problem in checks():
            raise ValueError(f"{self.path}: {problem}")
        return self

    def _of_choices(self) -> Iterator[str]:
        plain = Parameter.model_fields
        for key in ("low", "high", "values", "scale", "type", "step"):
            if getattr(self, key) != plain[key].default:
                yield f"{key} is given beside choices. Choices are a list without order: leave {key} out."
        seen: dict[tuple[str, object], Value] = {}
        for choice in self.choices:
            if problem := _no_choice(choice):
                yield problem
                continue
            known = number_key(choice)
            if known in seen:
                twins = f"{value_text(seen[known])} and {value_text(choice)}"
                yield f"{twins} are the same choice. Keep one of them."
            seen[known] = choice
        if len(self.choices) == 1:
            yield (
                f"{value_text(self.choices[0])} is its only choice. Allowed are two or more. "
                f"Add another, or put this one into the arm's config."
            )

    def _of_values(self) -> Iterator[str]:
        if self.low is not None or self.high is not None:
            yield "give either values or low and high, not both."
        if self.step > 1:
            yield f"step is {self.step} beside a list of values. Leave step out, or give low and high."
        if self.type == "int":
            yield from (p for value in self.values for p in _not_whole("a value", value))

    def _of_range(self) -> Iterator[str]:
        low, high = self.low, self.high
        if low is None or high is None:
            if "choices" in self.model_fields_set and low is None and high is None:
                yield "choices is empty. Allowed are two or more. Write them, or give low and high."
            yield "a range needs both low and high (or a list of values, for a grid)."
            return
        whole = self.type == "int"
        if whole:
            yield from (*_not_whole("low", low), *_not_whole("high", high))
        if not low < high:
            yield (
                f"the range is upside down: low {self._shown(low)} is not below high {self._shown(high)}. "
                f"Swap them."
            )
        if self.scale == "log" and low <= 0:
            yield (
                f"a log scale needs low above 0, and low is {self._shown(low)}. "
                f"Raise low, or use scale 'linear'."
            )
        if self.scale == "logit" and whole:
            yield "scale is 'logit' and type is 'int'. Allowed are 'linear' and 'log'. Choose one of them."
        if self.scale == "logit" and not (low > 0 and high < 1):
            yield (
                f"a logit scale needs 0 < low < high < 1, and the range is "
                f"{low:g} to {high:g}. Narrow it, or use scale 'linear'."
            )
        if self.step > 1:
            yield from self._of_step(int(low), int(high))

    def _of_step(self, low: int, high: int) -> Iterator[str]:
        if self.type == "float":
            yield (
                f"step is {self.step} and type is 'float'. A step goes with type 'int': add it, "
                f"or leave step out."
            )
        elif self.scale == "log":
            yield (
                f"step is {self.step} and scale is 'log'. A log scale takes every whole number: leave step "
                f"out, or use scale 'linear'."
            )
        elif over := (high - low) % self.step:
            last = high - over
            yield (
                f"steps of {self.step} from low {low} do not end at high {high}. "
                f"Set high to {last if last > low else last + self.step} "
                f"{f'or {last + self.step}, ' if last > low else ''}or change step."
            )

    def _shown(self, number: float) -> str:
        return f"{int(number)}" if self.type == "int" else f"{number:g}"

    # -- what it can be ----------------------------------------------------------------------------------
    @property
    def kind(self) -> Kind:
        return "choice" if self.choices else "int" if self.type == "int" else "float"

    @property
    def bounds(self) -> tuple[float, float]:
        """The range, in whole numbers where it is of those; for a list of values, its ends."""
        assert not self.choices, "choices have no order"
        low, high = (min(self.values), max(self.values)) if self.values else (self.low, self.high)
        assert low is not None
        assert high is not None
        return (int(low), int(high)) if self.type == "int" else (low, high)

    @property
    def listed(self) -> Sequence[Value]:
        """All that it can be, in order; of a range of floats nothing."""
        if self.choices:
            return self.choices
        if self.values:
            return tuple(map(int, self.values)) if self.type == "int" else self.values
        low, high = self.bounds
        return range(int(low), int(high) + 1, self.step) if self.type == "int" else ()

    @property
    def probes(self) -> tuple[Value, ...]:
        """What is tried before a study begins: both ends, or every choice."""
        return self.choices or self.bounds

    @property
    def text(self) -> str:
        """1 to 8 in steps of 1 as a sentence shows it."""
        if self.choices:
            return ", ".join(map(value_text, self.choices))
        if self.values:
            return ", ".join(map(self._shown, sorted(self.values)))
        low, high = (self._shown(end) for end in self.bounds)
        every = f" in steps of {self.step}" if self.step > 1 else ""
        return f"{low} to {high}{every}"

    def own(self, stated: object) -> Value | None:
        """A value of a config in this parameter's form, be it in its range or not; None where it is of
        another kind."""
        if self.choices:
            at = self.position(stated)
            if at is not None:
                return self.choices[at]  # type: ignore[no-any-return]
            return stated if isinstance(stated, bool | int | float | str) else None
        if isinstance(stated, bool) or not isinstance(stated, int | float):
            return None
        if self.type == "float":
            return float(stated)
        return int(stated) if math.isfinite(stated) and stated == int(stated) else None

    def position(self, value: object) -> int | None:
        """Which of the choices it is."""
        sought = number_key(value)
        return next((i for i, choice in enumerate(self.choices) if number_key(choice) == sought), None)

    def takes(self, value: object) -> bool:
        """Whether it is one of the values that this parameter can have."""
        if self.choices:
            return self.position(value) is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.values:
            return value in self.values
        low, high = self.bounds
        within = low <= value <= high
        # no `in` of a range: for a float it walks through all of it
        return within and (self.type == "float" or (value - low) % self.step == 0)


def corners(space: Sequence[Parameter]) -> list[dict[str, Value]]:
    """As few points as hold both ends of every range and every choice; not all combinations of them."""
    most = max((len(p.probes) for p in space), default=0)
    return [{p.path: p.probes[i % len(p.probes)] for p in space} for i in range(most)]


def _no_choice(choice: object) -> str:
    """Why this cannot be one; empty where it can."""
    if isinstance(choice, str):
        if len(choice) <= LONGEST_CHOICE:
            return ""
        return f"a choice has {len(choice):,} characters. Allowed are {LONGEST_CHOICE}. Shorten it."
    if isinstance(choice, bool | int) or (isinstance(choice, float) and math.isfinite(choice)):
        return ""
    found = (
        "a list" if isinstance(choice, list | tuple) else "an object" if isinstance(choice, dict) else None
    )
    found = found or ("null" if choice is None else f"{choice!r:.60}")
    return f"a choice is {found}. Allowed are texts, finite numbers, true and false. Write one of these."


def _not_whole(what: str, number: float) -> Iterator[str]:
    if number != int(number) or abs(number) > LARGEST_WHOLE:
        yield (
            f"{what} is {number:.17g} and type is 'int'. Allowed are whole numbers up to 10^12. "
            f"Round it, or use type 'float'."
        )
