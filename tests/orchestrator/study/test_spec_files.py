"""Is every mistake in a spec answered with its own sentence, within a second?"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.ground.errors import BadSpec
from orchestrator.study.canonical import canonical
from orchestrator.study.spec_files import read_spec, spec_from_dict
from studies import catalog

ARM_KEYS = (
    "name, method, config, space, trials, startup_trials, window, rungs, replicates, after, phase, "
    "fresh_seeds, row, column, run_hours, control, role"
)
Write = Callable[[str, str | bytes], Path]


@pytest.fixture(autouse=True)
def within_a_second() -> Iterator[None]:
    """CPU time, since the machine may be busy with other things; and what other tests have left in memory is
    not looked through for garbage meanwhile."""
    gc.freeze()
    before = time.process_time()
    yield
    took_s = time.process_time() - before
    gc.unfreeze()
    assert took_s < 1.0


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)  # so that the sentences name a short path

    def write(name: str, text: str | bytes) -> Path:
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return Path(name)

    return write


def study(**changes: Any) -> dict[str, Any]:
    arms = [{"name": "base", "method": "fixed"}, {"name": "bo", "method": "gp", "space": [parameter()]}]
    return {"name": "s", "entrypoint": "orchestrator.rehearsal", "arms": arms, **changes}


def parameter(**changes: Any) -> dict[str, Any]:
    return {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log", **changes}


def searching(**changes: Any) -> dict[str, Any]:
    return study(arms=[{"name": "bo", "method": "gp", "space": [parameter(**changes)]}])


def sentences(data: Any) -> list[str]:
    with pytest.raises(BadSpec) as refusal:
        spec_from_dict(data)
    return refusal.value.problems


def refused(path: Path) -> list[str]:
    with pytest.raises(BadSpec) as refusal:
        read_spec(path)
    return refusal.value.problems


# -- what is right ---------------------------------------------------------------------------------------


def test_a_spec_survives_json_and_yaml(write: Write) -> None:
    spec = catalog.get("bo-vs-guided", "paper")
    plain = json.loads(canonical(spec))
    written = json.dumps(plain), yaml.safe_dump(plain, allow_unicode=True), canonical(spec)
    for name, text in zip(("s.json", "s.yaml", "s.yml"), written, strict=True):  # JSON is YAML too
        assert canonical(read_spec(write(name, text))) == canonical(spec)


def test_yaml_is_read_by_the_rules_of_1_2(write: Write) -> None:
    text = """
    name: s
    entrypoint: orchestrator.rehearsal
    arms: [{name: base, method: fixed}]
    base: {estimator: off, eta: 1e-3, octal: 010, time: 12:30, day: 2020-01-01, yes: no, whole: 5., none: ~}
    """
    assert read_spec(write("s.yaml", text)).base == {
        "estimator": "off",
        "eta": 0.001,
        "octal": 10,
        "time": "12:30",
        "day": "2020-01-01",
        "yes": "no",
        "whole": 5.0,
        "none": None,
    }


def test_a_byte_order_mark_is_no_mistake(write: Write) -> None:
    assert read_spec(write("s.json", b"\xef\xbb\xbf" + json.dumps(study()).encode())).name == "s"


# -- what a study may not say ----------------------------------------------------------------------------

SENTENCES = [
    (
        searching(low=10, high=0.1),
        "optimizer.alpha: the range is upside down: low 10 is not below high 0.1. Swap them.",
    ),
    (
        searching(low=0),
        "optimizer.alpha: a log scale needs low above 0, and low is 0. Raise low, or use scale 'linear'.",
    ),
    (
        searching(scale="logg"),
        "arms[0].space[0].scale is 'logg'. Did you mean 'log'? Allowed: linear, log, logit.",
    ),
    (
        study(arms=[{"name": "a", "method": "fixed"}] * 2),
        "Two arms are named 'a'. Give each its own name.",
    ),
    (
        study(arms=[{"name": "a", "method": "fixed", "trails": 3}]),
        f"Unknown key 'trails' in arms[0]. Did you mean 'trials'? Allowed: {ARM_KEYS}.",
    ),
    (
        study(ressources={}),
        "Unknown key 'ressources' in the study. Did you mean 'resources'? Allowed: name, entrypoint, "
        "base, arms, objective, budget, resources, retries, seeds, replicates, keep, claim, question.",
    ),
    (
        study(budget={"hours": 3}),
        "Unknown key 'hours' in budget. Did you mean 'run_hours'? Allowed: run_hours, chip_hours.",
    ),
    (
        study(claim={"text": "", "challenger": "bo", "incumbent": "base", "prize": 1}),
        "Unknown key 'prize' in claim. Allowed: text, challenger, incumbent, metric, goal, cost_ratio, cost, "
        "kind, time_margin, at_least, average.",
    ),
    (
        study(arms=[{"name": "a", "method": "gpp"}]),
        "arms[0].method is 'gpp'. Did you mean 'gp'? Allowed: fixed, random, sobol, grid, gp, tpe.",
    ),
    (study(arms=[{"name": "a"}]), "arms[0] lacks 'method'. Add it."),
    (study(arms=[]), "arms has 0 entries. Allowed are at least 1."),
    (study(arms={}), "arms is an object. Allowed is a list."),
    (study(arms=["base"]), "arms[0] is 'base'. Allowed is an object of keys and values."),
    (study(replicates="3"), "replicates is '3'. Allowed is a whole number."),
    (study(replicates=True), "replicates is true. Allowed is a whole number."),
    (study(replicates=1.5), "replicates is 1.5. Allowed is a whole number."),
    (study(replicates=0), "replicates is 0. Allowed is a number of at least 1. Change it."),
    (study(replicates=1001), "replicates is 1001. Allowed is a number of at most 1000. Change it."),
    (study(budget={"run_hours": 0}), "budget.run_hours is 0. Allowed is a number above 0. Change it."),
    (study(budget={"run_hours": "all"}), "budget.run_hours is 'all'. Allowed is a number."),
    (study(entrypoint=3), "entrypoint is 3. Allowed is text."),
    (study(base=[]), "base is a list. Allowed is an object of keys and values."),
    (
        study(arms=[{"name": "a", "method": "fixed", "fresh_seeds": 1}]),
        "arms[0].fresh_seeds is 1. Allowed is true or false.",
    ),
    (
        study(name="../../etc/x"),
        "The study name '../../etc/x' cannot be used. Allowed are 1 to 80 letters, digits, '_', '+' and '-', "
        "beginning with a letter or digit.",
    ),
    (
        study(budget={"run_hours": float("nan")}),
        "budget.run_hours is NaN. Allowed are finite numbers. Write one, or leave the key out.",
    ),
    (
        study(base={"a": [1, float("-inf")]}),
        "base.a[1] is infinite, or too large for a number. Allowed are finite numbers, up to 1.8e308. "
        "Write one, or leave the key out.",
    ),
    (
        study(base={"a": 10**400}),
        "base.a is infinite, or too large for a number. Allowed are finite numbers, up to 1.8e308. "
        "Write one, or leave the key out.",
    ),
    (study(base={"a": "x\0"}), "base.a holds a null character. Take it out."),
    (study(base={"\0": 1}), "base: the key '\\x00' holds a null character. Take it out."),
    (
        study(base={"a": "\ud800"}),
        "base.a holds half of a surrogate pair, which is no character. Take it out.",
    ),
    (study(base={1: 2}), "base: the key 1 is no text. Put it in quotes."),
    (
        study(base={"a": b"x"}),
        "base.a is b'x'. Allowed are text, numbers, true, false, null, lists and objects.",
    ),
    ([study()], "A spec is an object of keys and values, and this is a list."),
]


@pytest.mark.parametrize(("data", "sentence"), SENTENCES, ids=[s[:40] for _, s in SENTENCES])
def test_a_mistake_is_answered_with_its_own_sentence(data: Any, sentence: str) -> None:
    assert sentences(data) == [sentence]


def test_all_mistakes_are_told_at_once() -> None:
    assert sentences(study(replicates=0, keep="some", nme="x")) == [
        "replicates is 0. Allowed is a number of at least 1. Change it.",
        "keep is 'some'. Allowed: best, all, none.",
        "Unknown key 'nme' in the study. Did you mean 'name'? Allowed: name, entrypoint, base, arms, "
        "objective, budget, resources, retries, seeds, replicates, keep, claim, question.",
    ]


def test_a_long_name_is_cut_in_its_sentence() -> None:
    (sentence,) = sentences(study(name="x" * 10_000))
    assert len(sentence) < 250


def test_a_dict_nested_beyond_40_levels_is_refused() -> None:
    nested: Any = 1
    for _ in range(5000):
        nested = [nested]
    (sentence,) = sentences(study(base={"a": nested}))
    assert sentence.endswith("is nested too deeply. Allowed are at most 40 levels. Flatten it.")


# -- what a file may not hold ----------------------------------------------------------------------------

JSON = json.dumps(study())
YAML = yaml.safe_dump(study())
DEEP = 100_000


@pytest.mark.fault(23, real=True)
def test_a_50_mb_file_is_refused_by_its_size(write: Write) -> None:
    path = write("s.json", "")
    with path.open("r+b") as file:
        file.truncate(50_000_000)
    assert refused(path) == [
        "s.json has more than 1,048,576 bytes, which is the most that is allowed. Is it the right file?"
    ]


def test_an_endless_file_is_not_read_to_its_end(write: Write) -> None:
    path = Path("zero.json")
    write("unused", "")
    path.symlink_to("/dev/zero")
    assert refused(path) == [
        "zero.json has more than 1,048,576 bytes, which is the most that is allowed. Is it the right file?"
    ]


FILES = [
    (
        "bomb.yaml",
        "a: &a [x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "bomb.yaml uses '&a' in line 1. Anchors and aliases are not allowed in a spec. Write the value out.",
    ),
    (
        "alias.yaml",
        "a: 1\nb: *a\n",
        "alias.yaml uses '*a' in line 2. Anchors and aliases are not allowed in a spec. Write the value out.",
    ),
    (
        "nan.json",
        json.dumps(study(budget={"run_hours": float("nan")})),
        "budget.run_hours is NaN. Allowed are finite numbers. Write one, or leave the key out.",
    ),
    (
        "nan.yaml",
        YAML + "budget: {run_hours: .nan}\n",
        "budget.run_hours is NaN. Allowed are finite numbers. Write one, or leave the key out.",
    ),
    (
        "large.json",
        JSON[:-1] + ', "budget": {"run_hours": 1e309}}',
        "budget.run_hours is infinite, or too large for a number. Allowed are finite numbers, up to 1.8e308. "
        "Write one, or leave the key out.",
    ),
    (
        "large.yaml",
        YAML + "budget: {run_hours: 1e309}\n",
        "budget.run_hours is infinite, or too large for a number. Allowed are finite numbers, up to 1.8e308. "
        "Write one, or leave the key out.",
    ),
    (
        "twice.json",
        '{"arms": [{"trials": 1, "trials": 2}]}',
        "arms[0]: the key 'trials' appears twice. Keep one.",
    ),
    (
        "twice.yaml",
        "arms:\n- trials: 1\n  trials: 2\n",
        "arms[0]: the key 'trials' appears twice. Keep one.",
    ),
    ("key.yaml", YAML + "base: {1: 2}\n", "base: the key 1 is no text. Put it in quotes."),
    (
        "unknown.yaml",
        "entrypoint: x\nname: s\narms:\n- {name: a, method: fixed, trails: 3}\n",
        f"Unknown key 'trails' in arms[0]. Did you mean 'trials'? Allowed: {ARM_KEYS}.",
    ),
    (
        "deep.json",
        "[" * DEEP + "]" * DEEP,
        "deep.json is nested too deeply. Allowed are at most 40 levels. Flatten it.",
    ),
    (
        "deep.yaml",
        "[" * DEEP + "]" * DEEP,
        "deep.yaml is nested too deeply. Allowed are at most 40 levels. Flatten it.",
    ),
    (
        "block.yaml",
        "- " * DEEP + "x",
        "block.yaml is nested too deeply. Allowed are at most 40 levels. Flatten it.",
    ),
    (
        "many.yaml",
        "- {a: 1}\n" * 100_000,
        "many.yaml holds more than 100,000 keys and values. Allowed in YAML are so many. "
        "Write it as JSON, or make it smaller.",
    ),
    (
        "digits.json",
        '{"name": ' + "9" * 5000 + "}",
        "digits.json holds a whole number of more than 4,300 digits. Write a smaller one.",
    ),
    (
        "digits.yaml",
        "name: " + "9" * 5000,
        "digits.yaml holds a whole number of more than 4,300 digits. Write a smaller one.",
    ),
    (
        "comma.json",
        '{"name": 1,}',
        "comma.json is not JSON: Expecting property name enclosed in double quotes",
    ),
    (
        "colon.yaml",
        "a: b: c\n",
        "colon.yaml is not YAML that a spec may use: mapping values are not allowed in this context "
        "(line 1, column 5).",
    ),
    (
        "code.yaml",
        "name: !!python/object/apply:os.system [ls]\n",
        "code.yaml is not YAML that a spec may use: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system' (line 1, column 7).",
    ),
    (
        "two.yaml",
        "a: 1\n---\nb: 2\n",
        "two.yaml is not YAML that a spec may use: but found another document (line 2, column 1).",
    ),
    ("control.yaml", "a: \x07\n", "control.yaml is not YAML"),
    ("null.json", '{"name": "\0"}', "null.json holds a null byte at position 10. Take it out."),
    (
        "latin.json",
        b'{"name": "\xff"}',
        "latin.json is not UTF-8 text: byte 0xff at position 10. Write it as UTF-8.",
    ),
    (
        "empty.json",
        " \n",
        "empty.json is empty. To begin with a preset's spec: orch study spec bo-vs-guided > empty.json",
    ),
    ("null.yaml", "# nothing", "A spec is an object of keys and values, and this is null."),
    ("s.toml", "", "s.toml is not read: its suffix is '.toml'. Allowed are .json, .yaml, .yml."),
]


@pytest.mark.fault(23, real=True)
@pytest.mark.parametrize(("name", "text", "sentence"), FILES, ids=[name for name, _, _ in FILES])
def test_a_bad_file_is_answered_with_its_own_sentence(
    write: Write, name: str, text: str | bytes, sentence: str
) -> None:
    (problem,) = refused(write(name, text))
    assert problem.startswith(sentence)
    if sentence.endswith("."):
        assert problem == sentence


def test_a_missing_file_and_a_folder_are_refused(write: Write) -> None:
    write("unused", "")
    assert refused(Path("none.json")) == ["none.json cannot be read: No such file or directory."]
    Path("folder.json").mkdir()
    assert refused(Path("folder.json")) == ["folder.json cannot be read: Is a directory."]


def test_of_tens_of_thousands_of_unknown_keys_a_hundred_are_told() -> None:
    said = sentences(study(**{f"arm{i}": 1 for i in range(40_000)}))
    assert (len(said), said[-1]) == (101, "And 39,900 more.")
    assert all(sentence.startswith(f"Unknown key 'arm{i}' in") for i, sentence in enumerate(said[:-1]))
    assert len(sentences(study(**{f"arm{i}": 1 for i in range(100)}))) == 100
