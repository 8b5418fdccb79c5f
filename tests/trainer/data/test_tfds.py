"""Are prepared sets of TensorFlow Datasets read by number, without TensorFlow, and refused in a sentence?"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.data.prepared_sets import write_set
from trainer.config import DataConfig
from trainer.data import tfds
from trainer.data.contract import DataError
from trainer.data.corpus import open_corpus, openings
from trainer.data.filters import in_order

library = pytest.importorskip("tensorflow_datasets")
TRAIN, VALIDATION = 1300, 7  # more than is read at once


def sentence(number: int) -> dict[str, str]:
    return {"de": f" Größe {number} ist hier", "en": f"size {number} is here"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a translation set under the name of WMT19's, and a set of other rows."""
    library.disable_progress_bar()
    folder = tmp_path_factory.mktemp("tfds")
    features = library.features
    write_set(
        folder / "wmt19_translate/de-en",
        features.Translation(languages=("de", "en")),
        {
            "train": [sentence(n) for n in range(TRAIN)],
            "validation": [sentence(n) for n in range(TRAIN - 2, TRAIN + VALIDATION - 2)],
        },
    )
    answers = features.Sequence({"text": features.Text(), "start": features.Scalar(np.int32)})
    questions = {"question": features.Text(), "label": features.Scalar(np.int64), "answers": answers}
    rows = [
        {"question": f"wörum {n}?", "label": n, "answers": [{"text": "dä", "start": n}]} for n in range(3)
    ]
    write_set(folder / "asked/v1.1", features.FeaturesDict(questions), {"train": rows})
    return folder


def wmt19(prepared: Path, pair: str = "de-en", **more: Any) -> DataConfig:
    return DataConfig(source="wmt19", path=str(prepared), pair=pair, identify_languages=False, **more)


def refusal(config: DataConfig, home: Path) -> str:
    with pytest.raises(DataError) as refused:
        open_corpus(config, home=home)
    return str(refused.value)


def test_rows_of_any_set_are_read_by_number_with_text_as_str(prepared: Path) -> None:
    rows = tfds.records("asked", "train", data_dir=prepared)  # the only config needs no name
    assert len(rows) == 3
    assert [rows[at] for at in range(3)] == rows.many(range(3))
    by_label = {row["label"]: row for row in rows.many(range(3))}
    assert by_label[2] == {"question": "wörum 2?", "label": 2, "answers": {"text": ["dä"], "start": [2]}}


def test_reading_needs_no_tensorflow(prepared: Path) -> None:
    assert tfds.records("asked", "train", data_dir=prepared)[0]["question"]
    assert "tensorflow" not in sys.modules


def test_wmt19_has_its_validation_as_select_and_a_guide_cut_from_train(
    prepared: Path, tmp_path: Path
) -> None:
    corpus = open_corpus(wmt19(prepared), home=tmp_path)
    assert corpus.record["splits"] == {"train": TRAIN - 64, "guide": 64, "select": VALIDATION, "test": None}
    assert len(corpus.train) == TRAIN - 64
    read = [corpus.train[at] for at in range(len(corpus.train))]
    assert read == list(in_order(corpus.train))
    guide = list(in_order(corpus.guide))
    assert sorted(read + guide) == sorted(
        (row["de"].strip(), row["en"]) for row in map(sentence, range(TRAIN))
    )
    # Reported and left: these two are WMT's own.
    held = {shared: count["sources"] for shared, count in corpus.record["overlaps"].items()}
    assert held["train-guide"] == 0
    assert held["train-select"] + held["guide-select"] == corpus.record["overlap"] == 2


def test_the_other_direction_is_the_same_set_turned(prepared: Path, tmp_path: Path) -> None:
    corpus = open_corpus(wmt19(prepared, "en-de"), home=tmp_path)
    assert set(in_order(corpus.select)) == {
        (row["en"], row["de"].strip()) for row in map(sentence, range(TRAIN - 2, TRAIN + VALIDATION - 2))
    }


def test_any_translation_set_is_a_source_and_lacks_nothing(prepared: Path, tmp_path: Path) -> None:
    config = DataConfig(source="tfds:wmt19_translate/de-en", path=str(prepared), identify_languages=False)
    corpus = open_corpus(config, home=tmp_path)
    assert corpus.record["splits"] == {"train": 1171, "guide": 64, "select": VALIDATION, "test": 65}
    assert corpus.record["versions"]["wmt19_translate/de-en"] == "1.0.0"
    assert len(corpus.test("a test")) == 65


