"""Which of several pretrainings is best, by the average score of the tasks that are learned from them?

Of a study whose arms of phase `prepare` have different targets, so that their losses cannot be compared, and
whose claim is about an average. Rows are in the order of their average; each stands against the claim's
challenger on the seeds that both have, with Holm's correction over the rows. What T5's paper prints of a row
stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from dashboards.evidence import average, prepared, stats, t5_tables, tables
from dashboards.evidence.contrasts import Contrast, Sample, of_samples, sample
from dashboards.evidence.frames import Frame
from dashboards.evidence.tables import Cell, metric_name, number_text, one_line
from dashboards.evidence.tasks import ALPHA
from dashboards.evidence.wording import signed
from orchestrator.study.spec import AVERAGE, Arm


@dataclass(frozen=True)
class Ranked:
    """A row. What is said of the difference is None in the row that the others stand against, and where no
    seed is shared; above 0 the row is better."""

    row: str
    value: float
    interval: stats.Interval | None  # of the mean over its own seeds
    n: int
    difference: float | None = None
    within: stats.Interval | None = None
    pairs: int = 0
    p: float | None = None
    p_holm: float | None = None
    tables: str = ""  # of T5's paper, that have the row
    printed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranking:
    metric: str
    against: str  # the row that the others stand against
    decimals: int
    rows: tuple[Ranked, ...]  # the best first
    without: tuple[str, ...]  # rows that have no average
    notes: tuple[str, ...]

    @property
    def printed(self) -> bool:
        return any(row.printed for row in self.rows)


def ranking(frame: Frame) -> Ranking | None:
    """None of a study that ranks nothing, and where fewer than two rows have an average."""
    claim, spec = frame.spec.claim, frame.spec
    if claim is None or not claim.average or not prepared.differ_in(spec):
        return None
    made = tables.table(frame, metric=claim.metric, speedups=())
    cells = {row.name: row.cells[-1] for row in made.rows if row.cells[-1].source != "data"}
    known = {
        row: cell for row, cell in cells.items() if cell.source == "confirmed" and cell.value is not None
    }
    if len(known) < 2:
        return None
    against = spec.row_of(spec.arm(claim.challenger))
    seen = _against(frame, list(known), against, claim.metric)
    theirs = _printed(frame)
    sign = 1 if made.lower_is_better else -1
    rows = sorted((_ranked(r, c, seen.get(r)) for r, c in known.items()), key=lambda each: sign * each.value)
    rows = [
        replace(each, tables=theirs[each.row].tables, printed=theirs[each.row].scores)
        if each.row in theirs
        else each
        for each in rows
    ]
    found = Ranking(
        claim.metric, against, made.decimals, tuple(rows), tuple(row for row in cells if row not in known), ()
    )
    return replace(found, notes=tuple(_notes(frame, found)))


def _ranked(row: str, cell: Cell, seen: Contrast | None) -> Ranked:
    assert cell.value is not None
    plain = Ranked(row, cell.value, cell.interval, cell.n)
    if seen is None:
        return plain
    return replace(
        plain, difference=seen.mean, within=seen.interval, pairs=seen.n, p=seen.p, p_holm=seen.p_holm
    )


def _against(frame: Frame, rows: Sequence[str], against: str, metric: str) -> dict[str, Contrast]:
    """Each row's average against that of one of them, where they share a seed; p after Holm's correction."""
    theirs = _arms(frame, against)
    found: dict[str, Contrast] = {}
    for row in rows:
        ours = _arms(frame, row)
        if row == against or not ours or not theirs:
            continue
        samples = _average(frame, ours, theirs, metric), _average(frame, theirs, ours, metric)
        seen = of_samples(frame, (ours[0], theirs[0]), samples, metric=metric, column=AVERAGE)
        if seen.n:
            found[row] = seen
    adjusted = stats.holm([each.p for each in found.values()])
    return {row: replace(each, p_holm=p) for (row, each), p in zip(found.items(), adjusted, strict=True)}


def _arms(frame: Frame, row: str) -> list[Arm]:
    """In every column; none where it lacks one."""
    found = [frame.arm_at(row, column) for column in frame.columns()]
    arms = [arm for arm in found if arm is not None]
    return arms if len(arms) == len(found) else []


def _average(frame: Frame, arms: Sequence[Arm], beside: Sequence[Arm], metric: str) -> Sample:
    return average.of_columns(
        [sample(frame, arm, metric, beside=(other,)) for arm, other in zip(arms, beside, strict=True)]
    )


def _printed(frame: Frame) -> dict[str, t5_tables.Printed]:
    """By row: what T5's paper prints of the arm that its runs begin with."""
    known = t5_tables.rows_of(frame.spec, prepared.arms(frame.spec))
    followed = {
        frame.row_of(arm): arm.after.arm
        for arm in frame.spec.compared
        if arm.after and arm.after.arm in known
    }
    return {row: known[name][1] for row, name in followed.items()}


