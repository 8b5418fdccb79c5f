"""How is a text read that must be one of some names, where installed packages may bring more of them?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

STORED = "stored"  # the context of reading what a ledger holds: its names were known when it was written


@dataclass(frozen=True)
class OneOf:
    """Marks a field: `method: Annotated[str, OneOf(names)]`. The names are asked for whenever it is checked;
    it is refused, and described in a JSON schema, as a Literal of them would be."""

    names: Callable[[], Sequence[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(self._known, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.names())}

    def _known(self, value: Any, info: ValidationInfo) -> Any:
        if info.context == STORED or (isinstance(value, str) and value in self.names()):
            return value
        *others, last = map(repr, self.names())
        raise PydanticKnownError("literal_error", {"expected": f"{', '.join(others)} or {last}"})
