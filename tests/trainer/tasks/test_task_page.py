"""Does docs/own-task.md say what is so, and does its example run as it is written?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trainer.config import DataConfig
from trainer.config.choices import METRICS, SOURCE_TOKENS, TARGET_TOKENS, TASKS
from trainer.data.corpus import open_corpus
from trainer.tasks import own

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "own-task.md").read_text(encoding="utf-8")


def example() -> str:
    found = re.search(r"```python\n(.*?)```", PAGE, re.S)
    assert found is not None
    return found[1]


def test_the_example_is_a_task_of_at_most_30_lines(tmp_path: Path) -> None:
    assert len(example().splitlines()) <= 30
    file = tmp_path / "my_task.py"
    file.write_text(example(), encoding="utf-8")
    corpus = open_corpus(DataConfig(task=str(file), prefix="sum: "), home=tmp_path / "home")
    assert corpus.record["splits"] == {"train": 736, "guide": 64, "select": 100, "test": 100}
    rows: list[Any] = [corpus.select[i] for i in range(100)]
    for source, target in rows:
        one, other = map(int, re.findall(r"\d+", source))
        assert (source, target) == (f"sum: {one} plus {other}", ("even", "odd")[(one + other) % 2])
    assert corpus.measure is not None
    half = [target if at % 2 else "" for at, (_, target) in enumerate(rows)]
    assert corpus.measure(half, [row.record for row in rows]) == {"right": 50.0}


def test_the_page_has_each_function_and_each_split_that_is_asked_for() -> None:
    table = [line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| `")]
    assert [name.strip("`").partition("(")[0] for name in table] == [*own.FUNCTIONS, "score"]
    assert all(f'`"{split}"`' in PAGE for split in own.SPLITS)


@pytest.mark.parametrize("page", ["data.md"])
def test_every_metric_and_the_lengths_are_documented(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8").split("## Text to text\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert [name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)] == list(METRICS)
    assert f"`data.source_tokens` ({SOURCE_TOKENS})" in text
    assert f"`data.target_tokens` ({TARGET_TOKENS})" in text
    assert all(f"`{name}`" in text for name, each in TASKS.items() if not each.benchmark)