# -- what is said of it ------------------------------------------------------------------------------------
def _notes(frame: Frame, found: Ranking) -> Iterator[str]:
    name = metric_name(found.metric)
    yield (
        f"By the average {name}, with its 95% interval over the seeds. Difference: the row's average less "
        f"that of {found.against}, on the seeds that both have; p by swaps of their signs; Holm: after his "
        f"correction over the rows."
    )
    compared = [each for each in found.rows if each.p_holm is not None]
    if compared:
        yield _told_apart(compared, found.against)
    if found.without:
        yield f"Without an average: {', '.join(found.without)}."
    if not found.printed:
        return
    columns = ", ".join(frame.columns())
    yield (
        f"T5's numbers are of the tables named, by a model of 220M parameters on GLUE, SuperGLUE, SQuAD, CNN/"
        f"Daily Mail and WMT; ours are of {columns}. Only the order can be compared."
    )
    yield from _order(found)
    theirs = t5_tables.rows_of(frame.spec, prepared.arms(frame.spec)).values()
    if any(kind == t5_tables.TWICE for kind, _ in theirs):
        yield t5_tables.OF_TWICE


def _told_apart(compared: Sequence[Ranked], against: str) -> str:
    of = len(compared)
    rows = f"{of} row{'s' if of != 1 else ''}"
    clear = [each for each in compared if each.p_holm is not None and each.p_holm <= ALPHA + 1e-12]
    if clear:
        words = ", ".join(f"{e.row} ({'better' if (e.difference or 0) > 0 else 'worse'})" for e in clear)
        return f"After Holm's correction over {rows} these differ from {against} at .05: {words}."
    fewest = stats.fewest_pairs(ALPHA / of)
    most = max(each.pairs for each in compared)
    few = f"; with fewer than {fewest} pairs none can" if most < fewest else ""
    return f"After Holm's correction over {rows} none differs from {against} at .05{few}."


def _order(found: Ranking) -> Iterator[str]:
    """In how many pairs of rows is the order that of the paper's GLUE?"""
    known = [each for each in found.rows if each.printed]
    by = t5_tables.BY
    apart = 2 * t5_tables.BASELINE_SPREAD
    pairs = [
        (better, worse)
        for better, worse in combinations(known, 2)
        if abs(better.printed[by] - worse.printed[by]) > apart
    ]
    if not pairs:
        return
    same = sum(
        better.value != worse.value and better.printed[by] > worse.printed[by] for better, worse in pairs
    )
    yield (
        f"T5's {by} has {len(pairs)} pair{'s' if len(pairs) != 1 else ''} of these rows more than {apart:g} "
        f"apart, two standard deviations of its baseline: {same} {'is' if same == 1 else 'are'} in the same "
        f"order here; by chance it would be half of them."
    )


# -- as a table --------------------------------------------------------------------------------------------
def header(found: Ranking) -> list[str]:
    ours = ["", "row", f"average {metric_name(found.metric)}", "difference", "p", "Holm"]
    return [*ours, "T5's table", *t5_tables.HEADS] if found.printed else ours


def grid(found: Ranking) -> list[list[str]]:
    """Rows of one average have one place."""
    values = [each.value for each in found.rows]
    return [[f"{values.index(each.value) + 1}", *_texts(found, each)] for each in found.rows]


def _texts(found: Ranking, each: Ranked) -> list[str]:
    value = number_text(each.value, found.decimals)
    low_high = _ends(each.interval, found.decimals)
    ours = [each.row, f"{value}{f' [{low_high}]' if low_high else ''} n {each.n}"]
    if each.difference is None or each.p is None or each.p_holm is None:
        ours += ["–", "", ""]
    else:
        within = "" if each.within is None else f" [{_ends(each.within, found.decimals)}]"
        ours += [f"{signed(each.difference)}{within} n {each.pairs}", f"{each.p:.3g}", f"{each.p_holm:.3g}"]
    if found.printed:
        scores = (each.printed.get(head) for head in t5_tables.HEADS)
        ours += [each.tables, *("" if score is None else f"{score:.2f}" for score in scores)]
    return ours


def _ends(within: stats.Interval | None, decimals: int) -> str:
    ends = () if within is None else (within.low, within.high)
    return ", ".join(number_text(end, decimals) for end in ends)


def to_markdown(found: Ranking) -> str:
    names, rest = header(found), [map(one_line, line) for line in grid(found)]
    lines = [map(one_line, names), ["---:", "---", *["---:"] * (len(names) - 2)], *rest]
    told = [f"{one_line(note)}  " for note in found.notes]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *told]) + "\n"