def test_the_survey_of_a_set_is_made_once(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_corpus(wmt19(prepared), home=tmp_path)
    read: list[int] = []
    many = tfds.Translations.many

    def counted(self: tfds.Translations, indices: Any) -> list[tuple[str, str]]:
        read.extend(indices)
        return many(self, indices)

    monkeypatch.setattr(tfds.Translations, "many", counted)
    again = open_corpus(wmt19(prepared), home=tmp_path)
    assert again.fingerprint == first.fingerprint
    assert len(read) == VALIDATION


def test_the_test_set_comes_from_sacrebleu_when_it_is_opened(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sacrebleu

    dataset = sacrebleu.DATASETS["wmt19"]
    monkeypatch.setattr(dataset, "_outdir", str(tmp_path / "wmt19"))
    (tmp_path / "wmt19").mkdir()
    for field in dataset.fieldnames("de-en"):
        side = {"src": "Größe 7 ist hier\nzwei\n", "ref": "size 7 is here\ntwo\n"}.get(field, "1\n2\n")
        Path(dataset._get_txt_file_path("de-en", field)).write_text(side, encoding="utf-8")
    corpus = open_corpus(wmt19(prepared), home=tmp_path)
    assert list(in_order(corpus.test("final"))) == [("Größe 7 ist hier", "size 7 is here"), ("zwei", "two")]
    assert [(line["why"], line["overlap"]) for line in openings(tmp_path)] == [("final", 1)]


def test_a_test_set_that_cannot_be_fetched_is_no_opening(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sacrebleu

    dataset = sacrebleu.DATASETS["wmt19"]
    monkeypatch.setattr(dataset, "_outdir", str(tmp_path / "wmt19"))
    monkeypatch.setattr(dataset, "_rawdir", str(tmp_path / "wmt19/raw"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody answers there
    corpus = open_corpus(wmt19(prepared), home=tmp_path)
    with pytest.raises(DataError) as refused:
        corpus.test("final")
    assert "The test set wmt19 for de-en is not here and could not be fetched" in str(refused.value)
    assert openings(tmp_path) == []


def test_a_set_that_is_not_prepared_says_how_to_prepare_it(prepared: Path, tmp_path: Path) -> None:
    said = refusal(wmt19(prepared, "fi-en"), tmp_path)
    assert said.startswith(f"wmt19_translate/fi-en is not prepared in {prepared}, which has asked/v1.1,")
    assert "orch data prepare wmt19_translate/fi-en" in said


def test_a_half_prepared_set_is_refused(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "half/1.0.0").mkdir(parents=True)
    said = refusal(DataConfig(source="tfds:half", path=str(tmp_path)), tmp_path)
    assert "the preparation did not end" in said


def test_the_newest_version_is_read(prepared: Path, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.9.0", "1.10.0"):
        shutil.copytree(prepared / "asked/v1.1/1.0.0", tmp_path / "asked" / version)
        info = tmp_path / "asked" / version / "dataset_info.json"
        info.write_text(info.read_text().replace('"version": "1.0.0"', f'"version": "{version}"'))
    assert tfds.set_version("asked", data_dir=tmp_path) == "1.10.0"
    assert tfds.set_version("asked/1.9.0", data_dir=tmp_path) == "1.9.0"


def test_a_set_prepared_in_another_format_is_refused(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared / "asked", tmp_path / "asked")
    info = tmp_path / "asked/v1.1/1.0.0/dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(DataError) as refused:
        tfds.records("asked", "train", data_dir=tmp_path)
    assert "is prepared as tfrecord. Allowed is array_record" in str(refused.value)


def test_a_set_without_the_pair_names_the_texts_that_it_has(prepared: Path, tmp_path: Path) -> None:
    said = refusal(DataConfig(source="tfds:asked", path=str(prepared)), tmp_path)
    assert said.startswith("The rows of asked have the texts question, and the pair is de-en.")


def test_an_unknown_split_names_those_that_are_there(prepared: Path) -> None:
    with pytest.raises(DataError) as refused:
        tfds.records("wmt19_translate/de-en", "dev", data_dir=prepared)
    assert str(refused.value) == "wmt19_translate/de-en has no split 'dev'. Allowed are train, validation."
