"""Is a set downloaded and prepared, once, and refused in a sentence where it cannot be?"""

from __future__ import annotations

import functools
import http.server
import tarfile
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from trainer.config.benchmarks import BENCHMARKS
from trainer.data import tfds
from trainer.data.__main__ import main
from trainer.data.contract import DataError
from trainer.data.prepare import EXTRA, _builder, prepare, sets_of

library = pytest.importorskip("tensorflow_datasets")
LINES = "eins\tone\nzwei\ttwo\ndrei\tthree\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server with a text and the same as an archive: its address, and what was asked of it."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "text.tsv").write_text(LINES)
    with tarfile.open(folder / "text.tar.gz", "w:gz") as archive:
        archive.add(folder / "text.tsv", "text.tsv")
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def registered(set_name: str, url: str) -> None:
    """A translation set whose text is at this address, known to the library by this name."""

    class Fetched(library.core.GeneratorBasedBuilder):  # type: ignore[misc, name-defined]
        VERSION = library.core.Version("1.0.0")
        name = set_name

        def _info(self) -> Any:
            languages = library.features.Translation(languages=("de", "en"))
            return library.core.DatasetInfo(builder=self, features=languages)

        def _split_generators(self, downloads: Any) -> Any:
            fetch = downloads.download if url.endswith(".tsv") else downloads.download_and_extract
            return {"train": self._generate_examples(fetch(url))}

        def _generate_examples(self, path: Any) -> Iterator[tuple[int, dict[str, str]]]:
            for number, line in enumerate(Path(path).read_text().splitlines()):
                yield number, dict(zip(("de", "en"), line.split("\t"), strict=True))


def test_a_set_is_downloaded_and_prepared_once_and_read_as_any_other(
    served: tuple[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, asked = served
    registered("fetched_lines", f"{address}/text.tsv")
    arguments = ["prepare", "tfds:fetched_lines", "--data-dir", str(tmp_path)]
    assert main(arguments) == 0
    assert "train 3." in capsys.readouterr().out
    pairs = tfds.translations("fetched_lines", "train", pair="de-en", data_dir=tmp_path)
    assert sorted(pairs.many(range(3))) == [("drei", "three"), ("eins", "one"), ("zwei", "two")]
    assert main(arguments) == 0
    assert asked == ["/text.tsv"]


@pytest.mark.skipif(find_spec("tensorflow") is not None, reason="TensorFlow is here, and unpacks them")
def test_a_set_of_archives_names_the_extra_that_unpacks_them(
    served: tuple[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registered("fetched_archive", f"{served[0]}/text.tar.gz")
    assert main(["prepare", "fetched_archive", "--data-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == (
        "Preparing fetched_archive needs TensorFlow, which is not installed. Install it: "
        "pip install 'orch-studies[tfds-prepare]', and run the same again."
    )


def test_what_the_server_does_not_have_is_said_with_its_answer(
    served: tuple[str, list[str]], tmp_path: Path
) -> None:
    registered("fetched_nothing", f"{served[0]}/nowhere.tsv")
    with pytest.raises(DataError, match=r"fetched_nothing could not be prepared: .*404.* Run the same again"):
        prepare("fetched_nothing", data_dir=tmp_path)


def test_an_unknown_set_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'wmt19_translat/de-en' here\. Did you mean 'wmt19_translate'\?"):
        prepare("wmt19_translat/de-en", data_dir=tmp_path)
    with pytest.raises(DataError, match=r"no set 'glue/colla' here\. Did you mean glue/cola\?"):
        prepare("glue/colla", data_dir=tmp_path)


def test_a_source_of_a_config_stands_for_a_set() -> None:
    assert sets_of("wmt19", pair="en-fi") == ("wmt19_translate/fi-en",)
    assert sets_of("tfds:squad", pair="de-en") == ("squad",)
    assert sets_of("c4/en", pair="de-en") == ("c4/en",)


def test_every_set_of_a_benchmark_is_known_by_its_name(tmp_path: Path) -> None:
    def refusal(name: str) -> str:
        try:
            return str(_builder(name, tmp_path))[:0]
        except DataError as why:
            return str(why)

    for name in dict.fromkeys(name for task in BENCHMARKS.values() for name in task.sets):
        # Some builders state their features in TensorFlow's types.
        assert refusal(name) in (
            "",
            f"Preparing {name} needs TensorFlow, which is not installed. {EXTRA}, and run the same again.",
        )


def test_a_benchmark_s_task_stands_for_all_sets_that_it_reads() -> None:
    assert sets_of("squad", pair="de-en") == sets_of("task:squad", pair="de-en") == ("squad/v1.1",)
    assert sets_of("super_glue/wsc_dpr", pair="de-en") == (
        "super_glue/wsc.fixed",
        "definite_pronoun_resolution",
    )
    with pytest.raises(DataError, match=r"no benchmark's task 'glue/colla'\. Did you mean 'glue/cola'"):
        sets_of("task:glue/colla", pair="de-en")
