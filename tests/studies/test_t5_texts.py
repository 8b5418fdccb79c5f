"""Do the studies of pretraining ask what their pages say, and can their configs be run?"""

from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.study.configs import default_point, laid_over, training_seed, trial_config
from orchestrator.study.plan import plan
from orchestrator.study.spec import StudySpec
from studies import catalog, t5_parts, t5_pretraining, t5_repeats
from studies.t5_parts import TEXT_REACHES
from trainer.config.noise_lengths import lengths
from trainer.config.paths import value_at
from trainer.training.entrypoint import check

SIZES = ["smoke", "quick", "laptop", "paper"]
STUDIES = ["t5-pretraining", "t5-repeats"]


def configs(spec: StudySpec) -> dict[str, dict[str, object]]:
    return {arm.name: trial_config(spec, arm, replicate=0, index=0, point={}) for arm in spec.arms}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", STUDIES)
def test_every_config_passes_the_entrypoints_check_at_both_ends_of_its_space(name: str, size: str) -> None:
    spec = catalog.get(name, size)
    for arm in spec.arms:
        for end in (0, 1):
            point = {p.path: p.listed[-end] if p.listed else p.bounds[end] for p in arm.space}
            assert check(trial_config(spec, arm, replicate=0, index=0, point=point)) == [], arm.name


@pytest.mark.parametrize("size", SIZES)
def test_columns_are_alpha_beta1_and_both(size: str) -> None:
    spec = catalog.get("t5-pretraining", size)
    rows: dict[str, list[str]] = {}
    for arm in spec.arms:
        if not spec.confirms(arm):
            rows.setdefault(arm.column, []).append(spec.row_of(arm))
    assert rows["*"] == ["base"]
    assert rows["alpha"] == ["guided"]
    static, guided = (
        [f"{row} {start}" for start in (".1", ".5", ".9")] for row in ("plain, β1 =", "guided, β1 from")
    )
    assert Counter(rows["beta1"]) == Counter([*static, *guided])
    expected = {"+ BO", "guided", "guided, lagged", "guided, next batch", "replay", "constant = mean"}
    expected |= {"matched decay", "longer plain training", "plain, β1 = .8", "plain ×1.3"}
    expected |= {"+ BO over schedule parameters"} | ({"blind course"} if size != "smoke" else set())
    assert expected <= set(rows["alpha+beta1"])


@pytest.mark.parametrize("size", SIZES)
def test_base_has_no_momentum_and_alpha_alone_begins_as_base(size: str) -> None:
    of = configs(catalog.get("t5-pretraining", size))
    starts = {name: value_at(config, "optimizer.beta1") for name, config in of.items()}
    assert starts["base"] == starts["guided-alpha"] == starts["longer-alpha+beta1"] == 0
    assert starts["guided-alpha+beta1"] == starts["bo-alpha+beta1"] == starts["lagged-alpha+beta1"] == 0.9
    assert [starts[f"guided-beta1-0_{digit}"] for digit in (1, 5, 9)] == [0.1, 0.5, 0.9]
    spec = catalog.get("t5-pretraining", size)
    assert default_point(spec, spec.arm("bo-alpha+beta1")) == {"optimizer.alpha": 1.0, "optimizer.beta1": 0.9}
    for config in of.values():
        assert value_at(config, "model.dropout") == value_at(config, "model.attention_dropout") == 0
        assert value_at(config, "schedule.name") == "constant-rsqrt"


@pytest.mark.parametrize("size", SIZES)
def test_eta_is_by_reach_but_that_of_beta1_alone_which_is_the_papers(size: str) -> None:
    spec = catalog.get("t5-pretraining", size)
    steps = spec.base["steps"]
    reaches = TEXT_REACHES[1:3] if size == "smoke" else TEXT_REACHES
    for name in ("guided-alpha", "guided-alpha+beta1"):
        (eta,) = spec.arm(name).space
        assert [float(value) * steps for value in eta.values] == pytest.approx(reaches, rel=1e-4)
    guided = configs(spec)["guided-beta1-0_5"]
    assert value_at(guided, "guidance.eta") == t5_pretraining.BETA1_ETA
    assert value_at(guided, "guidance.learn") == ["beta1"]


@pytest.mark.parametrize("size", ["quick", "laptop", "paper"])
def test_the_claims_sides_and_base_have_six_fresh_seeds_and_the_others_two(size: str) -> None:
    spec = catalog.get("t5-pretraining", size)
    fresh = {arm.name: arm.trials for arm in spec.arms if arm.fresh_seeds}
    compared = {f"confirm-{name}" for name in ("base", "bo-alpha+beta1", "guided-alpha+beta1")}
    assert {name for name, trials in fresh.items() if trials >= 6} == compared
    assert {trials for name, trials in fresh.items() if name not in compared} == {2}
    first = {tuple(training_seed(spec, spec.arm(name), 0, i) for i in range(2)) for name in fresh}
    assert len(first) == 1


@pytest.mark.parametrize("size", SIZES)
def test_the_claim_is_of_a_lower_dev_loss_at_no_more_than_bos_chip_hours(size: str) -> None:
    spec = catalog.get("t5-pretraining", size)
    assert spec.claim is not None
    assert (spec.claim.metric, spec.claim.cost, spec.claim.cost_ratio) == ("dev_loss", "clocks", 1)
    guided, static = spec.arm(spec.claim.challenger), spec.arm(spec.claim.incumbent)
    assert (guided.name, static.name) == ("guided-alpha+beta1", "bo-alpha+beta1")
    assert guided.trials * (guided.run_hours or 0) <= static.trials * (static.run_hours or 0)


def test_pretraining_takes_ten_minutes_on_two_cores_at_quick_and_the_papers_hours_at_paper() -> None:
    for name in STUDIES:
        hours = plan(catalog.get(name, "quick"), slots=2).wall_hours
        assert hours is not None
        assert 60 * hours <= 9
    spec = catalog.get("t5-pretraining", "paper")
    assert (spec.arm("base").run_hours, spec.arm("guided-alpha").run_hours) == (48.0, 72.0)
    assert spec.resources.chips == 8
    assert spec.base["steps"] * spec.base["batch"]["sentences"] == 256_000_000


@pytest.mark.parametrize("size", SIZES)
def test_a_column_of_repeats_reads_so_many_tokens_that_the_run_sees_them_that_often(size: str) -> None:
    spec = catalog.get("t5-repeats", size)
    raw = lengths("random-spans", spec.base["data"]["source_tokens"]).raw
    read = spec.base["steps"] * spec.base["batch"]["sentences"] * raw
    for arm in spec.arms:
        often = int(arm.column.replace(",", ""))
        tokens = value_at(laid_over(spec.base, arm.config), "data.tokens")
        assert read / tokens == pytest.approx(often, rel=0.05)
        assert tokens >= raw
    assert {arm.column for arm in spec.arms} == {f"{often:,}" for often in t5_repeats.REPEATS[size]}


def test_repeats_compares_guided_and_base_on_the_same_fresh_seeds_in_every_column() -> None:
    spec = catalog.get("t5-repeats", "quick")
    assert all(arm.fresh_seeds for arm in spec.arms)
    assert {arm.trials for arm in spec.arms if arm.name.startswith(("base", "guided"))} == {6}
    assert spec.claim is not None
    assert (spec.claim.challenger, spec.claim.incumbent) == ("guided-256", "base-256")


def test_a_run_has_its_loss_at_sixteen_steps() -> None:
    for name in STUDIES:
        for size in SIZES:
            base = catalog.get(name, size).base
            assert base["steps"] == t5_parts.EVALUATIONS * base["eval_every_steps"]
