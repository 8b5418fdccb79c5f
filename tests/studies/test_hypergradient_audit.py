"""Does the audit fork what its page says, in a time that it plans for?"""

from __future__ import annotations

import pytest

from orchestrator.study.configs import trial_config
from orchestrator.study.plan import plan
from studies import catalog
from trainer.audit import config as audit
from trainer.config import TrainConfig


@pytest.mark.parametrize(("size", "minutes"), [("smoke", 1), ("quick", 20), ("laptop", 90)])
def test_it_is_planned_within_its_time_on_2_workers(size: str, minutes: float) -> None:
    hours = plan(catalog.get("hypergradient-audit", size), slots=2).wall_hours
    assert hours is not None
    assert 60 * hours <= minutes


@pytest.mark.parametrize("size", ["smoke", "quick", "laptop"])
def test_every_cell_is_forked_on_three_seeds_and_every_span_fits_somewhere(size: str) -> None:
    spec = catalog.get("hypergradient-audit", size)
    for arm in spec.arms:
        seeds = set()
        for replicate in range(spec.replicates_of(arm)):
            config = trial_config(spec, arm, replicate=replicate, index=0, point={})
            seeds.add(config["seed"])
            asked, rest = audit.read(config)
            run = TrainConfig.from_dict(rest)
            fitting = [asked.spans_at(step, run.steps) for step in asked.steps_of(run)]
            assert len(fitting) == 8
            assert {span for of in fitting for span in of} == set(asked.spans)
        assert len(seeds) == 3


def test_it_forks_runs_under_a_schedule_that_anneals_and_one_that_does_not() -> None:
    spec = catalog.get("hypergradient-audit", "laptop")
    assert {arm.config["schedule"]["name"] for arm in spec.arms} == {"inverse-sqrt", "linear"}
    longest = {arm.config["audit"]["spans"][-1] for arm in spec.arms}
    assert longest == {200}
