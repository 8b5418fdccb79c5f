"""What is the whole answer? Everything that is concluded from a study's ledger.

It is a function of the ledger and of the translations in the runs' folders, costs aside: no date, no path, no
id that differs between two runs of a study.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dashboards.evidence import (
    by_metric,
    cautions,
    contrasts,
    equivalent,
    explain,
    frames,
    headline,
    hypergradients,
    matrix,
    paper,
    paper_t5,
    paper_tasks,
    prepared,
    ranking,
    sentences,
    series,
    sooner,
    speedup,
    t5_tables,
    table_values,
    tables,
    targets,
    verdict,
)
from dashboards.evidence.contrasts import Contrast
from dashboards.evidence.frames import Cost, Curves, Frame
from orchestrator.ground.errors import BadSpec
from orchestrator.ledger import Ledger
from orchestrator.runs.provenance import code_told

CHANGED = {True: " (changed)", False: "", None: " (whether changed is not known)"}  # the checkout


@dataclass(frozen=True)
class Answer:
    """Everything that was concluded from a study. `slots`: the parallelism that wall-clock is stated at."""

    frame: Frame
    heard: Mapping[str, Curves]
    headline: headline.Headline
    explanation: explain.Explanation
    verdict: verdict.Verdict
    tables: tuple[tables.Table, ...]
    matrix: matrix.Matrix | None  # where the columns are settings
    audit: hypergradients.HypergradientAudit | None  # where runs were forked
    contrasts: tuple[tuple[str, str, list[Contrast]], ...]  # challenger's row, incumbent's row, by column
    worth: tuple[equivalent.Worth, ...]  # in trials of a search
    speedups: tuple[speedup.RowSpeedup, ...]  # in longer plain training
    sooner: tuple[sooner.Sooner, ...]  # after which of its steps a row had base's last loss
    statements: tuple[paper_t5.Statement, ...]  # the paper's, of a study that pretrains
    by_metric: tuple[by_metric.Entry, ...]  # where the columns are tasks
    ranking: ranking.Ranking | None  # where pretrainings of different targets are compared
    notes: tuple[str, ...]  # what its rows, and the paper's tables beside it, cannot show
    costs: tuple[tuple[str, str, Cost], ...]  # arm, phase
    equal: tuple[series.Equal, ...]
    reached: tuple[targets.Reached, ...]
    sentences: tuple[sentences.Compared, ...]
    cautions: tuple[cautions.Caution, ...]
    deviations: tuple[paper.Deviation, ...]
    versions: tuple[tuple[str, str], ...]
    slots: int


def gather(ledger: Ledger, study: str, *, slots: int, runs: Path | None = None) -> Answer:
    """`runs`: where the attempts' folders lie, for what their translations say."""
    frame = frames.read(ledger, study)
    looked_at = series.closely(frame)
    also = [*hypergradients.audited(frame), *prepared.trials(frame)]
    heard = frames.curves(ledger, {t.name: t for t in [*looked_at, *also]}.values())
    sped = speedup.speedups(frame)
    metrics = dict.fromkeys(tables.metrics(frame))
    made = tuple(tables.table(frame, metric=metric, speedups=sped) for metric in metrics)
    doubts = tuple(cautions.cautions(frame, heard))
    judged, head, explained = conclude(frame, doubts)
    reached = _sooner(frame, heard)
    stated = paper_t5.statements(frame, reached)
    ranked = ranking.ranking(frame)
    return Answer(
        frame=frame,
        heard=heard,
        headline=head,
        explanation=explained,
        verdict=judged,
        tables=made,
        matrix=matrix.matrix(frame),
        audit=hypergradients.conclude(frame, heard),
        contrasts=tuple(_contrasts(frame)),
        worth=tuple(equivalent.worth(frame)),
        speedups=sped,
        sooner=reached,
        statements=stated,
        by_metric=by_metric.entries(frame),
        ranking=ranked,
        notes=notes(frame),
        costs=tuple(_costs(frame, heard, slots=slots)),
        equal=tuple(series.equal_budgets(frame, slots=slots)),
        reached=tuple(targets.reached(frame)),
        sentences=tuple(sentences.compare(ledger, frame, runs)) if runs else (),
        cautions=doubts,
        deviations=_deviations(frame, made[0], stated, ranked),
        versions=_versions(frames.provenance(ledger, looked_at)),
        slots=slots,
    )


