"""Which rows of prepared sets does a benchmark's task train on, choose by and report, and what is refused?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.tasks.mock_sets import library, prepare
from trainer.config import DataConfig, TrainConfig, check
from trainer.config.benchmarks import BENCHMARKS, DPR, OURS, PAPERS, WSC
from trainer.data import tfds
from trainer.data.__main__ import main
from trainer.data.contract import Corpus, DataError, Row
from trainer.data.corpus import open_corpus, openings
from trainer.data.splits import halves, hold_out
from trainer.training import entrypoint

PASSAGES, QUERIES = 60, 4
COLA = [{"sentence": f"word {n}", "label": n % 2, "idx": n} for n in range(230)]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    kinds, text, number = library.features, library.features.Text(), np.int32
    cola = {"sentence": text, "label": kinds.ClassLabel(num_classes=2), "idx": number}
    hidden = [{**record, "label": -1} for record in COLA[:5]]
    given = {"train": COLA[:200], "validation": COLA[200:], "test": hidden}
    prepare(folder, "glue/cola", kinds.FeaturesDict(cola), given)
    prepare(folder, "glue/rte", kinds.FeaturesDict(cola), {"train": COLA[:9]})
    prepare(folder, "glue/qnli", kinds.FeaturesDict(cola), {"validation": COLA[:9]})

    index = kinds.FeaturesDict({"passage": number, "query": number})
    names = kinds.Sequence(text)
    record = {"passage": text, "query": text, "entities": names, "answers": names, "idx": index}

    def query(n: int) -> dict[str, Any]:
        answers = [f"ent{n}", f"other{n}"][: 1 + n % 2]
        at = {"passage": n // QUERIES, "query": n}
        return {
            "passage": f"passage {n // QUERIES}",
            "query": f"query {n} @placeholder",
            "entities": [f"ent{n}", f"other{n}"],
            "answers": answers,
            "idx": at,
        }

    queries = [query(n) for n in range(PASSAGES * QUERIES)]
    given = {"train": queries[QUERIES * 10 :], "validation": queries[: QUERIES * 10]}
    prepare(folder, "super_glue/record", kinds.FeaturesDict(record), given)

    pronoun = {"text": text, "span1_text": text, "span2_text": text, "span1_index": number}
    pronoun |= {"span2_index": number, "label": kinds.ClassLabel(num_classes=2), "idx": number}
    spans = {"span1_index": 0, "span2_index": 2, "span2_text": "it"}
    wsc = [
        {"text": f"w{n} saw it", "span1_text": f"w{n}", "label": n % 2, "idx": n} | spans for n in range(60)
    ]
    prepare(folder, WSC, kinds.FeaturesDict(pronoun), {"train": wsc[:50], "validation": wsc[50:]})
    two = {"sentence": text, "pronoun": text, "candidates": kinds.Sequence(text), "label": np.int64}
    dpr = [
        {
            "sentence": f"a{n} saw b{n} as he ran",
            "pronoun": "he",
            "candidates": [f"a{n}", f"b{n}"],
            "label": n % 2,
        }
        for n in range(50)
    ]
    prepare(folder, DPR, kinds.FeaturesDict(two), {"train": dpr[:40], "test": dpr[40:]})

    mnli = {"premise": text, "hypothesis": text, "label": kinds.ClassLabel(num_classes=3), "idx": number}
    pairs = [{"premise": f"p{n // 3}", "hypothesis": f"h{n}", "label": n % 3, "idx": n} for n in range(240)]
    given = {"train": pairs[:210], "validation_matched": pairs[210:222], "validation_mismatched": pairs[222:]}
    prepare(folder, "glue/mnli", kinds.FeaturesDict(mnli), given)
    return folder


@pytest.fixture
def opened(sets: Path, tmp_path: Path) -> Callable[..., Corpus]:
    def once(task: str, protocol: str = OURS, **data: Any) -> Corpus:
        config = DataConfig(task=task, path=str(sets), **data)
        return open_corpus(config, home=tmp_path, protocol=protocol)

    return once


def rows(pairs: Any) -> list[Row]:
    return [pairs[i] for i in range(len(pairs))]


def inputs(pairs: Any) -> set[str]:
    return {row[0] for row in rows(pairs)}


Opened = Callable[..., Corpus]


# -- protocols -------------------------------------------------------------------------------------------


def test_ours_chooses_by_a_tenth_of_train_and_validation_is_opened_as_the_test_split(
    opened: Opened, tmp_path: Path
) -> None:
    corpus = opened("glue/cola")
    assert corpus.record["splits"] == {"train": 116, "guide": 64, "select": 20, "test": 30}
    assert corpus.record["protocol"] == "ours"
    parts = [inputs(part) for part in (corpus.train, corpus.guide, corpus.select)]
    assert set.union(*parts) == {f"cola sentence: word {n}" for n in range(200)}
    assert sum(map(len, parts)) == 200
    assert openings(tmp_path) == []
    assert sorted(inputs(corpus.test("why"))) == [f"cola sentence: word {n}" for n in range(200, 230)]
    assert [line["why"] for line in openings(tmp_path)] == ["why"]


def test_papers_chooses_and_reports_by_validation_and_has_no_test(opened: Opened) -> None:
    corpus = opened("glue/cola", PAPERS)
    assert corpus.record["splits"] == {"train": 136, "guide": 64, "select": 30, "test": None}
    assert sorted(inputs(corpus.select)) == [f"cola sentence: word {n}" for n in range(200, 230)]
    with pytest.raises(DataError, match=r"glue/cola has no test split with labels\."):
        corpus.test("why")
    assert opened("glue/cola").fingerprint != corpus.fingerprint


def test_rows_of_a_split_are_read_alike_one_by_one_and_many_at_once(opened: Opened) -> None:
    for task in ("super_glue/record", "super_glue/wsc_dpr", "glue/mnli"):
        corpus = opened(task)
        for part in (corpus.train, corpus.guide, corpus.select, corpus.test("why")):
            many = part.many(range(len(part)))  # type: ignore[attr-defined]
            told = [(tuple(row), row.record, row.group) for row in rows(part)]
            assert [(tuple(row), row.record, row.group) for row in many] == told


def test_train_can_be_shortened_and_what_chooses_stays(opened: Opened) -> None:
    short = opened("glue/cola", pairs=100)
    assert short.record["splits"] == {"train": 50, "guide": 50, "select": 20, "test": 30}
    assert inputs(short.select) == inputs(opened("glue/cola").select)
    assert opened("glue/cola", pairs=100).fingerprint == short.fingerprint


# -- groups ----------------------------------------------------------------------------------------------


def test_a_passage_is_on_one_side_of_every_cut_and_no_answer_is_lost(opened: Opened) -> None:
    corpus = opened("super_glue/record")
    passages = [{row.group for row in rows(part)} for part in (corpus.train, corpus.guide, corpus.select)]
    assert sum(map(len, passages)) == len(set.union(*passages)) == PASSAGES - 10
    assert len(passages[2]) == 5
    trained = [*rows(corpus.train), *rows(corpus.guide)]
    queries = [query for p in passages[0] | passages[1] for query in _queries(p)]
    assert sorted(row[1] for row in trained) == sorted(
        answer for n in queries for answer in [f"ent{n}", f"other{n}"][: 1 + n % 2]
    )
    # One row a query to choose by, in whichever passage it stands.
    assert sorted(row.record["query"] for row in rows(corpus.select)) == sorted(
        query for p in passages[2] for query in _queries(p)
    )
    assert sorted(row.record["query"] for row in rows(corpus.test("why"))) == list(range(QUERIES * 10))


def _queries(passage: str) -> range:
    number = int(passage.split()[1])
    return range(number * QUERIES, (number + 1) * QUERIES)


def test_half_of_the_rows_that_choose_and_the_reported_half_share_no_passage(opened: Opened) -> None:
    select = opened("super_glue/record").select
    chosen, reported = halves(select, most=1000, prefix="")
    sides = [{select[int(i)].group for i in side} for side in (chosen, reported)]  # type: ignore[attr-defined]
    assert all(sides)
    assert not sides[0] & sides[1]


def test_a_group_is_held_out_whole_or_not_at_all() -> None:
    groups = np.repeat(np.array([9, 2, 7, 4], np.uint64), 5)
    held, rest = hold_out(np.arange(20), groups, size=7, whole=True)
    assert sorted(set(groups[held].tolist())) == [2, 4]
    assert len(held) == 10
    assert not set(groups[held].tolist()) & set(groups[rest].tolist())
    assert sorted([*held, *rest]) == list(range(20))


def test_only_true_referents_are_trained_on_and_all_candidates_choose_and_are_reported(
    opened: Opened,
) -> None:
    corpus = opened("super_glue/wsc_dpr", guide_share=0.05)
    trained = [*rows(corpus.train), *rows(corpus.guide)]
    assert all(row.record["label"] and row[1] == row.record["candidate"] for row in trained)
    assert {row.record["label"] for row in rows(corpus.select)} == {True, False}
    held = {row.group for row in rows(corpus.select)}
    assert not held & {row.group for row in trained}
    assert len(rows(corpus.test("why"))) == 10
    of_dpr = opened("dpr", guide_share=0.05).test("why")
    assert [row.record["label"] for row in rows(of_dpr)].count(True) == len(of_dpr) // 2 == 10


def test_mnli_reports_both_of_its_validation_splits(opened: Opened) -> None:
    corpus = opened("glue/mnli")
    reported = rows(corpus.test("why"))
    assert corpus.measure is not None
    assert len(reported) == 30
    right = [row[1] if row.record["split"] == "validation_matched" else "wrong" for row in reported]
    assert corpus.measure(right, [row.record for row in reported]) == {"matched": 100.0, "mismatched": 0.0}
    chosen = rows(corpus.select)
    said = corpus.measure([row[1] for row in chosen], [row.record for row in chosen])
    assert said == {"accuracy": 100.0}
    assert len(rows(opened("glue/mnli_matched").test("why"))) == 12
    assert len(rows(opened("glue/mnli_mismatched").test("why"))) == 18


# -- refusals --------------------------------------------------------------------------------------------


def refused(**changes: Any) -> list[str]:
    score = changes.pop("score", {})
    return check({"data": {"task": "glue/cola", **changes}, "score": score})


def test_a_test_split_with_hidden_labels_is_refused_before_anything_trains() -> None:
    assert refused(score={"test": True, "protocol": "papers"}) == [
        "score.test is true and score.protocol is 'papers'. The labels of glue/cola's test split are hidden: "
        "there is nothing to score. Leave score.test out, since this protocol reports validation as score; "
        "or set score.protocol to 'ours', where validation is what score.test opens."
    ]
    assert refused(task="squad", score={"test": True, "protocol": "papers"})[0].startswith(
        "score.test is true and score.protocol is 'papers'. squad has no test split:"
    )
    assert refused(score={"test": True}) == []
    assert refused(task="cnn_dailymail", score={"test": True, "protocol": "papers"}) == []


@pytest.mark.parametrize(
    ("meant", "near"),
    [
        ("glue/colla", "glue/cola"),
        ("cola", "glue/cola"),
        ("boolq", "super_glue/boolq"),
        ("multrc", "super_glue/multirc"),
        ("squads", "squad"),
        ("cnn_daily_mail", "cnn_dailymail"),
    ],
)
def test_an_unknown_task_is_refused_with_the_nearest_name(meant: str, near: str) -> None:
    (said,) = refused(task=meant)
    assert said.startswith(f"data.task is '{meant}'. Did you mean '{near}'? Allowed: numbers, ")


def test_an_unknown_metric_or_protocol_is_refused_with_the_nearest_name() -> None:
    (said,) = refused(score={"metrics": ["acuracy"]})
    assert said.startswith("score.metrics[0] is 'acuracy'. Did you mean 'accuracy'?")
    assert refused(score={"protocol": "paper"}) == [
        "score.protocol is 'paper'. Did you mean 'papers'? Allowed: ours, papers, empty: ours."
    ]
    (said,) = check({"data": {"task": "numbers"}, "score": {"protocol": "ours"}})
    assert said == (
        "score.protocol is 'ours' and data.task is 'numbers'. It is a setting of benchmarks, such as "
        "glue/cola. Leave it out."
    )
    (said,) = refused(prefix="cola: ")
    assert said.startswith("data.prefix is 'cola: ' and data.task is 'glue/cola', which puts its own words")


def test_a_set_that_is_not_there_is_named_with_how_to_get_it(sets: Path) -> None:
    (said,) = entrypoint.check({"data": {"task": "glue/qqp", "path": str(sets)}})
    assert said == (
        f"data.task is 'glue/qqp', and its set glue/qqp is not in {sets}. Where there is a network: orch "
        f"data prepare glue/qqp --data-dir {sets}. Or name the folder where it lies prepared (data.path)."
    )
    assert entrypoint.check({"data": {"task": "glue/cola", "path": str(sets)}}) == []
    assert len(entrypoint.check({"data": {"task": "glue/wnli_referent", "path": str(sets)}})) == 1


def test_an_empty_or_missing_split_is_told(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"glue/rte has no split 'validation'\. Allowed are train\."):
        opened("glue/rte")
    with pytest.raises(DataError, match=r"glue/qnli has no split 'train'\. Allowed are validation\."):
        opened("glue/qnli")
    monkeypatch.setattr("trainer.data.tfds.records", lambda *_, **__: tfds.Records([]))
    with pytest.raises(DataError) as problem:
        opened("glue/cola")
    assert str(problem.value) == (
        "glue/cola has an empty split 'validation'. Prepare it again, or name another folder of sets."
    )


def test_hidden_labels_that_are_read_are_told(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from trainer.tasks import benchmarks

    told = replace(benchmarks.TASKS["glue/cola"], validation=("test",))
    monkeypatch.setattr(benchmarks, "TASKS", {"glue/cola": told})
    with pytest.raises(DataError, match=r"has the label -1\. .* labels of this split are hidden"):
        opened("glue/cola")


# -- describing ------------------------------------------------------------------------------------------


def test_describe_tells_counts_labels_examples_as_they_are_read_and_what_is_cut(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    arguments = ["describe", "task:glue/cola", "--data-dir", str(sets), "--source-tokens", "6"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"] == {"train": 116, "guide": 64, "select": 20, "test": 30}
    assert sum(found["labels"]["train"].values()) == 116
    assert set(found["labels"]["train"]) == {"acceptable", "unacceptable"}
    assert len(found["samples"]) == 3
    assert all("cola sentence: word 1".startswith(source[:4]) for source, _ in found["samples"])
    assert found["tokens"]["input"]["longest"] == 6
    assert found["cut"]["train"]["input"] > 0
    assert found["lost"]["of"] == 200
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "score.protocol ours" in said
    assert "acceptable" in said
    assert "cut to 6 and 32 tokens" in said
    assert main([*arguments, "--protocol", "papers"]) == 0
    assert "test                      none" in capsys.readouterr().out


def test_describe_refuses_an_unknown_task_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "task:glue/colla"]) == 2
    assert "Did you mean 'glue/cola'?" in capsys.readouterr().err


def test_every_task_says_to_how_many_tokens_it_is_cut() -> None:
    from trainer.data.tokens import task_tokens

    for name, benchmark in BENCHMARKS.items():
        config = TrainConfig.from_dict({"data": {"task": name}})
        assert task_tokens(config.data) == benchmark.tokens
    config = TrainConfig.from_dict({"data": {"task": "squad", "source_tokens": 7}})
    assert task_tokens(config.data) == (7, 32)
