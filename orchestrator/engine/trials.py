"""Which trial comes next in a lane, as a row of the ledger? Its config is made of what the lane follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.engine.inherit import taken
from orchestrator.engine.lanes import Lane
from orchestrator.ledger.records import TrialRow, TrialState, trial_id
from orchestrator.runs.folders import Storage
from orchestrator.study.configs import trial_config
from orchestrator.study.space import Point

FindEntrypoint = Callable[[str], Any]


def next_trial(
    lane: Lane, point: Point, study_id: str, *, storage: Storage, entrypoint: FindEntrypoint, at: float
) -> TrialRow:
    index = lane.next_index
    name = trial_id(study_id, lane.arm.name, lane.replicate, index)
    return TrialRow(
        trial_id=name,
        study_id=study_id,
        arm=lane.arm.name,
        replicate=lane.replicate,
        index=index,
        point=point,
        config=trial_config(
            lane.spec,
            lane.arm,
            replicate=lane.replicate,
            index=index,
            point=point,
            found=_found(lane, name, storage, entrypoint),
        ),
        state=TrialState.WAITING,
        created_at=at,
    )


def _found(
    lane: Lane, follower: str, storage: Storage, entrypoint: FindEntrypoint
) -> Mapping[str, Any] | None:
    """What the lane's next trial takes of the lane that it follows, which has ended. A file that it takes is
    there before the trial is written down that names it."""
    run = lane.followed_run(lane.next_index)
    if run is None or lane.arm.after is None or lane.follows_nothing(lane.next_index):
        return None
    name, pool = lane.spec.entrypoint, lane.on_other_seeds(lane.next_index)
    code = entrypoint(name)
    return taken(lane.arm.after.take, run, storage, code, name, pool=pool, follower=follower)
