"""What do all specs have in common, and how does one get a key that earlier specs did not have?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """The base of all specs: frozen, strict about keys, deaf to NaN and infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def implied(self) -> Mapping[str, Any]:
        """What LATER keys come to where nobody states them, if that is not their default."""
        return {}


class _Later:
    """The mark of a key that specs did not have at first: `goal: Annotated[Goal | None, LATER] = None`. It
    stands in the canonical text only where it differs from its default and from what is implied, so that no
    stored hash changes."""


LATER = _Later()
