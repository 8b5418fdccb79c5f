"""What is a person told who makes a mistake? Each with its exit code and its sentence, word for word."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.cli import opening, output
from orchestrator.study.canonical import canonical
from studies import catalog
from tests.faults.world import small_study
from tests.orchestrator.conftest import Orch

SMALL = small_study().model_dump(mode="json")
ARM = {"name": "a", "method": "random"}
# Files that lie where orch is called.
FILES: dict[str, Any] = {
    "small.json": SMALL,
    "method.json": {**SMALL, "arms": [{**ARM, "method": "randon"}]},
    "key.json": {**SMALL, "bugdet": {"run_hours": 1}},
    "after.json": {**SMALL, "arms": [*SMALL["arms"], {**ARM, "method": "fixed", "after": {"arm": "randm"}}]},
    "range.json": {**SMALL, "arms": [{**ARM, "space": [{"path": "optimizer.alpha", "low": 2, "high": 1}]}]},
    "module.json": {**SMALL, "entrypoint": "my_modle"},
    "broken.json": '{"name": "a",',
    "broken.yaml": "name: [a\nb: 1",
    "empty.yaml": "",
    "spec.txt": "name: a",
}
PRESETS = ", ".join(catalog.names())
CLDR = (
    "Allowed are en-de, en-fi, en-lt, de-fi, de-lt, fi-lt, in either direction. Choose one of them, or bring"
)
GONE = "cannot be reached: Connection refused. Check the address, or start the service there: orch serve"


class Mistake(NamedTuple):
    command: str  # behind `orch`; URL: where no service is
    code: int
    says: str  # how what is said begins, on stderr, behind "orch: "
    value: str  # what was mistaken, which the sentence names


U, R, T, N, L = output.USAGE, output.REFUSED, output.TAKEN, output.NOT_FOUND, output.UNREACHABLE
MISTAKES = {
    "a command or an option": [
        Mistake("stduy list", U, "No such command 'stduy'. Did you mean 'study'?", "stduy"),
        Mistake("study crate small.json", U, "No such command 'crate'. Did you mean 'create'?", "crate"),
        Mistake(
            "study list --sorver x", U, "No such option '--sorver'. Did you mean '--server'?", "--sorver"
        ),
        Mistake(
            "study plan bo-vs-guided --size qick",
            U,
            "Invalid value for '--size': 'qick' is not one of 'smoke', 'quick', 'laptop', 'paper'.",
            "qick",
        ),
        Mistake(
            "study table small --format latx",
            U,
            "Invalid value for '--format': 'latx' is not one of 'text', 'md', 'latex', 'csv'.",
            "latx",
        ),
        Mistake(
            "study extend small --arm random",
            U,
            "Choose what to add: --seeds N, or --arm ARM --trials N.\nSee `orch study extend --help`.",
            "--trials",
        ),
        Mistake(
            "study extend small --arm random --trials",
            U,
            "Option '--trials' requires an argument. Write it like --trials VALUE.",
            "--trials",
        ),
        Mistake(
            "study plan small.json --set optimizer.beta1",
            U,
            "--set optimizer.beta1 is not understood. Write it like --set optimizer.beta1=0.8.",
            "optimizer.beta1",
        ),
    ],
    "a study, an arm or a trial": [
        Mistake(
            "study show smal",
            N,
            "There is no study 'smal'. Did you mean 'small'? `orch study list` shows all.",
            "smal",
        ),
        Mistake(
            "study plan bo-vs-guide",
            N,
            f"There is no study 'bo-vs-guide'. Did you mean 'bo-vs-guided'? Allowed: {PRESETS}.",
            "bo-vs-guide",
        ),
        Mistake(
            "study verdict another", N, "There is no study 'another'. `orch study list` shows all.", "another"
        ),
        Mistake(
            "study extend small --arm randon --trials 2",
            N,
            "small has no arm 'randon'. Did you mean 'random', 'grid' or 'confirm'?",
            "randon",
        ),
        Mistake(
            "study extend small --arm randon --seeds 2",
            N,
            "small has no arm 'randon'. Did you mean 'random', 'grid' or 'confirm'?",
            "randon",
        ),
        Mistake(
            "trial list small --arm bse",
            N,
            "small has no arm 'bse'. Did you mean 'base', 'random' or 'grid'?",
            "bse",
        ),
        Mistake(
            "trial show small.randm.0.0",
            N,
            "small has no arm 'randm'. Did you mean 'random', 'grid' or 'confirm'?",
            "randm",
        ),
        Mistake(
            "trial show small.random.0.99",
            N,
            "small has no trial 'random.0.99'. To see all: orch trial list small",
            "random.0.99",
        ),
        Mistake(
            "trial logs smal.random.0.0",
            N,
            "There is no study 'smal'. Did you mean 'small'? `orch study list` shows all.",
            "smal",
        ),
        Mistake(
            "trial show small",
            N,
            "'small' is no trial. A trial is written study.arm.replicate.index, such as "
            "bo-vs-guided-quick.base.0.0.",
            "small",
        ),
    ],
    "a pair": [
        Mistake(
            "study plan bo-beta1 --pair en-xx",
            U,
            f"arm base: data.pair is 'en-xx', and the source cldr has no such pair. {CLDR}",
            "en-xx",
        ),
        Mistake(
            "study create bo-beta1 --pair xx-de",
            U,
            f"arm base: data.pair is 'xx-de', and the source cldr has no such pair. {CLDR}",
            "xx-de",
        ),
        Mistake(
            "study plan bo-beta1 --pair deen",
            U,
            "arm base: data.pair is 'deen'. Allowed: two languages, such as de-en: from German to English.",
            "deen",
        ),
        Mistake(
            "study plan bo-beta1 --pair en-en",
            U,
            "arm base: data.pair is 'en-en'. Allowed are two different languages.",
            "en-en",
        ),
    ],
    "a path": [
        Mistake(
            "study plan nowhere.yaml",
            U,
            "There is no file 'nowhere.yaml'. Give a spec's path, or a preset's name.",
            "nowhere.yaml",
        ),
        Mistake(
            "study plan folder.json",
            U,
            "'folder.json' is a folder. Give the path of a spec's file, or a preset's name.",
            "folder.json",
        ),
        Mistake(
            "study plan spec.txt",
            U,
            "spec.txt is not read: its suffix is '.txt'. Allowed are .json, .yaml, .yml.",
            "spec.txt",
        ),
        Mistake(
            "study plan bo-beta1 --data-dir /nowhere",
            U,
            "arm base: data.path is '/nowhere', and there is no such file or folder, nor files whose names "
            "begin so. Name one that is there.",
            "/nowhere",
        ),
        Mistake(
            "study export small --to csv --out nowhere/x.csv",
            U,
            "nowhere/x.csv cannot be written: there is no folder HERE/nowhere. Make it first.",
            "nowhere/x.csv",
        ),
    ],
    "a number": [
        Mistake(
            "study plan small.json --trials -3",
            U,
            "--trials is -3. Allowed is a whole number of at least 1.",
            "-3",
        ),
        Mistake(
            "study extend small --seeds many",
            U,
            "--seeds is 'many'. Allowed is a whole number of at least 1.",
            "many",
        ),
        Mistake(
            "study plan small.json --trials 99999999999",
            U,
            "arms[1].trials is 99999999999. Allowed is a number of at most 1000000. Change it.",
            "99999999999",
        ),
        Mistake(
            "study create small.json --workers 5000",
            U,
            "--workers is 5000. Allowed is a whole number from 1 to 1024.",
            "5000",
        ),
        Mistake(
            "study plan small.json --refuse-above nan",
            U,
            "--refuse-above is nan. Allowed is a number of at least 0.",
            "nan",
        ),
        Mistake(
            "study plan small.json --set steps=-5",
            U,
            "arm base: steps is -5. Allowed is a number of at least 1 and below 1000000000. "
            "Change it, or leave it out for 400.",
            "-5",
        ),
        Mistake(
            "study plan eta-sweep --set optimizer.beta1=1.5",
            U,
            "arm base: optimizer.beta1 is 1.5. Allowed is a number of at least 0 and below 1. "
            "Change it, or leave it out for 0.9.",
            "1.5",
        ),
    ],
    "a spec": [
        Mistake(
            "study plan method.json",
            U,
            "arms[0].method is 'randon'. Did you mean 'random'? "
            "Allowed: fixed, random, sobol, grid, gp, tpe.",
            "randon",
        ),
        Mistake(
            "study plan key.json",
            U,
            "Unknown key 'bugdet' in the study. Did you mean 'budget'? "
            "Allowed: name, entrypoint, base, arms,",
            "bugdet",
        ),
        Mistake(
            "study plan after.json",
            U,
            "arm a: it follows 'randm', which is no earlier arm. "
            "Earlier arms are: base, random, grid, confirm.",
            "randm",
        ),
        Mistake(
            "study plan range.json",
            U,
            "optimizer.alpha: the range is upside down: low 2 is not below high 1. Swap them.",
            "optimizer.alpha",
        ),
        Mistake(
            "study plan module.json",
            U,
            "The entrypoint 'my_modle' cannot be imported (No module named 'my_modle'). "
            "Name a module on the Python path that offers check, shape_key, run, such as "
            "'orchestrator.rehearsal'.",
            "my_modle",
        ),
        Mistake(
            "study plan broken.json",
            U,
            "broken.json is not JSON: Expecting property name enclosed in double quotes (line 1, column 14).",
            "broken.json",
        ),
        Mistake(
            "study plan broken.yaml",
            U,
            "broken.yaml is not YAML that a spec may use: "
            "did not find expected ',' or ']' (line 2, column 2).",
            "broken.yaml",
        ),
        Mistake(
            "study plan empty.yaml",
            U,
            "empty.yaml is empty. To begin with a preset's spec: orch study spec bo-vs-guided > empty.yaml",
            "empty.yaml",
        ),
    ],
    "a server": [
        Mistake("study list --server URL", L, f"The service at URL {GONE}", "URL"),
        Mistake("study pause small --server URL", L, f"The service at URL {GONE}", "URL"),
        Mistake("trial show small.base.0.0 --server URL", L, f"The service at URL {GONE}", "URL"),
        Mistake(
            "study list --server localhost",
            U,
            "The service's address is 'localhost'. Allowed: http://host:port or https://host.",
            "localhost",
        ),
    ],
    "the state of a study or a trial": [
        Mistake(
            "study watch small",
            R,
            "No process runs small now, so there is nothing to watch. Run it with: orch study resume small",
            "small",
        ),
        Mistake(
            "study delete small --yes",
            R,
            "The study small has not ended and cannot be deleted. Cancel it first.",
            "small",
        ),
        Mistake(
            "study resume gone",
            R,
            "The study gone is cancelled and cannot be resumed; only one that is paused or drained can. "
            "Create it again under another name.",
            "gone",
        ),
        Mistake(
            "study extend gone --arm random --trials 2",
            R,
            "The study gone is cancelled and cannot be extended. Create it again under another name.",
            "gone",
        ),
        Mistake(
            "study create small.json --name gone",
            R,
            "The study gone was cancelled and cannot go on. Choose another name with --name.",
            "gone",
        ),
        Mistake(
            "study create small.json --set steps=50",
            T,
            "A study named 'small' exists already (id ID). Choose another name, or look at it "
            "with `orch study show small`.\nIts spec differs from yours in: base.",
            "small",
        ),
        Mistake(
            "study extend small --arm grid --trials 1",
            R,
            "grid is a grid: all its points are in it. Make a new study with more values.",
            "grid",
        ),
        Mistake(
            "study extend small --seeds 2",
            U,
            "small registered no claim. Name the arm whose choice is to run on more ",
            "small",
        ),
    ],
}
ALL = [mistake for of in MISTAKES.values() for mistake in of]
# What to do: a command, an option, what is allowed, the names that are near, the place in a file, or a deed.
NEXT_STEP = re.compile(
    r"`orch |: orch |--\w+|Allowed|Earlier arms are|Did you mean|is not one of|\(line \d+, column \d+\)"
    r"|Swap them|Make it first|Name one|Cancel it first|Make a new study|Create it again|Give a spec"
    r"|Give the path|Name a module|Name the arm|A trial is written"
)


@pytest.fixture(scope="module")
def closed() -> Iterator[str]:
    """The address of a port that nothing listens on, and that nobody else is given."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def here(orch: Orch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files, a study `small` that waits and a study `gone` that was cancelled."""
    folder = tmp_path / "here"
    (folder / "folder.json").mkdir(parents=True)
    for name, holds in FILES.items():
        (folder / name).write_text(holds if isinstance(holds, str) else json.dumps(holds))
    monkeypatch.chdir(folder)
    (folder / "small.json").write_text(canonical(small_study()))
    for arguments in (("small.json",), ("small.json", "--name", "gone")):
        assert orch("study", "create", *arguments, "--no-run").code == 0
    assert orch("study", "cancel", "gone").code == 0
    return folder


