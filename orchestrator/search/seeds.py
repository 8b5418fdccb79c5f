"""Which seed belongs to this? A stable number from the words that name it."""

from __future__ import annotations

import hashlib
import json

SEED_BITS = 63  # so that a seed also fits a database's signed integer


def derive_seed(*parts: int | str) -> int:
    """The same parts give the same seed in every process and on every machine; 1 and "1" differ.

    Fit for any number of draws: each is its own hash, nothing is consumed from a shared stream.
    """
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - SEED_BITS)