def conclude(
    frame: Frame, doubts: Sequence[cautions.Caution] | None = None
) -> tuple[verdict.Verdict, headline.Headline, explain.Explanation]:
    """The verdict, the same in words, and why. `doubts`: the cautions, where they are known."""
    judged = verdict.judge(frame)
    head = headline.headline(frame, judged, cautions.cautions(frame, {}) if doubts is None else doubts)
    return judged, head, explain.explain(frame, judged, head)


def notes(frame: Frame) -> tuple[str, ...]:
    """What cannot be concluded from a study of tasks, or of pretraining for them."""
    return (*prepared.remarks(frame), *paper_tasks.remarks(frame))


def _sooner(frame: Frame, heard: Mapping[str, Curves]) -> tuple[sooner.Sooner, ...]:
    """Nothing before the end: it compares rows."""
    return sooner.sooner(frame, heard) if frame.finished and not frame.failure else ()


def _deviations(
    frame: Frame,
    made: tables.Table,
    stated: Sequence[paper_t5.Statement],
    ranked: ranking.Ranking | None,
) -> tuple[paper.Deviation, ...]:
    of_t5 = ranked is not None and ranked.printed
    if made.paper is None and not stated and not of_t5:
        return ()
    of_tasks = paper_tasks.beside(frame, made.metric) is not None
    setup = paper_t5.SETUP if stated else paper_tasks.SETUP if of_tasks else paper.TRANSLATION
    setup = t5_tables.SETUP if of_t5 else setup
    seeds = tables.fewest_seeds(made.rows)
    return tuple(paper.deviations(frame, metric=made.metric, seeds=seeds, setup=setup))


def _contrasts(frame: Frame) -> Iterable[tuple[str, str, list[Contrast]]]:
    """The claim's rows against each other, then every row of the search against the base, if there is one."""
    claim, spec = frame.spec.claim, frame.spec
    searching = [a for a in spec.arms if a.phase == "search"]
    rows = list(dict.fromkeys(map(frame.row_of, searching)))
    base = next((frame.row_of(a) for a in searching if not a.space), None)
    metric = claim.metric if claim else spec.objective.metric
    families = (
        [(frame.row_of(spec.arm(claim.challenger)), frame.row_of(spec.arm(claim.incumbent)))] if claim else []
    )
    families += [(row, base) for row in rows if base is not None and row != base]
    for ours, theirs in dict.fromkeys(families):
        found = [c for c in contrasts.by_column(frame, ours, theirs, metric=metric) if c.n]
        if found:
            yield ours, theirs, found


def _costs(frame: Frame, heard: Mapping[str, Curves], *, slots: int) -> Iterable[tuple[str, str, Cost]]:
    spec = frame.spec
    phases = {
        "search": "all of the search",
        "confirm": "confirmations",
        "control": "controls",
        "prepare": "preparation",
    }
    asked = [
        *((arm.name, arm.phase, [arm]) for arm in spec.arms if not spec.confirms(arm)),
        *((what, "sum", [a for a in spec.arms if a.phase == phase]) for phase, what in phases.items()),
    ]
    return [
        (name, of, frames.cost(frame, arms, slots=slots, heard=heard)) for name, of, arms in asked if arms
    ]


