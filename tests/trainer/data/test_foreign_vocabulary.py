"""Is a SentencePiece file of somebody else's taken as it is? One is trained here with T5's settings."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from trainer.data.contract import DataError
from trainer.data.vocabulary import Given, Vocabulary

WORDS = [
    "the",
    "review",
    "of",
    "a",
    "film",
    "that",
    "was",
    "very",
    "good",
    "and",
    "not",
    "too",
    "long",
    "but",
    "the",
    "end",
    "is",
    "weak",
    "naïve",
    "café",
    "straße",
]
AWKWARD = [
    "", " ", "  two  spaces  ", "a\ttab", "a\nline", "a line\r\n", "CAPITALS", "Straße", "naïve café",
    "ﬁne ligature", "①②③", "full　width　ｗｉｄｅ", "{braces}", "[1, 2]", "a_b", "tilde ~ here",
    "the <extra_id_0> review", "<extra_id_1>", "<pad> </s> <unk>", "▁", "▁the ▁film", "1,234.5", "...", "—–-",
    "漢字", "emoji 🙂 here", "zero\u200bwidth", "soft\u00adhyphen", "e\u0301 combined", "the " * 40,
]  # fmt: skip


def trained(path: Path, size: int, **more: Any) -> Path:
    model = io.BytesIO()
    sentences = [" ".join(WORDS[i % 7 :: 1 + i % 3]) for i in range(400)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, vocab_size=size, model_type="unigram",
        normalization_rule_name="nmt_nfkc", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, num_threads=1,
        minloglevel=2, **more,
    )  # fmt: skip
    path.write_bytes(model.getvalue())
    return path


@pytest.fixture(scope="module")
def spiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("theirs") / "spiece.model", 36)


@pytest.fixture(scope="module")
def words(spiece: Path) -> Vocabulary:
    return Given(spiece).open()


def test_there_are_thirty_awkward_texts() -> None:
    assert len(AWKWARD) == len(set(AWKWARD)) == 30


def test_ids_are_sentencepieces_own(words: Vocabulary, spiece: Path) -> None:
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(spiece))
    assert words.encode(AWKWARD) == [theirs.encode(text) for text in AWKWARD]


def test_sentinels_are_above_the_pieces_the_first_the_highest(words: Vocabulary) -> None:
    assert words.pieces == 36
    assert words.sentinels == tuple(range(135, 35, -1))
    assert words.size == 256  # 136, in a number that 128 divides: as T5 has 32,128 for its 32,100
    assert words.never_written == tuple(range(36, 256))
    assert words.decode([[*words.encode(["the film"])[0], 135, 200]]) == ["the film"]


def test_there_are_as_many_sentinels_as_are_asked_for(spiece: Path) -> None:
    words = Given(spiece, sentinels=30).open()
    assert words.sentinels == tuple(range(65, 35, -1))
    assert words.size == 128
    assert Given(spiece, rows=128, sentinels=100).open().sentinels == ()  # no room for all


def test_a_given_embedding_with_room_for_no_sentinel_has_none(spiece: Path) -> None:
    tight = Given(spiece, rows=36).open()
    assert (tight.size, tight.sentinels, tight.never_written) == (36, (), ())
    with pytest.raises(DataError) as problem:
        Given(spiece, rows=35).open()
    assert str(problem.value) == (
        f"{spiece} has 36 pieces, and the embedding of the model has 35 rows. Allowed is the vocabulary that "
        f"the model was trained with."
    )


def test_a_file_with_sentinels_of_its_own_keeps_them(tmp_path: Path) -> None:
    """As mT5's has."""
    names = [f"<extra_id_{i}>" for i in reversed(range(100))]
    path = trained(tmp_path / "spiece.model", 180, user_defined_symbols=names, hard_vocab_limit=False)
    words = Given(path).open()
    ids = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert words.sentinels == tuple(ids.piece_to_id(f"<extra_id_{i}>") for i in range(100))
    assert words.size == -(-words.pieces // 128) * 128  # no room for others
    assert set(words.sentinels) <= set(words.never_written)


def test_what_is_no_vocabulary_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    path.write_bytes(b"not one")
    with pytest.raises(DataError, match="is no vocabulary that can be read"):
        Given(path).open()


# Where transformers and sentencepiece differ: what looks like a special token is one to transformers,
# wherever it stands in a text.
SPECIAL = {"the <extra_id_0> review", "<extra_id_1>", "<pad> </s> <unk>"}


@pytest.mark.filterwarnings("ignore")
def test_transformers_tokenizer_agrees_where_it_agrees_with_sentencepiece(
    words: Vocabulary, spiece: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers: Any = pytest.importorskip("transformers")
    theirs = transformers.T5Tokenizer.from_pretrained(spiece.parent)
    assert theirs.convert_tokens_to_ids("<extra_id_0>") == words.sentinels[0]
    assert theirs.convert_tokens_to_ids("<extra_id_99>") == words.sentinels[99]
    differing = {
        text
        for text, ids in zip(AWKWARD, words.encode(AWKWARD), strict=True)
        if theirs(text, add_special_tokens=False)["input_ids"] != ids
    }
    assert differing == SPECIAL
