"""Is a spec file refused for the same things, and in the same sentences, as the body of a request?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi import HTTPException

from orchestrator.api.bodies import strict_json
from orchestrator.ground.errors import BadSpec
from orchestrator.ground.strict_json import MOST_DEPTH, mistakes
from orchestrator.study.spec_files import read_spec

REFUSED = {
    "half a text": b'{"a": ',
    "two values": b"{} {}",
    "not UTF-8": b'{"a": "\xff"}',
    "null byte": b'{"a": "\0"}',
    "null character": rb'{"a": "x\u0000"}',
    "null character in a key": rb'{"x\u0000": 1}',
    "half a surrogate pair": rb'{"a": [{"b": "\ud800"}]}',
    "half a surrogate pair in a key": rb'{"a": {"\udfff": 1}}',
    "NaN": b'{"a": [1, NaN]}',
    "infinity": b'{"a": Infinity}',
    "minus infinity": b'{"a": -Infinity}',
    "large number": b'{"a": 1e309}',
    "large whole number": b'{"a": 1%s}' % (b"0" * 400),
    "many digits": b'{"a": 1%s}' % (b"0" * 5000),
    "key twice": b'{"a": {"b": 1, "b": 2}}',
    "too deep": b"%s1%s" % (b"[" * (MOST_DEPTH + 1), b"]" * (MOST_DEPTH + 1)),
    "far too deep": b"[" * 500_000,
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_a_file_and_a_body_are_refused_in_the_same_sentence(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(raw)
    with pytest.raises(BadSpec) as of_file:
        read_spec(path)
    with pytest.raises(HTTPException) as of_body:
        strict_json(raw)
    (sentence,) = of_file.value.problems
    said = of_body.value.detail.replace("The body", "IT", 1)
    assert of_body.value.status_code == 400
    assert sentence.replace(str(path), "IT", 1).replace("The spec", "IT", 1) == said


def test_a_file_tells_all_mistakes_and_a_body_the_first(tmp_path: Path) -> None:
    raw = b'{"a": NaN, "b": [1e400]}'
    (tmp_path / "s.json").write_bytes(raw)
    with pytest.raises(BadSpec) as of_file:
        read_spec(tmp_path / "s.json")
    with pytest.raises(HTTPException) as of_body:
        strict_json(raw)
    first, second = of_file.value.problems
    assert of_body.value.detail == first
    assert first.startswith("a is NaN.")
    assert second.startswith("b[0] is infinite")


def test_a_byte_order_mark_is_taken_from_a_file_and_refused_in_a_body() -> None:
    with pytest.raises(HTTPException, match="BOM"):
        strict_json(b"\xef\xbb\xbf{}")


def test_what_may_stand_comes_back_as_it_is() -> None:
    depth = MOST_DEPTH - 1
    value = {"a": [1, -2.5, 1e308, True, None, "é 😀"], "b": json.loads("[" * depth + "]" * depth)}
    assert list(mistakes(value, "The body")) == []
    assert strict_json(json.dumps(value).encode()) == value
