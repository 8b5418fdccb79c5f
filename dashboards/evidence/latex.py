"""How is a table written in LaTeX?"""

from __future__ import annotations

import re

from dashboards.evidence.table_forms import grid, header, title
from dashboards.evidence.tables import Table, in_full
from orchestrator.study.spec import AVERAGE

LATEX = {"−": "$-$", "<": "$<$", ">": "$>$", "α": r"$\alpha$", "β1": r"$\beta_1$", "η̂": r"$\hat{\eta}$"}


def to_latex(made: Table) -> str:
    """For booktabs; the controls stand below a rule, and so does an average."""
    return "\n".join(map(_whole, in_full(made)))


def _whole(made: Table) -> str:
    names = header(made)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(title(made))}. {' '.join(map(_latex, made.notes))}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}",
        r"\toprule",
        " & ".join(map(_latex, names)) + r" \\",
        r"\midrule",
    ]
    before = "search"
    of_columns = ["average" if column.endswith(AVERAGE) else "search" for column in made.columns]
    of_columns += [] if made.best else ["cost", "cost"]
    kinds = of_columns if made.by_column else [row.phase for row in made.rows]
    for kind, texts in zip(kinds, grid(made), strict=True):
        if kind != before:
            lines.append(r"\midrule")
        before = kind
        lines.append(" & ".join(map(_latex, texts)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _latex(text: str) -> str:
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", " ".join(text.split()).replace("\\", r"\textbackslash "))
    escaped = escaped.replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}")
    for sign, written in {**LATEX, "–": "--", "†": r"$\dagger$", "*": r"$^{*}$"}.items():
        escaped = escaped.replace(sign, written)
    # A rule before a bracket would take it as an option of its own.
    return f"{{}}{escaped}" if escaped.startswith("[") else escaped
