"""Which runs are not started although they were asked for, and why? A pure reading of what has ended."""

from __future__ import annotations

import re

from orchestrator.engine.lanes import Course, Lane
from orchestrator.study.spec import Arm

ALIKE = "failed for the same reason"
# A trial's name, a path, an address in memory, a number: what differs between two runs with one fault.
_PARTICULAR = re.compile(r"\S*[\d/]\S*")


def kind_of(reason: str) -> str:
    """A reason without what is particular to its run: equal for runs that failed alike."""
    return _PARTICULAR.sub("…", reason)


def not_started(course: Course, lane: Lane) -> str:
    """Why a lane's next run is not started; "" where it is, where there is none, and as long as what it
    follows has not ended."""
    if not (lane.waiting or lane.next_index < lane.requested) or not lane.sources_done:
        return ""
    index = lane.waiting[0].index if lane.waiting else lane.next_index
    return lane.follows_nothing(index) or failed_alike(course, lane.arm)


def failed_alike(course: Course, arm: Arm) -> str:
    """Why an arm is stopped: its first runs, in the order of replicates and then of trials, failed for good
    with one reason, and none of its runs completed. "" for an arm that goes on."""
    most, lanes = course.spec.retries.stop_arm_after, course.lanes_of(arm)
    if any(lane.best for lane in lanes):
        return ""
    first = [lane.failed.get(index) for lane in lanes for index in range(min(most, lane.requested))]
    reasons = [reason for reason in first[:most] if reason is not None]
    if not most or len(reasons) < most or len(set(map(kind_of, reasons))) > 1:
        return ""
    return f"The first {len(reasons)} runs of {arm.name} {ALIKE}: {reasons[0]}"
