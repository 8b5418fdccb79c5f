"""How is an answer set as a page? Templates over `report.Answer`: HTML that needs no network, and Markdown.

Whatever stands in a ledger is escaped on its way into a page; no template marks anything as safe but our own
script and style.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboards.evidence import (
    attribution,
    average,
    by_metric,
    cells,
    contrasts,
    hypergradients,
    matrix,
    paper_t5,
    ranking,
    table_forms,
    tables,
    tasks,
    verdict,
)
from dashboards.evidence.frames import Choice, Frame
from dashboards.evidence.tables import column_name
from dashboards.evidence.wording import minus
from dashboards.report import figures, ink, spent
from dashboards.report import screen as screens
from dashboards.report.answer import Answer
from orchestrator.ground.durations import hours
from orchestrator.ledger.codec import finite
from orchestrator.study.space import value_text
from orchestrator.study.spec import Arm, Parameter

if TYPE_CHECKING:
    import jinja2
    import markupsafe

REHEARSAL = "orchestrator.rehearsal"
PAGE, MARKDOWN = "report.html.j2", "report.md.j2"


@dataclass(frozen=True)
class Searched:
    """One arm: where it was allowed to look, and what it chose."""

    arm: str
    phase: str
    method: str
    trials: str
    space: str
    best: str
    point: str


def page(answer: Answer) -> str:
    """One HTML file. plotly.js is written into it once."""
    seen = answer.verdict.contrast
    failed = bool(answer.frame.failure)
    drawn = [] if failed else figures.figures(answer.frame, answer.heard, answer.speedups, seen=seen)
    return (
        environment(html=True)
        .get_template(PAGE)
        .render(
            **_context(answer),
            figures=drawn,
            drawings=ink.packed(json_text({f.key: [plot.figure for plot in f.plots] for f in drawn})),
            plotly=ink.packed_script() if drawn else "",
        )
    )


def markdown(answer: Answer) -> str:
    return environment(html=False).get_template(MARKDOWN).render(**_context(answer))


def json_text(data: object, *, indent: int | None = None) -> str:
    """JSON has no infinities: a miss, and what is not a number, are null."""
    return json.dumps(finite(data), indent=indent, ensure_ascii=False, allow_nan=False)


def environment(*, html: bool) -> jinja2.Environment:
    """The templates of reports and of the live page. With `html`, every text is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dashboards", "templates"),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "duration": hours,
        "column": lambda name: column_name(name) or "all",
        "short": short,
        "signed": lambda value: (
            "–" if value is None else f"{value:+.3g}".replace("inf", "∞").replace("-", screens.MINUS)
        ),
        "many": many,
        "metric": tables.metric_name,
        "tenth": lambda value: f"{value:+.1f}".replace("-", screens.MINUS),
        "bytes": lambda value: "–" if value is None else f"{value / 2**20:,.0f} MiB",
        "words": tables.one_line,
        "drawings": _drawings,
    }
    environment.filters |= filters
    return environment


def _drawings(data: object) -> markupsafe.Markup:
    """JSON for a script element, which no text in it can end."""
    import markupsafe

    text = json_text(data)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return markupsafe.Markup(text)


def short(value: float | None) -> str:
    """Four digits; a miss is never."""
    if value is None:
        return "–"
    return "never" if math.isinf(value) else minus(f"{value:.4g}")


def many(value: float) -> str:
    """Large counts as 1.2M, 3.4e15; none as a dash."""
    if value >= 1e15:
        return f"{value:.2e}"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:,.0f}" if value else "–"


# -- what the templates are given ------------------------------------------------------------------------
def shared(answer: Answer) -> dict[str, Any]:
    """What both pages show of an answer."""
    given = {
        "best_in": screens.best_in,
        "not_needed": screens.NOT_NEEDED,
        "first_screen": figures.FIRST_SCREEN,
        "table_forms": table_forms,
        "metric_forms": by_metric,
        "ranking_forms": ranking,
        "equal": list(spent.equal_rows(answer)),
        "targets": spent.target_table(answer),
        "repeated": answer.frame.replicated,
        "chips": answer.frame.spec.resources.chips,
        "rules": rules(),
        "contradictions": paper_t5.CONTRADICTIONS,
    }
    return {"answer": answer, "screen": screens.screen(answer), "given": given, **given}


def _context(answer: Answer) -> dict[str, Any]:
    frame = answer.frame
    return {
        **shared(answer),
        "study": frame.spec.name,
        "state": frame.status,
        "runs": sum(trial.ended for of in frame.trials.values() for trial in of),
        "compute_hours": math.fsum(trial.hours for of in frame.trials.values() for trial in of),
        "question": frame.spec.question,
        "cut_short": frame.cut_short,
        "failure": frame.failure,
        "rehearsed": frame.spec.entrypoint == REHEARSAL,
        "matrix": answer.matrix,
        "matrix_forms": matrix,
        "audit": answer.audit,
        "audit_forms": hypergradients,
        "audit_rules": _rules(hypergradients.__doc__),
        "matrix_rules": _rules(matrix.__doc__),
        "searched": [_searched(frame, arm) for arm in frame.spec.arms if not frame.spec.confirms(arm)],
        "claim": frame.spec.claim,
        "commands": list(_commands(answer)),
    }


def _searched(frame: Frame, arm: Arm) -> Searched:
    choices = frame.choices(arm)
    often = "in each replicate: " if len(choices) > 1 else ""
    runs = f"{frame.requested(arm)}" + (f", {arm.startup_trials} to start with" if arm.bayesian else "")
    return Searched(
        arm=arm.name,
        phase=arm.phase,
        method=arm.method + (f", window {arm.window}" if arm.window > 1 else ""),
        trials=runs,
        space="; ".join(map(_range, arm.space)) or "–",
        best="; ".join(map(_chosen_by, choices)) or "–",
        point=(often + "; ".join(map(_point, choices))) if choices else "–",
    )


def _chosen_by(choice: Choice) -> str:
    over = f" (mean of {len(choice.runs)})" if len(choice.runs) > 1 else ""
    return f"{choice.value:.5g}{over}"


def _point(choice: Choice) -> str:
    return ", ".join(f"{k} {value_text(v)}" for k, v in choice.point.items()) or "default config"


def _range(parameter: Parameter) -> str:
    if parameter.values or parameter.choices:
        return f"{parameter.path} in {parameter.text}"
    whole = "whole numbers, " if parameter.type == "int" else ""
    return f"{parameter.path} {parameter.text} ({whole}{parameter.scale})"


def rules() -> list[str]:
    """The rules of the verdict, a paragraph each."""
    return [
        rule
        for module in (verdict, average, tasks, cells, contrasts, attribution)
        for rule in _rules(module.__doc__)
    ]


def _rules(text: str | None) -> list[str]:
    """The paragraphs and numbered rules of a docstring, without its question: said once, shown here."""
    said = (text or "").translate(str.maketrans("", "", "*`")).partition("\n\n")[2]
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:- |[1-9]\. ))", said)
    lines = (" ".join(map(str.strip, part.strip().splitlines())) for part in parts)
    return [each.removeprefix("- ") for each in lines if each]


def _commands(answer: Answer) -> Iterator[str]:
    commits = [value for name, value in answer.versions if name == "commit"]
    if commits:
        yield f"git checkout {commits[0].split()[0]}"
    for name, value in answer.versions:
        if name == "diff" and " and " not in value:
            yield f"git apply {shlex.quote(value)}"
    yield "ORCH_HOME=./again orch study create spec.json"
    yield f"ORCH_HOME=./again orch study report {answer.frame.spec.name}"