def _versions(found: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """What the runs that are looked at more closely ran on. Several values mean that they differed."""
    met: dict[str, set[str]] = {}
    for each in found:
        code = code_told(each)
        devices = (each.get("devices") or {}).get("jax")
        facts = {
            "repository": code.get("repository"),
            "commit": code["commit"][:12] + CHANGED[code.get("dirty")] if code.get("commit") else None,
            "diff": "/".join(PurePosixPath(code["diff"]).parts[-2:]) if code.get("diff") else None,
            "orch": (each.get("orch") or {}).get("version"),
            "Python": each.get("python"),
            "platform": each.get("platform"),
            "cores": each.get("cpus"),
            "devices": ", ".join(devices) if devices else None,
            **(each.get("packages") or {}),
        }
        for name, value in facts.items():
            if value is not None:
                met.setdefault(name, set()).add(str(value))
    return tuple((name, " and ".join(sorted(values))) for name, values in met.items())


def table_of(ledger: Ledger, study: str, metric: str | None) -> tuple[Frame, tables.Table]:
    """The results as they stand, of a metric that some run reported."""
    frame = frames.read(ledger, study)
    known = frames.metrics(frame)
    if metric is not None and metric not in known:
        raise BadSpec(f"No run reported {metric[:60]!r}. Reported: {', '.join(sorted(known)) or 'none yet'}.")
    return frame, tables.table(frame, metric=metric)


def verdict_of(ledger: Ledger, study: str) -> tuple[Frame, dict[str, Any]]:
    """What is concluded, as scripts get it."""
    frame = frames.read(ledger, study)
    reached = _sooner(frame, frames.curves(ledger, sooner.needed(frame)))
    stated = paper_t5.statements(frame, reached)
    told = conclusion_dict(*conclude(frame), reached, stated, notes(frame))
    return frame, told


# -- for scripts -----------------------------------------------------------------------------------------
def verdict_dict(judged: verdict.Verdict) -> dict[str, Any]:
    return asdict(judged)


def conclusion_dict(
    judged: verdict.Verdict,
    head: headline.Headline,
    explained: explain.Explanation,
    reached: Sequence[sooner.Sooner] = (),
    stated: Sequence[paper_t5.Statement] = (),
    said: Sequence[str] = (),
) -> dict[str, Any]:
    return {
        "headline": asdict(head),
        "explanation": {**asdict(explained), "text": explained.text},
        "verdict": verdict_dict(judged),
        "sooner": [each.to_dict() for each in reached],
        "statements": [asdict(each) for each in stated],
        "contradictions": list(paper_t5.CONTRADICTIONS) if stated else [],
        "notes": list(said),
    }


def concluded_dict(answer: Answer) -> dict[str, Any]:
    """The same of a whole answer."""
    parts = (answer.verdict, answer.headline, answer.explanation)
    return conclusion_dict(*parts, answer.sooner, answer.statements, answer.notes)


def table_dict(made: tables.Table, *, values: bool = False) -> dict[str, Any]:
    """`values`: as a service tells it, so that its client makes the table again of numbers."""
    return {
        "metric": made.metric,
        "lower_is_better": made.lower_is_better,
        "columns": list(made.columns),
        "cells": [dict(cell) for cell in table_values.to_dicts(made, values=values)],
        "paper": made.paper,
        "speedup_in": made.speedup_in,
        "averaged": made.averaged,
        "paper_best": made.paper_best,
        "notes": list(made.notes),
    }


def answer_dict(answer: Answer, *, values: bool = False) -> dict[str, Any]:
    """The whole answer as JSON values; what is not finite stays for whoever writes it."""
    return {
        "study": answer.frame.spec.name,
        "status": str(answer.frame.status),
        "failure": answer.frame.failure,
        **concluded_dict(answer),
        "tables": [table_dict(made, values=values) for made in answer.tables],
        "matrix": None if answer.matrix is None else matrix.to_dict(answer.matrix),
        "audit": None if answer.audit is None else asdict(answer.audit),
        "contrasts": [asdict(each) for _, _, of in answer.contrasts for each in of],
        "ranking": None if answer.ranking is None else asdict(answer.ranking),
        "by_metric": [asdict(each) for each in answer.by_metric],
        "worth": [asdict(each) for each in answer.worth],
        "costs": [{"arm": arm, "phase": phase, **asdict(cost)} for arm, phase, cost in answer.costs],
        "equal_budgets": [asdict(each) for each in answer.equal],
        "reached": [asdict(each) for each in answer.reached],
        "sentences": [asdict(each) for each in answer.sentences],
        "cautions": [asdict(each) for each in answer.cautions],
        "deviations": [asdict(each) for each in answer.deviations],
        "versions": dict(answer.versions),
        "slots": answer.slots,
    }