def test_three_mistakes_or_more_of_each_kind_and_thirty_in_all() -> None:
    assert min(map(len, MISTAKES.values())) >= 3
    assert len(ALL) >= 30


@pytest.mark.parametrize("mistake", ALL, ids=[mistake.command for mistake in ALL])
def test_a_mistake_is_told_with_its_value_and_a_next_step(
    orch: Orch, here: Path, closed: str, mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "REFUSED_S", 0.0)
    said = orch(*mistake.command.replace("URL", closed).split())
    told = re.search(r"^orch: (.*)", said.err, re.S | re.M)
    assert told is not None, said.err
    sentence = told[1].replace(closed, "URL").replace(str(here), "HERE")
    sentence = re.sub(r"\(id [0-9a-f]{12}\)", "(id ID)", sentence)
    assert (said.code, said.out, sentence[: len(mistake.says)]) == (mistake.code, "", mistake.says)
    assert "Traceback" not in said.err
    assert mistake.value in sentence
    assert NEXT_STEP.search(sentence)


def test_a_server_that_is_gone_is_given_up_within_three_seconds(orch: Orch, home: Path, closed: str) -> None:
    began = time.monotonic()
    assert orch("study", "list", "--server", closed).code == output.UNREACHABLE
    assert opening.REFUSED_S <= 2.5
    assert time.monotonic() - began < 3
