"""Of tasks of benchmarks: which rows chose, and which are reported?"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.study.configs import stated
from orchestrator.study.spec import StudySpec
from trainer.config.benchmarks import TOLD, protocol_of

_PATHS = ("data.task", "score.protocol")


def told(spec: StudySpec) -> Iterator[str]:
    """A sentence for each protocol of its arms; none where no task is a benchmark's."""
    named = {protocol_of(*(stated(spec, arm, path) or "" for path in _PATHS)) for arm in spec.arms}
    yield from (words for protocol, words in TOLD.items() if protocol in named)
