"""What is the one text of a spec, which its hash is of?"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from orchestrator.study.strict import LATER, Spec


def canonical(spec: Spec) -> str:
    """The one JSON text of a spec: sorted keys, no spaces, defaults written out, except of LATER keys."""
    return json.dumps(
        _stated(spec, spec.model_dump(mode="json")),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )


def _stated(value: Any, written: Any) -> Any:
    """What was written of a value, without the LATER keys that are at their default or implied."""
    if isinstance(value, Spec):
        fields, implied = type(value).model_fields, value.implied
        return {
            name: _stated(getattr(value, name), inner)
            for name, inner in written.items()
            if not (
                LATER in fields[name].metadata
                and getattr(value, name) in (fields[name].default, implied.get(name))
            )
        }
    if isinstance(value, tuple | list):
        return [_stated(*pair) for pair in zip(value, written, strict=True)]
    return written


def spec_hash(spec: Spec) -> str:
    return hashlib.sha256(canonical(spec).encode()).hexdigest()
