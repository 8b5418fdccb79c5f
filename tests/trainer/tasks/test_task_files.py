"""Are a user's rows read as a task: nothing dropped but what is there twice, and told by their own words?"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from trainer.config import DataConfig, TrainConfig
from trainer.data import files
from trainer.data.__main__ import main
from trainer.data.contract import Corpus, DataError
from trainer.data.corpus import open_corpus
from trainer.data.tokens import Tokens, open_tokens
from trainer.data.vocabulary import END

WORDS = ("awful", "bad", "fine", "good", "great")
ROWS = [(f"film {n} is {WORDS[n % 5]}", "good" if n % 5 > 1 else "bad") for n in range(400)]


def write(file: Path, rows: list[tuple[str, str]] = ROWS) -> Path:
    if file.suffix == ".tsv":
        text = "".join(f"{source}\t{target}\n" for source, target in rows)
    else:
        text = "".join(json.dumps({"input": s, "target": t}) + "\n" for s, t in rows)
    file.write_text(text, encoding="utf-8")
    return file


def opened(path: Path, **more: Any) -> Corpus:
    home = (path if path.is_dir() else path.parent) / "home"
    return open_corpus(DataConfig(task="files", path=str(path), **more), home=home)


def tokens_of(path: Path, buckets: int = 1, **data: Any) -> tuple[Tokens, TrainConfig]:
    stated = {"data": {"task": "files", "path": str(path), **data}, "batch": {"buckets": buckets}}
    config = TrainConfig.from_dict(stated)
    return open_tokens(config, home=path.parent / "home"), config


def rows_of(corpus: Corpus) -> dict[str, list[tuple[str, str]]]:
    splits = {
        "train": corpus.train,
        "guide": corpus.guide,
        "select": corpus.select,
        "test": corpus.test("why"),
    }
    return {name: [tuple(split[i]) for i in range(len(split))] for name, split in splits.items()}  # type: ignore[misc]


@pytest.mark.parametrize("name", ["reviews.tsv", "reviews.jsonl"])
def test_a_file_becomes_four_splits_that_have_every_row_once(tmp_path: Path, name: str) -> None:
    corpus = opened(write(tmp_path / name))
    splits = rows_of(corpus)
    assert sorted(row for rows in splits.values() for row in rows) == sorted(ROWS)
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 296, "guide": 64, "select": 20, "test": 20
    }  # fmt: skip
    assert (corpus.name, corpus.pair) == (f"task {name}", "input-target")


def test_a_folder_gives_its_splits_and_train_loses_what_they_have(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv")
    write(tmp_path / "dev.jsonl", ROWS[:30])
    splits = rows_of(opened(tmp_path))
    assert splits["select"] == ROWS[:30]
    assert not {*ROWS[:30]} & {*splits["train"], *splits["guide"], *splits["test"]}


def test_what_is_long_short_or_in_any_language_stays_and_an_input_that_came_before_goes(
    tmp_path: Path,
) -> None:
    strange = [
        ("word " * 900, "long"),
        ("Das ist ein ganz gewöhnlicher deutscher Satz.", "Und das ist noch einer davon."),
        ("42", "a very long target for so short an input " * 20),
    ]
    rows = [*ROWS, *strange, (ROWS[0][0], "another target"), ROWS[1]]
    corpus = opened(write(tmp_path / "a.tsv", rows))
    found = [row for split in rows_of(corpus).values() for row in split]
    assert sorted(found) == sorted([*ROWS, *((s.strip(), t.strip()) for s, t in strange)])
    assert corpus.record["filters"][0] == {"name": "duplicate inputs", "before": 405, "after": 403}
    assert corpus.record["duplicates"] == 2


def test_the_pair_changes_nothing_and_the_prefix_the_inputs_but_no_split(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv")
    plain, other = opened(path), opened(path, pair="fi-lt")
    assert plain.fingerprint == other.fingerprint
    prefixed = opened(path, prefix="review: ")
    assert prefixed.fingerprint != plain.fingerprint
    assert rows_of(prefixed) == {
        name: [(f"review: {source}", target) for source, target in rows]
        for name, rows in rows_of(plain).items()
    }


def test_long_sides_are_cut_to_their_tokens_and_counted_and_no_row_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", [*ROWS, ("film 0 is " + "awful " * 50, "bad " * 40)])
    made, _ = tokens_of(path, source_tokens=8, target_tokens=3)
    for split in ("train", "guide", "select"):
        some, rows = getattr(made, split), getattr(made.corpus, split)
        assert len(some) == len(rows)
        sides = [made.vocabulary.encode([rows[i][side] for i in range(len(rows))]) for side in (0, 1)]
        cut = []
        for side, (name, most) in zip(sides, (("source", 8), ("target", 3)), strict=True):
            flat, starts = getattr(some, name), getattr(some, f"{name}_starts")
            assert [flat[a:b].tolist() for a, b in pairwise(starts)] == [
                [*ids[: most - 1], END] for ids in side
            ]
            cut.append(sum(len(ids) + 1 > most for ids in side))
        assert (some.cut, some.too_long) == (tuple(cut), 0)
    assert made.cut()["train"] == dict(zip(("input", "target"), made.train.cut, strict=True))
    again, _ = tokens_of(path, source_tokens=8, target_tokens=3, guide_share=0.011)  # kept on disk
    assert again.train.cut == made.train.cut


def test_a_vocabulary_knows_the_letters_of_inputs_that_are_all_very_long(tmp_path: Path) -> None:
    long = [(f"{source} {'zebra quartz ' * 500}", target) for source, target in ROWS]
    made, _ = tokens_of(write(tmp_path / "a.tsv", long))
    assert made.vocabulary.decode(made.vocabulary.encode(["zebra quartz 7"])) == ["zebra quartz 7"]
    assert made.train.cut[0] == len(made.train) == len(made.corpus.train)


def test_batches_are_as_long_as_the_config_says_whatever_the_text(tmp_path: Path) -> None:
    made, config = tokens_of(write(tmp_path / "a.tsv"), source_tokens=40, target_tokens=16)
    pieces, _, _ = made.batches(config).chunk({"step": 0}, 2)
    assert pieces[0]["source"].shape == (2, 32, 40)
    assert pieces[0]["target_out"].shape == (2, 32, 16)
    assert made.guidance_batch(config)["source"].shape == (32, 40)
    assert made.dev_batches()["target_out"].shape[-1] == 16
    packed, config = tokens_of(tmp_path / "a.tsv", buckets=0)
    assert (
        packed.batches(config).chunk({"epoch": 0, "window": 0, "row": 0}, 1)[0][0]["source"].shape[-1] < 128
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "a.tsv",
            "good film good\n",
            "line 1: it has no tab. Allowed are two columns, input and target, with",
        ),
        (
            "a.tsv",
            "\tgood\n",
            "line 1: the input is empty. Allowed is text on both sides: fill it in, or take the row out.",
        ),
        ("a.tsv", "film\t\n", "line 1: the target is empty."),
        ("a.tsv", "film\tgood\n\n", "line 2: the row is empty."),
        ("a.tsv", "", "is empty. Put at least one row in it."),
        (
            "a.jsonl",
            '{"source": "film", "target": "good"}\n',
            "lacks a side. Allowed are objects with two texts, 'input' and 'target'.",
        ),
    ],
)
def test_what_is_wrong_is_told_in_words_of_inputs_and_targets(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as refused:
        files.read(tmp_path / name, pair=files.TASK)
    assert str(refused.value).startswith(str(tmp_path / name))
    assert said in str(refused.value)


def test_a_path_to_nothing_says_what_a_task_may_be(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        files.found(tmp_path / "reviews", pair=files.TASK)
    assert "a TSV (input, tab, target), JSON lines (.jsonl), a folder with train.*" in str(refused.value)


def test_describing_a_task_counts_what_is_cut_and_opens_no_test_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    path = write(tmp_path / "reviews.tsv", [*ROWS, ("film 0 is " + "awful " * 500, "bad")])
    command = ["describe", "--task", "files", "--path", str(path), "--prefix", "review: "]
    assert main([*command, "--source-tokens", "64"]) == 0
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert said[0].startswith("task reviews.tsv (")
    assert "duplicate inputs 401 -> 401 0" in said
    assert "cut to 64 and 32 tokens" in said
    assert any(line.startswith("review: film") for line in said)
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["most_tokens"] == {"input": 128, "target": 32}
    assert sum(cut["input"] for cut in found["cut"].values()) <= 1
    assert main(["openings"]) == 0
    assert capsys.readouterr().out == "No test split has been opened.\n"
    assert main(["describe", "files", "--task", "files", "--path", str(path)]) == 2
    assert capsys.readouterr().err.startswith("data.source is 'files' and data.task is 'files'.")
