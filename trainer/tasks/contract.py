"""What is a task to the trainer? A source of rows, each an input and a target, by split.

Nothing after it knows which task it is. A row of train is dropped where its input stood before it, or stands
in another split; none is ever dropped for what it says or for its length.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainer.data import filters
from trainer.data.contract import Measure, Pairs
from trainer.data.sources import Source, first


def task(
    name: str, given: Mapping[str, Pairs], *, most: int = 0, code: str = "", measure: Measure | None = None
) -> Source:
    """The source of these splits, of which train alone must be there. `most`: rows of train at most; `code`:
    what else the rows depend on, hashed; `measure`: the task's own."""
    return Source(
        name=name,
        given={**given, "train": first(given["train"], most)},
        versions={},
        filters=filters.OF_TASKS,
        code=code,
        measure=measure,
    )
