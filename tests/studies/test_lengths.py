"""Does plain training stand beside what is compared, at several lengths and on the same fresh seeds?"""

from __future__ import annotations

import pytest

from orchestrator.study.configs import laid_over, training_seed
from orchestrator.study.spec import Arm, StudySpec
from studies import catalog, parts

STUDIES = {  # where a column's curve is read, and a row that is compared with it
    "bo-vs-guided": ("guided", ["alpha+beta1"]),
    "estimators": ("lagged", None),
    "equal-time": ("lagged", None),
    "attribution": ("guided", None),
}
WITH_CURVES = [(name, size) for name in STUDIES for size in ("quick", "laptop", "paper")]


def columns(spec: StudySpec) -> list[str]:
    """Where there are several lengths; a single one is as long as a guided run."""
    asked = STUDIES[spec.name.rpartition("-")[0]][1] or {a.column for a in spec.arms}
    return [c for c in asked if sum(a.control == "longer" and a.column == c for a in spec.arms) > 1]


def of_role(spec: StudySpec, role: str, column: str) -> list[Arm]:
    here = [a for a in spec.arms if a.known_role == role and a.column in ("*", column)]
    return [a for a in here if a.fresh_seeds]


def seeds(spec: StudySpec, arm: Arm) -> list[int]:
    return [training_seed(spec, arm, 0, i) for i in range(arm.trials)]


@pytest.mark.parametrize(("name", "size"), WITH_CURVES)
def test_each_columns_curve_has_lengths_of_1_to_1_7_on_the_seeds_of_what_is_compared(
    name: str, size: str
) -> None:
    spec = catalog.get(name, size)
    assert columns(spec)
    for column in columns(spec):
        (base,) = of_role(spec, "base", column)
        steps = laid_over(spec.base, base.config)["steps"]
        longer = [a for a in spec.arms if a.control == "longer" and a.column == column and "×" in a.row]
        if name == "equal-time":
            longer += [a for a in spec.arms if a.row == "plain, as long" and a.column == column]
        lengths = sorted(laid_over(spec.base, a.config)["steps"] / steps for a in longer)
        nearest, *rest = parts.LENGTHS  # equal-time runs what a guided step costs in place of the first
        first = parts.OVER_PLAIN["lagged"] if name == "equal-time" else nearest
        assert lengths == pytest.approx([first, *rest], rel=0.01)
        (compared,) = (
            a for a in spec.arms if a.row == STUDIES[name][0] and a.column == column and a.fresh_seeds
        )
        for arm in (base, *longer):
            assert seeds(spec, arm) == seeds(spec, compared)[: arm.trials]
            assert arm.trials >= min(6, compared.trials)
        assert all(a.config["steps"] == 4 * a.config["eval_every_steps"] for a in longer)


def test_all_cells_have_a_curve_but_those_that_the_studies_pages_cut() -> None:
    for name in ("estimators", "equal-time", "attribution"):
        for size in ("quick", "laptop"):
            spec = catalog.get(name, size)
            cells = {a.column for a in spec.arms if "rate x" not in a.column}
            cut = {c for c in cells if c.endswith(" 1200")} if name != "equal-time" else set()
            assert set(columns(spec)) == cells - cut, (name, size)


def test_smoke_keeps_to_one_length_more() -> None:
    for name in STUDIES:
        rows = {a.row for a in catalog.get(name, "smoke").arms if a.control == "longer"}
        assert len({row for row in rows if row != "longer plain training"}) == 1
