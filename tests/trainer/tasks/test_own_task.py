"""Does one Python file make a task, is what is wrong with it a sentence, and is it run by a run alone?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.config import DataConfig
from trainer.data.contract import Corpus, DataError
from trainer.data.corpus import open_corpus
from trainer.training import entrypoint

SOUND = """
def rows(split):
    return None if split != "train" else [{"n": n} for n in range(100)]

def input(record):
    return f"number {record['n']}"

def target(record):
    return "even" if record["n"] % 2 == 0 else "odd"
"""


def opened(tmp_path: Path, text: str = SOUND, **more: Any) -> Corpus:
    file = tmp_path / "my_task.py"
    file.write_text(text, encoding="utf-8")
    return open_corpus(DataConfig(task=str(file), **more), home=tmp_path / "home")


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(DataError) as refused:
        opened(tmp_path, text)
    said = str(refused.value)
    assert str(tmp_path / "my_task.py") in said
    assert "\n" not in said
    return said.replace(str(tmp_path / "my_task.py"), "FILE")


def test_a_file_makes_rows_with_their_records_and_lacking_splits_are_cut(tmp_path: Path) -> None:
    corpus = opened(tmp_path, prefix="p: ")
    assert corpus.name == "task my_task"
    splits = (corpus.train, corpus.guide, corpus.select, corpus.test("why"))
    rows: list[Any] = [split[i] for split in splits for i in range(len(split))]
    assert sorted(row.record["n"] for row in rows) == list(range(100))
    for row in rows:
        assert row == (f"p: number {row.record['n']}", "odd" if row.record["n"] % 2 else "even")
    assert corpus.measure is None


def test_the_splits_that_it_has_are_its_own(tmp_path: Path) -> None:
    of_each = '{"train": range(80), "select": range(80, 90), "test": range(90, 100)}[split]'
    text = SOUND.replace(f'None if split != "train" else {ALL}', f'[{{"n": n}} for n in {of_each}]')
    corpus = opened(tmp_path, text)
    assert [row.record["n"] for row in corpus.select] == list(range(80, 90))  # type: ignore[attr-defined]
    assert len(corpus.test("why")) == 10


def test_the_contents_of_the_file_are_part_of_the_text(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path, SOUND + "# another version\n")
    assert one.fingerprint != two.fingerprint == opened(tmp_path, SOUND + "# another version\n").fingerprint


def test_its_own_measure_is_asked_with_outputs_and_records(tmp_path: Path) -> None:
    right = "100 * (outputs == [target(r) for r in records])"
    score = f"def score(outputs, records):\n    return {{'right': {right}}}\n"
    measure = opened(tmp_path, SOUND + score).measure
    assert measure is not None
    assert measure(["even", "odd"], [{"n": 2}, {"n": 3}]) == {"right": 100.0}


ALL = '[{"n": n} for n in range(100)]'
BAD = """
class Bad:
    def __len__(self):
        return 3
    def __getitem__(self, i):
        raise KeyError(i)
"""
SEQUENCE = "Allowed is a sequence of records, such as a list. Return one."
WRONG = [
    (
        SOUND.replace("def target", "def aim"),
        "FILE has no function target. Allowed is a file with the functions rows, input, target, and score if "
        "it likes. Write it.",
    ),
    (SOUND.replace(ALL, "(n for n in range(9))"), f"rows('train') of FILE gives a generator. {SEQUENCE}"),
    (SOUND.replace(ALL, '{"a": 1}'), f"rows('train') of FILE gives a dict. {SEQUENCE}"),
    (
        SOUND.replace(ALL, "[]"),
        "rows('train') of FILE gives no records. Allowed is one at least. Return some.",
    ),
    (
        SOUND.replace("return f\"number {record['n']}\"", "return record['n']"),
        "input(…) of FILE gives 0, an int, for record 0 of rows('train'). Allowed is a text. Make one of it, "
        "such as with str(…).",
    ),
    (
        SOUND.replace('"even"', "'\\ud800'"),
        "target(…) of FILE gives '\\ud800' for record 0 of rows('train'), and half a letter in it (a "
        "surrogate). Allowed is text that UTF-8 can hold. Leave it out, or read its file as UTF-8.",
    ),
    (
        SOUND.replace("record['n']", "record['m']"),
        "FILE, line 6: input(…) of record 0 of rows('train') failed (KeyError: 'm'). Mend the file.",
    ),
    (
        f"{SOUND}raise ValueError('no\\nrows')\n",
        "FILE, line 10: the file failed (ValueError: no rows). Mend the file.",
    ),
    (
        f"{SOUND}import sys; sys.exit(3)\n",
        "FILE, line 10: the file failed (SystemExit: 3). Mend the file.",
    ),
    (
        "def rows(split:\n",
        "FILE, line 1: the file failed (SyntaxError: '(' was never closed (my_task.py, line 1)). Mend the "
        "file.",
    ),
    (
        SOUND.replace(ALL, "Bad()") + BAD,
        "FILE, line 15: record 0 of rows('train') failed (KeyError: 0). Mend the file.",
    ),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_with_it_is_one_sentence_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert refusal(tmp_path, text) == said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 81.5", "gives 81.5. Allowed is a dict of names with numbers, in percent. Return one, such"),
        ("return {}", "gives {}. Allowed is a dict"),
        ("return {'right': 'all'}", "gives {'right': 'all'}. Allowed is a dict"),
        ("return {}['x']", "line 11: score(outputs, records) failed (KeyError: 'x'). Mend the file."),
    ],
)
def test_a_measure_that_gives_something_else_is_one_sentence(tmp_path: Path, body: str, said: str) -> None:
    measure = opened(tmp_path, f"{SOUND}def score(outputs, records):\n    {body}\n").measure
    assert measure is not None
    with pytest.raises(DataError) as refused:
        measure(["a"], [{"n": 1}])
    assert said in str(refused.value)


def test_a_check_looks_for_the_file_and_never_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_task.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\nraise SystemExit\n")
    assert entrypoint.check({"data": {"task": str(tmp_path / "my_task.py")}}) == []
    assert entrypoint.check({"data": {"task": "my_task.py"}}) == [
        f"data.task is 'my_task.py', which is another place for a worker in another folder. Write the whole "
        f"path: {str(tmp_path / 'my_task.py')!r}."
    ]
    assert entrypoint.check({"data": {"task": "/nowhere/my_task.py"}}) == [
        "data.task is '/nowhere/my_task.py', and there is no such file. Allowed are numbers, word-order, "
        "figures, facts, files, a benchmark's such as glue/cola, or the path of a Python file that is there."
    ]
    assert not (tmp_path / "was-run").exists()
