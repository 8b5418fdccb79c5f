"""Is the share of agreeing signs, and the mean response, what can be counted by hand?"""

from __future__ import annotations

import pytest

from dashboards.evidence import frames, hypergradients
from dashboards.evidence.frames import Curves, Frame
from dashboards.evidence.hypergradients import Agreement
from dashboards.report import answer as report
from dashboards.report import pages
from orchestrator.study.spec import StudySpec
from tests.dashboards.ledgers import Run, ledger

SPEC = StudySpec.model_validate(
    {
        "name": "audited",
        "entrypoint": "trainer.audit",
        "base": {"steps": 40},
        "arms": [{"name": "audit-here", "method": "fixed", "row": "audit", "column": "lamb linear 40"}],
        "replicates": 2,
    }
)


def fork(step: int, slopes: dict[int, tuple[float, float]], **said: float) -> tuple:  # type: ignore[type-arg]
    """What a run says of one: slope and loss by span, and the estimators' hypergradients."""
    values = {f"audit/alpha/k{span}": slope for span, (slope, _) in slopes.items()}
    values |= {f"audit/alpha/k{span}/loss": loss for span, (_, loss) in slopes.items()}
    values |= {f"audit/alpha/k{span}/guidance": -9.0 for span in slopes}
    values |= {f"audit/alpha/{name.replace('_', '-')}": value for name, value in said.items()}
    return step, "eval", values, {}


RUNS = [
    Run(
        value=1.0,
        said=[
            fork(10, {1: (0.2, 2.0), 20: (-1.0, 2.0)}, held_out=0.3, lagged=-0.1),
            fork(30, {1: (-0.4, 1.0)}, held_out=0.1, lagged=-0.2),
        ],
    ),
    Run(
        value=1.1,
        said=[
            fork(10, {1: (0.3, 1.0), 20: (-1.0, 4.0)}, held_out=0.2),  # lagged is not ready
            fork(30, {1: (-0.2, 1.0)}, held_out=-0.1, lagged=-0.2),
        ],
    ),
]


@pytest.fixture(scope="module")
def read() -> tuple[Frame, dict[str, Curves]]:
    store = ledger(SPEC, {"audit-here": RUNS})
    frame = frames.read(store, "audited")
    return frame, frames.curves(store, hypergradients.audited(frame))


def test_the_report_shows_the_audit_in_both_forms_and_its_numbers() -> None:
    answer = report.gather(ledger(SPEC, {"audit-here": RUNS}), "audited", slots=1)
    assert answer.audit is not None
    for text in (pages.page(answer), pages.markdown(answer)):
        assert "Who has the right sign?" in text
        assert "K = 20" in text
    assert report.answer_dict(answer)["audit"]["agreements"]


@pytest.fixture(scope="module")
def found(read: tuple[Frame, dict[str, Curves]]) -> hypergradients.HypergradientAudit:
    concluded = hypergradients.conclude(*read)
    assert concluded is not None
    return concluded


def test_signs_that_agree_are_counted_where_all_estimators_spoke(
    found: hypergradients.HypergradientAudit,
) -> None:
    where = ("lamb linear 40", "alpha")
    assert found.agreements == (
        Agreement(*where, 1, "held-out", agreeing=2, forks=3),
        Agreement(*where, 1, "lagged", agreeing=2, forks=3),
        Agreement(*where, 1, "always “lower”", agreeing=1, forks=3),
        Agreement(*where, 1, "always “raise”", agreeing=2, forks=3),
        Agreement(*where, 20, "held-out", agreeing=0, forks=1),
        Agreement(*where, 20, "lagged", agreeing=1, forks=1),
        Agreement(*where, 20, "always “lower”", agreeing=0, forks=1),
        Agreement(*where, 20, "always “raise”", agreeing=1, forks=1),
    )
    assert found.agreements[0].share == 2 / 3
    assert hypergradients.extent(found, "alpha") == (
        "At the forks at which every estimator was ready: "
        "K = 1 at 25 to 75% of the run; K = 20 at 25 to 25% of the run."
    )


def test_the_response_is_relative_to_the_loss_and_its_interval_over_runs(
    found: hypergradients.HypergradientAudit,
) -> None:
    short, long = found.responses
    # (.1 - .4) / 2 and (.3 - .2) / 2; Student's t with one degree of freedom is 12.706 for 95 %.
    assert short.mean == pytest.approx((-0.15 + 0.05) / 2)
    assert short.interval is not None
    assert short.interval.high == pytest.approx(-0.05 + 12.7062 * 0.1, rel=1e-4)
    assert (short.runs, short.forks) == (2, 4)
    assert (long.span, long.mean) == (20, pytest.approx(-0.375))


def test_the_figure_has_a_line_for_each_span_by_training_progress(
    found: hypergradients.HypergradientAudit,
) -> None:
    short, long = hypergradients.lines(found, "lamb linear 40", "alpha")
    assert (short.name, short.x, short.y) == ("K = 1", (0.25, 0.75), pytest.approx((0.2, -0.3)))
    assert all(low < y < high for low, y, high in zip(short.low, short.y, short.high, strict=True))
    assert (long.name, long.x, long.y) == ("K = 20", (0.25,), pytest.approx((-0.375,)))


def test_tables_hold_the_yardstick_and_become_markdown(found: hypergradients.HypergradientAudit) -> None:
    header, rows = hypergradients.agreement_table(found, "alpha")
    assert header == ["", "estimator", "K = 1", "K = 20"]
    assert rows == [
        ["lamb linear 40", "held-out", "67% (2 of 3)", "0% (0 of 1)"],
        ["lamb linear 40", "lagged", "67% (2 of 3)", "100% (1 of 1)"],
        ["lamb linear 40", "always “lower”", "33% (1 of 3)", "0% (0 of 1)"],
        ["lamb linear 40", "always “raise”", "67% (2 of 3)", "100% (1 of 1)"],
    ]
    text = hypergradients.to_markdown(found)
    assert "| lamb linear 40 | lagged | 67% (2 of 3) | 100% (1 of 1) |" in text
    assert "| lamb linear 40 | −0.05 \\[−1.3, +1.2\\] n 2 |" in text


def test_a_study_without_forks_has_no_audit(read: tuple[Frame, dict[str, Curves]]) -> None:
    frame, _ = read
    assert hypergradients.conclude(frame, {}) is None
    other = SPEC.model_copy(update={"entrypoint": "trainer.run"})
    assert hypergradients.audited(frames.read(ledger(other, {"audit-here": RUNS}), "audited")) == []
