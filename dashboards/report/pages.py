"""How is an answer set as a page? Templates over `report.Answer`: HTML that needs no network, and Markdown.

Whatever stands in a ledger is escaped on its way into a page; no template marks anything as safe but our own
script and style.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboards.evidence import attribution, cells, contrasts, hypergradients, matrix, stats, tables, verdict
from dashboards.evidence.frames import Choice, Frame
from dashboards.evidence.tables import column_name
from dashboards.evidence.wording import minus
from dashboards.report import figures
from dashboards.report.answer import Answer
from orchestrator.ground.durations import hours
from orchestrator.ledger.codec import finite
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
    drawn = [] if answer.frame.failure else figures.figures(answer.frame, answer.heard, answer.speedups)
    return (
        environment(html=True)
        .get_template(PAGE)
        .render(
            **_context(answer),
            figures=drawn,
            drawings={f.key: [plot.figure for plot in f.plots] for f in drawn},
            plotly=figures.plotly_script() if drawn else "",
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
        "signed": lambda value: "–" if value is None else minus(f"{value:+.3g}").replace("inf", "∞"),
        "many": many,
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
def _context(answer: Answer) -> dict[str, Any]:
    frame = answer.frame
    return {
        "study": frame.spec.name,
        "question": frame.spec.question,
        "cut_short": frame.cut_short,
        "failure": frame.failure,
        "rehearsed": frame.spec.entrypoint == REHEARSAL,
        "verdict": answer.verdict,
        "seen": answer.verdict.contrast,
        "facts": list(facts(answer.verdict, frame.spec.name)),
        "tables": answer.tables,
        "table_forms": tables,
        "matrix": answer.matrix,
        "matrix_forms": matrix,
        "audit": answer.audit,
        "audit_forms": hypergradients,
        "audit_rules": _rules(hypergradients.__doc__),
        "matrix_rules": _rules(matrix.__doc__),
        "contrasts": answer.contrasts,
        "worth": answer.worth,
        "speedups": answer.speedups,
        "costs": answer.costs,
        "equal": answer.equal,
        "reached": answer.reached,
        "repeated": frame.replicated,
        "sentences": answer.sentences,
        "cautions": answer.cautions,
        "deviations": answer.deviations,
        "versions": answer.versions,
        "slots": answer.slots,
        "searched": [_searched(frame, arm) for arm in frame.spec.arms if not frame.spec.confirms(arm)],
        "claim": frame.spec.claim,
        "rules": [
            rule for module in (verdict, cells, contrasts, attribution) for rule in _rules(module.__doc__)
        ],
        "commands": list(_commands(answer)),
        "chips": frame.spec.resources.chips,
    }


def facts(judged: verdict.Verdict, study: str = "") -> Iterator[tuple[str, str, str]]:
    """(what, the figure, beneath it) of the verdict's card. `study`: its name, for the command that adds what
    is still needed."""
    seen = judged.contrast
    if seen is None:
        return
    yield (
        f"{seen.metric}, ratio" if seen.ratio is not None else f"gain in {seen.metric}",
        seen.size,
        f"95% interval {seen.within}" if seen.interval else "no interval with fewer than six pairs",
    )
    exact = seen.n <= stats.EXACT_UP_TO
    test = "exact permutation test" if exact else f"permutation test by {stats.DRAWS:,} drawn swaps"
    if judged.p_against is None:
        yield f"paired {seen.unit}s", f"{seen.n}", f"{test}: p = {seen.p:.3g}"
    else:
        yield from _one_sided_facts(judged, test)
    if judged.cost_ratio is not None:
        claimed = "" if judged.cost_limit is None else f"the claim allows {judged.cost_limit:g}"
        yield f"cost ratio, by {judged.cost_by}", f"{judged.cost_ratio:.3g}", claimed
    if judged.answer == "undecided" and judged.more_needed != 0:
        more = judged.more_needed
        count = "over 1,000" if more is None else f"{more}"
        add = f"; orch study extend {study} --seeds {more}" if study and more and seen.unit == "seed" else ""
        yield f"{seen.unit}s still needed", count, f"{_to_decide(judged)}{add}"


def _to_decide(judged: verdict.Verdict) -> str:
    where = " in a column" if judged.at_least is not None else ""
    least = ", six at least" if judged.p_against is None else ""
    return f"for a power of 80% at the observed effect{where}{least}"


def _one_sided_facts(judged: verdict.Verdict, test: str) -> Iterator[tuple[str, str, str]]:
    told = f"{test}, one-sided; the other way {judged.p_against:.3g}"
    if judged.at_least is not None:
        yield f"p of at least {judged.at_least} in {len(judged.cells)} columns", f"{judged.p:.3g}", told
        return
    (cell,) = judged.cells
    yield f"paired {cell.unit}s", f"{cell.n}", f"{test}, one-sided: p = {judged.p:.3g}"
    if cell.margin is not None:
        beneath = f"{math.exp(cell.margin.log):.3g} times, at κ = {cell.margin.kappa:.3g}"
        yield "margin, of the training time", f"{cell.margin.time * 100:g}%", beneath


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
    return ", ".join(f"{k} {v:.4g}" for k, v in choice.point.items()) or "default config"


def _range(parameter: Parameter) -> str:
    if parameter.values:
        return f"{parameter.path} in {', '.join(f'{v:g}' for v in parameter.values)}"
    low, high = parameter.bounds
    return f"{parameter.path} {low:g} to {high:g} ({parameter.scale})"


def _rules(text: str | None) -> list[str]:
    """The paragraphs and numbered rules of a docstring, without its first line: said once, shown here."""
    said = (text or "").translate(str.maketrans("", "", "*`")).partition("\n")[2]
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:- |[1-9]\.))", said)
    lines = (" ".join(map(str.strip, part.strip().splitlines())) for part in parts)
    return [each.removeprefix("- ") for each in lines if each]


def _commands(answer: Answer) -> Iterator[str]:
    commits = [value for name, value in answer.versions if name == "commit"]
    if commits:
        yield f"git checkout {commits[0].split()[0]}"
    yield "ORCH_HOME=./again orch study create spec.json"
    yield f"ORCH_HOME=./again orch study report {answer.frame.spec.name}"
