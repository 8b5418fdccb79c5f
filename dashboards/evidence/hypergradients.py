"""Which estimator has the sign of the true response, over which horizon? For studies that forked their runs.

The true response is the slope of the dev loss K steps later with respect to the raw value of a
hyperparameter, relative to that loss: at +0.2 the loss rises by 2% for each 0.1 added to the raw value. A
positive number means "lower it", as a positive hypergradient does. An estimator agrees if its sign is the
true one. All are compared at the same forks, those at which every estimator was ready. A run's last fork for
a span is that many steps before its end, so long spans describe the earlier part of the run. The unit is a
run: the mean over its forks, with an interval over the runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dashboards.evidence import stats
from dashboards.evidence.frames import Curves, Frame, Trial
from dashboards.evidence.series import Line
from dashboards.evidence.tables import column_name, one_line
from dashboards.evidence.wording import signed

ENTRYPOINT = "trainer.audit"
ALWAYS = ("always “lower”", "always “raise”")  # the yardsticks: who never looks would be right so often
NAME = re.compile(r"audit/(?P<hyper>\w+)/(?:k(?P<span>\d+)|(?P<estimator>[\w-]+))")
Table = tuple[list[str], list[list[str]]]  # a header, and rows of text


@dataclass(frozen=True)
class Fork:
    """One hyperparameter at one step of one run, over one span."""

    column: str
    run: tuple[int, int]  # (replicate, index)
    hyper: str
    span: int
    step: int
    progress: float  # the share of the run that is done
    truth: float
    said: Mapping[str, float]  # by estimator, those that were ready


@dataclass(frozen=True)
class Agreement:
    column: str
    hyper: str
    span: int
    estimator: str
    agreeing: int
    forks: int

    @property
    def share(self) -> float:
        return self.agreeing / self.forks


@dataclass(frozen=True)
class Response:
    """The truth, averaged over the forks."""

    column: str
    hyper: str
    span: int
    mean: float
    interval: stats.Interval | None
    runs: int
    forks: int


@dataclass(frozen=True)
class HypergradientAudit:
    forks: tuple[Fork, ...]
    agreements: tuple[Agreement, ...]
    responses: tuple[Response, ...]

    @property
    def hypers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(fork.hyper for fork in self.forks))

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(fork.column for fork in self.forks))

    @property
    def spans(self) -> tuple[int, ...]:
        return tuple(sorted({fork.span for fork in self.forks}))


def audited(frame: Frame) -> list[Trial]:
    """The trials whose curves are to be read for this."""
    if frame.spec.entrypoint != ENTRYPOINT:
        return []
    return [trial for arm in frame.spec.arms for trial in frame.of(arm)]


def conclude(frame: Frame, heard: Mapping[str, Curves]) -> HypergradientAudit | None:
    """What the forks of a study say together; None where there are none."""
    forks = tuple(
        fork
        for arm in frame.spec.arms
        for trial in frame.of(arm)
        if trial.name in heard
        for fork in _forks(trial, arm.column, heard[trial.name])
    )
    if not forks:
        return None
    groups: dict[tuple[str, str, int], list[Fork]] = {}
    for fork in sorted(forks, key=lambda each: each.span):
        groups.setdefault((fork.column, fork.hyper, fork.span), []).append(fork)
    agreements = tuple(each for key, of in groups.items() for each in _agreements(key, of))
    return HypergradientAudit(forks, agreements, tuple(_response(key, of) for key, of in groups.items()))


def _forks(trial: Trial, column: str, curves: Curves) -> Iterable[Fork]:
    """A fork whose loss is not known, or not finite, has no truth and is left out."""
    steps = trial.config.get("steps")
    named = [(found, points) for name, points in curves.values.items() if (found := NAME.fullmatch(name))]
    said: dict[tuple[str, int], dict[str, float]] = {}
    for found, points in named:
        if found["estimator"]:
            for step, value in points:
                said.setdefault((found["hyper"], step), {})[found["estimator"]] = value
    for found, points in named:
        losses = dict(curves.values.get(f"{found[0]}/loss", ()))
        for step, slope in points if found["span"] else ():
            if step in losses and losses[step] > 0 and isinstance(steps, int):
                yield Fork(
                    column=column,
                    run=(trial.replicate, trial.index),
                    hyper=found["hyper"],
                    span=int(found["span"]),
                    step=step,
                    progress=step / steps,
                    truth=slope / losses[step],
                    said=said.get((found["hyper"], step), {}),
                )


def _agreements(key: tuple[str, str, int], forks: Sequence[Fork]) -> Iterable[Agreement]:
    asked = all_spoke(forks)
    for estimator in sorted({name for fork in forks for name in fork.said}):
        yield Agreement(*key, estimator, sum(f.said[estimator] * f.truth > 0 for f in asked), len(asked))
    for always, sign in zip(ALWAYS, (1, -1), strict=True):
        yield Agreement(*key, always, sum(sign * f.truth > 0 for f in asked), len(asked))


def all_spoke(forks: Sequence[Fork]) -> list[Fork]:
    """Those at which every estimator that ever speaks was ready."""
    names = {name for fork in forks for name in fork.said}
    return [fork for fork in forks if names <= fork.said.keys()]


def _response(key: tuple[str, str, int], forks: Sequence[Fork]) -> Response:
    of_run: dict[tuple[int, int], list[float]] = {}
    for fork in forks:
        of_run.setdefault(fork.run, []).append(fork.truth)
    means = [math.fsum(of) / len(of) for of in of_run.values()]
    return Response(
        *key,
        mean=math.fsum(means) / len(means),
        interval=stats.mean_interval(means),
        runs=len(means),
        forks=len(forks),
    )


# -- the figure ------------------------------------------------------------------------------------------
def lines(audit: HypergradientAudit, column: str, hyper: str) -> list[Line]:
    """The truth by training progress (0 to 1), a line for each span: the mean over runs, and its interval."""
    found = []
    for span in audit.spans:
        at: dict[float, list[float]] = {}
        for fork in audit.forks:
            if (fork.column, fork.hyper, fork.span) == (column, hyper, span):
                at.setdefault(fork.progress, []).append(fork.truth)
        if at:
            x = tuple(sorted(at))
            y = tuple(math.fsum(at[each]) / len(at[each]) for each in x)
            within = [stats.mean_interval(at[each]) for each in x]
            known = [each for each in within if each is not None]
            band = len(known) == len(x)
            low, high = (tuple(i.low for i in known), tuple(i.high for i in known)) if band else ((), ())
            found.append(Line(f"K = {span}", x, y, low, high))
    return found


# -- tables ----------------------------------------------------------------------------------------------
def agreement_table(audit: HypergradientAudit, hyper: str) -> Table:
    """In how many forks an estimator had the sign of the truth: rows by cell and estimator, columns by K.
    The last rows of a cell are the yardsticks."""
    rows = []
    for column in audit.columns:
        of = [a for a in audit.agreements if (a.column, a.hyper) == (column, hyper)]
        for estimator in dict.fromkeys(a.estimator for a in of):
            by_span = {a.span: _share(a.agreeing, a.forks) for a in of if a.estimator == estimator}
            rows.append([column_name(column), estimator, *(by_span.get(k, "") for k in audit.spans)])
    return ["", "estimator", *(f"K = {span}" for span in audit.spans)], rows


def extent(audit: HypergradientAudit, hyper: str) -> str:
    """Where in training the agreement was measured: K = 1 at 19 to 94% of the run, …"""
    said = []
    for span in audit.spans:
        of = [f for f in audit.forks if (f.hyper, f.span) == (hyper, span)]
        at = [
            fork.progress
            for column in audit.columns
            for fork in all_spoke([f for f in of if f.column == column])
        ]
        if at:
            said.append(f"K = {span} at {100 * min(at):.0f} to {100 * max(at):.0f}% of the run")
    return f"At the forks at which every estimator was ready: {'; '.join(said)}." if said else ""


def response_table(audit: HypergradientAudit, hyper: str) -> Table:
    """The true response, averaged over the forks: a row for each cell, a column for each K."""
    rows = []
    for column in audit.columns:
        truth = _responses(audit, column, hyper)
        rows.append([column_name(column), *(_mean(truth[k]) if k in truth else "" for k in audit.spans)])
    return ["", *(f"K = {span}" for span in audit.spans)], rows


def _responses(audit: HypergradientAudit, column: str, hyper: str) -> dict[int, Response]:
    return {r.span: r for r in audit.responses if (r.column, r.hyper) == (column, hyper)}


def _share(agreeing: int, forks: int) -> str:
    return f"{100 * agreeing / forks:.0f}% ({agreeing} of {forks})" if forks else ""


def _mean(response: Response) -> str:
    within = response.interval
    shown = f" [{signed(within.low, 2)}, {signed(within.high, 2)}]" if within else ""
    return f"{signed(response.mean, 2)}{shown} n {response.runs}"


def to_markdown(audit: HypergradientAudit) -> str:
    parts = []
    for hyper in audit.hypers:
        name = column_name(hyper)
        parts += [f"**{name}: how often each estimator has the true sign**", ""]
        parts += [*_markdown(agreement_table(audit, hyper)), "", extent(audit, hyper), ""]
        parts += [f"**{name}: the true response, by K; positive means “lower it”**", ""]
        parts += [*_markdown(response_table(audit, hyper)), ""]
    return "\n".join(parts)


def _markdown(table: Table) -> list[str]:
    header, rows = table
    every = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return ["| " + " | ".join(map(one_line, row)) + " |" for row in every]
