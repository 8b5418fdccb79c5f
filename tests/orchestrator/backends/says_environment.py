"""An entrypoint that writes down which environment its worker has."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.protocol import Outcome, Place, Reporter


def check(config: Mapping[str, Any]) -> list[str]:
    return []


def shape_key(config: Mapping[str, Any]) -> str:
    return "one"


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    (workdir / "environment.json").write_text(json.dumps(dict(os.environ)))
    return Outcome("completed", {"loss": 1.0}, {}, None, (), "")
