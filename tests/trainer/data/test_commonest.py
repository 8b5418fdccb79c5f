"""Is always saying the commonest target judged as any output is, by the task's own measure or by accuracy?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trainer.data.__main__ import main
from trainer.data.commonest import Commonest, commonest
from trainer.data.contract import Corpus, Measure, Row

ROWS = [Row.of(f"film {n}", "good" if n % 3 else "bad", {"n": n}) for n in range(10)]


def corpus(measure: Measure | None) -> Corpus:
    train = [("a", "bad"), ("b", "good"), ("c", "bad"), ("d", "good")]
    return Corpus("task", "input-target", "", train, [], ROWS, lambda why: [], {}, measure)


def test_it_is_accuracy_without_a_measure_and_the_first_of_those_as_common() -> None:
    assert commonest(corpus(None)) == Commonest("bad", 10, {"accuracy": 40.0})


def test_a_measure_is_asked_with_the_records_and_what_is_no_number_is_0() -> None:
    def measure(outputs: Sequence[str], records: Sequence[Any]) -> Mapping[str, float]:
        assert outputs == ["bad"] * 10
        return {"sum": float(sum(record["n"] for record in records)), "none": float("nan")}

    assert commonest(corpus(measure)).scores == {"sum": 45.0, "none": 0.0}


def test_describe_tells_it_of_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    rows = [(f"film {n}", "good" if n % 4 else "bad") for n in range(400)]
    (tmp_path / "a.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in rows))
    command = ["describe", "--task", "files", "--path", str(tmp_path / "a.tsv")]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["commonest"]
    assert (found["target"], found["rows"]) == ("good", 20)
    assert main(command) == 0
    told = f"always 'good': accuracy {found['scores']['accuracy']:.1f} (20 rows of select)\n"
    assert told in capsys.readouterr().out
    assert main(["describe", "cldr", "--pairs", "300"]) == 0
    assert "always" not in capsys.readouterr().out
