"""Is the embedded corpus right in four languages, free of repeats, and the same each time?"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from babel.numbers import format_decimal

from trainer.data import cldr
from trainer.data.cldr_frames import FRAMES
from trainer.data.cldr_terms import Terms, terms
from trainer.data.contract import DataError
from trainer.data.number_words import BEFORE_A_NOUN, LANGUAGES, cardinal

COUNT = 1_500


@pytest.fixture(scope="module", params=cldr.LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(level: str) -> list[dict[str, str]]:
    return cldr.generate(level=level, count=COUNT, seed=3)


@pytest.fixture(scope="module")
def known() -> Terms:
    return terms()


# -- number words against rules stated here --------------------------------------------------------------


ENGLISH = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
ENGLISH_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
GERMAN = (
    *("null", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf"),
    *("zwölf", "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn"),
)
GERMAN_TENS = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
FINNISH = (
    *("nolla", "yksi", "kaksi", "kolme", "neljä", "viisi", "kuusi", "seitsemän", "kahdeksan", "yhdeksän"),
    "kymmenen",
)
LITHUANIAN = (
    *("nulis", "vienas", "du", "trys", "keturi", "penki", "šeši", "septyni", "aštuoni", "devyni", "dešimt"),
    *("vienuolika", "dvylika", "trylika", "keturiolika", "penkiolika", "šešiolika", "septyniolika"),
    *("aštuoniolika", "devyniolika"),
)
LITHUANIAN_TENS = (
    *("dvidešimt", "trisdešimt", "keturiasdešimt", "penkiasdešimt", "šešiasdešimt", "septyniasdešimt"),
    *("aštuoniasdešimt", "devyniasdešimt"),
)


def english(n: int) -> str:
    if n < 20:
        return ENGLISH[n]
    if n < 100:
        return ENGLISH_TENS[n // 10 - 2] + (f"-{ENGLISH[n % 10]}" if n % 10 else "")
    if n < 1_000:
        return f"{ENGLISH[n // 100]} hundred" + (f" and {english(n % 100)}" if n % 100 else "")
    joint = "" if n % 1_000 == 0 else ", " if n % 1_000 >= 100 else " and "
    return f"{english(n // 1_000)} thousand" + joint + (english(n % 1_000) if n % 1_000 else "")


def german(n: int, last: bool = True) -> str:
    if n == 1 and last:
        return "eins"
    if n < 20:
        return GERMAN[n]
    if n < 100:
        return (f"{GERMAN[n % 10]}und" if n % 10 else "") + GERMAN_TENS[n // 10 - 2]
    if n < 1_000:
        return f"{GERMAN[n // 100]}hundert" + (german(n % 100, last) if n % 100 else "")
    return f"{german(n // 1_000, last=False)}tausend" + (german(n % 1_000, last) if n % 1_000 else "")


def finnish(n: int) -> str:
    if n <= 10:
        return FINNISH[n]
    if n < 20:
        return FINNISH[n - 10] + "toista"
    if n < 100:
        return FINNISH[n // 10] + "kymmentä" + (FINNISH[n % 10] if n % 10 else "")
    if n < 1_000:
        hundreds = "sata" if n < 200 else FINNISH[n // 100] + "sataa"
        return hundreds + (finnish(n % 100) if n % 100 else "")
    thousands = "tuhat" if n < 2_000 else finnish(n // 1_000) + "tuhatta"
    return thousands + (f" {finnish(n % 1_000)}" if n % 1_000 else "")


def lithuanian(n: int) -> str:
    if n < 20:
        return LITHUANIAN[n]
    if n < 100:
        return LITHUANIAN_TENS[n // 10 - 2] + (f" {LITHUANIAN[n % 10]}" if n % 10 else "")
    if n < 1_000:
        hundreds = f"{LITHUANIAN[n // 100]} {'šimtas' if n < 200 else 'šimtai'}"
        return hundreds + (f" {lithuanian(n % 100)}" if n % 100 else "")
    k = n // 1_000  # the noun follows the last figure: 1 singular, 2 to 9 plural, 0 and 10 to 19 genitive
    noun = (
        "tūkstančių" if k % 10 == 0 or 10 <= k % 100 < 20 else "tūkstantis" if k % 10 == 1 else "tūkstančiai"
    )
    return f"{lithuanian(k)} {noun}" + (f" {lithuanian(n % 1_000)}" if n % 1_000 else "")


@pytest.mark.parametrize(
    ("language", "rule"), [("en", english), ("de", german), ("fi", finnish), ("lt", lithuanian)]
)
def test_numbers_are_written_out_by_each_languages_rules(language: str, rule: Callable[[int], str]) -> None:
    draws = random.Random(5)
    thousands_in_01 = [h * 100_000 + 1_000 + draws.randrange(1_000) for h in range(10)]  # 201,xxx and so on
    numbers = {*range(1_000), *thousands_in_01, *(h * 100_000 + 1_000 for h in range(10)), 100_000, 999_999}
    numbers |= {draws.randrange(10**6) for _ in range(800)} | set(BEFORE_A_NOUN)
    assert {n: cardinal(n, language) for n in numbers} == {n: rule(n) for n in numbers}


def test_numbers_that_are_written_wrongly_are_refused() -> None:
    with pytest.raises(DataError, match="1000000 is not written out; only 0 to 999999"):
        cardinal(1_000_000, "de")
    with pytest.raises(DataError, match="'sv'"):
        cardinal(3, "sv")


# -- units, figures, frames ------------------------------------------------------------------------------


def test_units_agree_with_their_numbers(known: Terms) -> None:
    said = {
        s.language: [s.unit(n, "length-kilometer") for n in (1, 2, 10, 21, 111, 12.5)] for s in known.speakers
    }
    km = "kilometer"
    assert said["en"] == [f"1 {km}", *(f"{n} {km}s" for n in ("2", "10", "21", "111", "12.5"))]
    assert said["de"] == [f"{n} Kilometer" for n in ("1", "2", "10", "21", "111", "12,5")]
    assert said["fi"] == ["1 kilometri", *(f"{n} kilometriä" for n in ("2", "10", "21", "111", "12,5"))]
    assert said["lt"] == [
        *("1 kilometras", "2 kilometrai", "10 kilometrų"),
        *("21 kilometras", "111 kilometrų", "12,5 kilometro"),
    ]


def test_no_unit_mixes_words_with_an_abbreviation_or_an_id(known: Terms) -> None:
    assert len(known.units) >= 120
    assert "light-candela" not in known.units  # Lithuanian has "2 cd" beside "10 kandelų"
    said = [s.unit(n, unit) for s in known.speakers for unit in known.units for n in (1, 2, 10, 2.5)]
    assert [text for text in said if any(unit in text for unit in known.units)] == []


def test_figures_are_punctuated_as_in_each_language(known: Terms) -> None:
    for speaker in known.speakers:
        for n in (0, 7, 999, 1_000, 1234.5, 98_765, 1_234_567):
            expected = format_decimal(n, locale=speaker.language).replace("\xa0", " ").replace("\u202f", " ")
            assert speaker.number(n) == expected


def test_amounts_of_money_carry_no_idle_cents(known: Terms) -> None:
    assert [s.money(1, "USD") for s in known.speakers] == [
        *("1 US dollar", "1 US-Dollar", "1 Yhdysvaltain dollari", "1 JAV doleris"),
    ]


def test_every_frame_has_the_same_slots_in_all_languages() -> None:
    for frame in FRAMES:
        slots = [sorted(re.findall(r"{(\w+)}", text)) for text in frame]
        assert slots == [slots[0]] * 4, frame


# -- what is generated -----------------------------------------------------------------------------------


def test_no_text_comes_twice_in_any_language(made: list[dict[str, str]]) -> None:
    assert len(made) == COUNT
    assert {tuple(record) for record in made} == {LANGUAGES}
    for language in LANGUAGES:
        assert len({record[language].casefold() for record in made}) == COUNT


def test_a_shorter_corpus_is_the_beginning_of_a_longer_one(level: str, made: list[dict[str, str]]) -> None:
    assert cldr.generate(level=level, count=50, seed=3) == made[:50]
    assert cldr.generate(level=level, count=50, seed=4) != made[:50]


def test_text_is_tidy(made: list[dict[str, str]]) -> None:
    for record in made:
        for text in record.values():
            assert re.fullmatch(r"\S+( \S+)*", text), text  # no other kind of space, none doubled
            assert not re.search(r"[{}\xa0]|\.\.|None", text), text


def test_all_four_texts_of_a_record_have_the_same_figures(made: list[dict[str, str]]) -> None:
    group = {"en": ",", "de": r"\.", "fi": " ", "lt": " "}
    for record in made:
        if "quarter" in record["en"]:
            continue  # a Roman figure in Lithuanian
        figures = set()
        for language, text in record.items():
            ungrouped = re.sub(rf"(?<=\d){group[language]}(?=\d\d\d(?!\d))", "", text)
            figures.add(tuple(sorted(int(n) for n in re.findall(r"\d+", ungrouped))))
        assert len(figures) == 1, record


def test_phrases_are_short_and_of_few_words_and_sentences_of_many() -> None:
    for level, fewest, most in (("phrases", 100, 500), ("sentences", 2_000, 10_000)):
        rows = cldr.generate(level=level, count=3_000, seed=0)
        for language in LANGUAGES:
            words = [record[language].split() for record in rows]
            assert fewest <= len({word for text in words for word in text}) <= most, (level, language)
            assert max(map(len, words)) <= (12 if level == "phrases" else 25)


@pytest.mark.skipif(
    (version("babel"), version("num2words")) != ("2.18.0", "0.5.14"), reason="other versions give other text"
)
def test_the_text_changes_only_with_the_version() -> None:
    """If this fails, other text came out: raise cldr.VERSION, and write down the new version and sums."""
    sums = {
        level: hashlib.sha256(
            json.dumps(cldr.generate(level=level, count=200, seed=0), ensure_ascii=False).encode()
        ).hexdigest()[:16]
        for level in cldr.LEVELS
    }
    assert (cldr.VERSION, sums) == (2, {"phrases": "1d09f61791bc01fc", "sentences": "284df1eb38401e7a"})


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"level": "phrase"}, "There is no level 'phrase' of cldr. Take phrases or sentences."),
        ({"count": 0}, "0 records of cldr were asked for. Ask for at least 1."),
        ({"seed": -1}, "The seed of cldr is -1. Take 0 or more."),
    ],
)
def test_a_corpus_that_cannot_be_is_refused(wrong: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"level": "phrases", "count": 10, "seed": 0} | wrong
    with pytest.raises(DataError) as refused:
        cldr.generate(**asked)
    assert str(refused.value) == sentence
    with pytest.raises(DataError) as refused:
        cldr.records(**asked, home=tmp_path)
    assert str(refused.value) == sentence


def test_a_corpus_that_runs_out_of_text_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cldr, "MOST_REPEATS", 1)  # so that the first repeat is the end
    with pytest.raises(DataError, match=r"The phrases of cldr ran out after \d+ records, of 20000 asked for"):
        cldr.generate(level="phrases", count=20_000, seed=0)


# -- what is kept ----------------------------------------------------------------------------------------


def test_records_are_made_once_and_kept_with_their_fingerprint(tmp_path: Path) -> None:
    rows = cldr.records(level="phrases", count=30, seed=1, home=tmp_path)
    assert list(rows) == cldr.generate(level="phrases", count=30, seed=1)
    assert rows.fingerprint == hashlib.sha256(gzip.decompress(rows.path.read_bytes())).hexdigest()
    assert f"babel {version('babel')}" in rows.made_with

    # Another text in the file shows that it is read, not made again; and it has another fingerprint.
    rows.path.write_bytes(gzip.compress(b'{"en": "a", "de": "b"}\n'))
    again = cldr.records(level="phrases", count=30, seed=1, home=tmp_path)
    assert list(again) == [{"en": "a", "de": "b"}]
    assert again.fingerprint != rows.fingerprint
    assert cldr.records(level="phrases", count=30, seed=2, home=tmp_path).path != rows.path


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    rows = cldr.records(level="phrases", count=30, seed=1, home=tmp_path)
    whole = rows.path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not gzip", whole[:200] + b"\0\0\0\0" + whole[204:]):
        rows.path.write_bytes(damaged)
        assert cldr.records(level="phrases", count=30, seed=1, home=tmp_path) == rows
        assert rows.path.read_bytes() == whole


def test_two_processes_at_once_do_no_harm(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainer.data import cldr;"
        "print(cldr.records(level='phrases', count=300, seed=0, home=Path(sys.argv[1])).fingerprint)"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert set(said) == {cldr.records(level="phrases", count=300, seed=0, home=tmp_path).fingerprint + "\n"}
    assert len(list((tmp_path / "cldr").iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cldr").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"Delete it|another folder in ORCH_HOME"):
        cldr.records(level="phrases", count=3, seed=0, home=tmp_path)
