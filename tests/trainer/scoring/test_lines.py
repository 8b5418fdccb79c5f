"""Does a line become the same whatever stands beside it, and is what is empty, long or no text told apart?"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from trainer.data.corpus import open_corpus
from trainer.protocol import Place, Reply
from trainer.scoring import decode, lines
from trainer.terminal.translate import Model, main
from trainer.training import entrypoint

CONFIG: dict[str, Any] = {
    "steps": 120,
    "eval_every_steps": 120,
    "checkpoint_every_steps": 120,
    "data": {"pairs": 3000, "longest_tokens": 32},
    "model": {"size": "tiny", "d_model": 32, "d_attention": 32, "d_ff": 64, "heads": 2, "layers": 1},
    "score": {"dev_sentences": 0},
}
LONG = "Das ist gut. " + "drei Tage und vier Wochen " * 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A briefly trained model's folder, and sentences of its kind."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("run")
    before = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCH_HOME", str(home))
        entrypoint.run(CONFIG, lambda report: Reply.GO, folder, Place())
        model = Model.open(folder)
        corpus = open_corpus(model.config.data, home=home)
        yield folder, model, [corpus.train[i][0] for i in range(2000)]
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize("count", [200, pytest.param(1980, marks=pytest.mark.slow)])
def test_two_thousand_sentences_translate_alike_in_five_orders(trained: Any, count: int) -> None:
    _, model, sentences = trained
    sentences = [*sentences[:count], *(" ".join(sentences[i : i + 4]) for i in range(20))]  # some longer ones
    expected = model.translate(sentences, beam=2).lines
    assert len(set(expected)) > count // 20
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(sentences))
        found = model.translate([sentences[i] for i in order], beam=2).lines
        assert found == [expected[i] for i in order]
    assert model.translate(sentences[:3], beam=2).lines == expected[:3]


def test_an_empty_line_stays_empty(trained: Any) -> None:
    _, model, _ = trained
    found = model.translate(["", "drei Tage", " \t"]).lines
    assert (found[0], found[2]) == ("", "")
    assert found[1]


def test_a_batch_has_so_many_rows_as_its_tokens_allow() -> None:
    def tokens(width: int) -> int:
        a_row = 4 * (width + decode.limit_of(width))
        return decode._rows_within(a_row) * a_row

    assert all(tokens(1 << n) <= decode.TOKENS for n in range(4, 12))
    assert decode._rows_within(10 * decode.TOKENS) == 1


def test_a_model_takes_four_times_what_it_was_trained_on_and_no_more_than_1024_of_that() -> None:
    def most(**data: Any) -> int:
        from trainer.config import TrainConfig

        return lines.most_tokens(TrainConfig.from_dict({"data": data}).data)

    assert most() == 96
    assert most(level="sentences") == 256
    assert most(longest_tokens=500) == 1024
    assert most(longest_tokens=3000) == 3000


def test_a_long_line_is_cut_with_a_remark_when_asked(
    trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, model, _ = trained
    assert main([str(folder), "--text", "drei Tage", "--text", LONG, "--long", "cut"]) == 0
    said = capsys.readouterr()
    tokens = len(model.vocabulary.encode([LONG])[0]) + 1
    assert said.err.startswith(
        f"orch: --text 2 has {tokens} tokens, and this model takes 128 at most: only the first "
    )
    assert said.err.endswith(
        f" of its {len(LONG.split())} words were translated. With --long split it is translated "
        "sentence by sentence.\n"
    )
    assert len(said.out.splitlines()) == 2


def test_a_long_line_is_split_at_its_sentences_and_a_sentence_that_is_still_too_long_is_cut(
    trained: Any,
) -> None:
    _, model, sentences = trained
    plain = [each for each in sentences if "." not in each][:40]
    several = ". ".join(plain) + "."
    found = model.translate([several, LONG])
    alone = model.translate([f"{each}." for each in plain]).lines
    assert found.lines[0] == " ".join(alone)
    (cut,) = found.cuts
    assert (cut.line, cut.words) == (1, 200)
    assert 0 < cut.kept < 200
    assert found.lines[1].startswith(model.translate(["Das ist gut."]).lines[0])


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_a_byte_that_is_no_utf8_is_a_sentence_with_its_line_after_what_came_before(
    trained: Any,
    way: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _, _ = trained
    text, file = b"drei Tage\nvier Tage\nsch\xf6n\n", tmp_path / "a.txt"
    file.write_bytes(text)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main([str(folder), *(["--file", str(file)] if way == "file" else [])]) == 2
    said = capsys.readouterr()
    name = str(file) if way == "file" else "standard input"
    assert said.err == (
        f"orch: {name}, line 3: byte 4 is 0xf6, not UTF-8. Allowed is UTF-8: convert it, such as with "
        f"iconv.\n"
    )
    assert len(said.out.splitlines()) == 2


def test_a_text_argument_that_is_no_utf8_is_a_sentence(
    trained: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = trained
    assert main([str(folder), "--text", "sch\udcf6n"]) == 2
    assert capsys.readouterr().err.startswith("orch: --text 1: byte 4 is 0xf6, not UTF-8.")
