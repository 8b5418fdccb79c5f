"""Which files make a report? One HTML page that needs no network, Markdown, tables, the spec, the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dashboards.evidence import csv_tables, latex, matrix, table_forms, tables
from dashboards.report import pages
from dashboards.report.answer import Answer, answer_dict
from orchestrator.study.canonical import canonical
from orchestrator.study.spec import StudySpec
from trainer.protocol import whole

PAGE, MARKDOWN, SPEC, ANSWER = "report.html", "report.md", "spec.json", "answer.json"


def write(answer: Answer, folder: Path) -> Path:
    """All files of a report into a folder, each whole; the page's path."""
    texts = {
        MARKDOWN: pages.markdown(answer),
        **table_texts(answer.tables),
        **spec_and_answer(answer.frame.spec, answer_dict(answer)),
        PAGE: pages.page(answer),
    }
    if answer.matrix is not None:
        texts["matrix.csv"] = matrix.to_csv(answer.matrix)
    return write_texts(texts, folder)


def table_texts(made: Sequence[tables.Table]) -> dict[str, str]:
    """By the name of its file; of the first one also every number."""
    return {
        "table.md": "\n".join(map(table_forms.to_markdown, made)),
        "table.tex": "\n".join(map(latex.to_latex, made)),
        "table.csv": csv_tables.to_csv(made[0]),
    }


def spec_and_answer(spec: StudySpec, answer: Mapping[str, Any]) -> dict[str, str]:
    return {SPEC: f"{canonical(spec)}\n", ANSWER: f"{pages.json_text(answer, indent=1)}\n"}


def write_texts(texts: Mapping[str, str], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with whole(folder / name) as file:
            file.write_text(text, encoding="utf-8")
    return folder / PAGE
