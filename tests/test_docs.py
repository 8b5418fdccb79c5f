"""Do the docs say what the code does? They fail here when they fall behind."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest

from benchmarks import __main__ as benchmarks
from orchestrator.backends.simulated import Fault
from orchestrator.cli import orch
from orchestrator.cli.spec_options import read
from orchestrator.readings.overview import overview
from orchestrator.study.methods import METHODS
from orchestrator.study.plan import plan
from orchestrator.study.spec import Arm, Parameter, StudySpec
from orchestrator.study.spec_files import read_spec
from studies import catalog
from tests.faults import invariants
from tests.faults.world import created, world
from trainer.config import TrainConfig, choices
from trainer.data import __main__ as data
from trainer.terminal import console, translate

DOCS = Path(__file__).parent.parent / "docs"
PAGES = [
    *DOCS.glob("*.md"),
    *(DOCS.parent / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]
CONFIG = (DOCS / "config.md").read_text()
WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}


def _keys(section: str) -> set[str]:
    text = (DOCS / "specs.md").read_text()
    part = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(("section", "spec"), [("Study", StudySpec), ("Arm", Arm), ("Parameter", Parameter)])
def test_every_key_of_a_spec_is_documented(section: str, spec: type) -> None:
    assert _keys(section) == set(spec.model_fields)  # type: ignore[attr-defined]


def test_the_keys_inside_a_study_s_sections_are_documented() -> None:
    text = (DOCS / "specs.md").read_text()
    for field in ("objective", "budget", "resources", "retries", "seeds", "claim"):
        annotation = StudySpec.model_fields[field].annotation
        inner = getattr(annotation, "__args__", [annotation])[0]
        (line,) = [x for x in text.splitlines() if x.startswith(f"| `{field}`")]
        assert {f"`{key}`" for key in inner.model_fields} <= set(re.findall(r"`\w+`", line))


def test_every_method_is_documented() -> None:
    spaces = {
        "none": "none",
        "range": "ranges, choices",
        "values": "lists of values, choices, ranges of whole numbers",
    }
    part = (DOCS / "specs.md").read_text().split("\n## Methods\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}` | {spaces[m.space]} | {m.words} |" for name, m in METHODS.ours.items()]


def test_the_example_entrypoint_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / "own-entrypoint.md").read_text()
    module, spec = (re.search(rf"```{kind}\n(.*?)```", text, re.S) for kind in ("python", "yaml"))
    assert module is not None
    assert spec is not None
    (tmp_path / "my_model.py").write_text(module[1])
    (tmp_path / "my-study.yaml").write_text(spec[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    study = read_spec(tmp_path / "my-study.yaml")
    assert plan(study, slots=1).total.chip_hours is not None  # it says what it would cost

    import my_model  # type: ignore[import-not-found]

    assert my_model.check({**study.base, "seed": 0}) == []
    assert my_model.check({"lr": -1.0, "stesp": 1}) == [
        "Unknown key 'stesp'.",
        "lr is -1.0. Allowed: above 0.",
    ]
    place = world(tmp_path / "runs", faults=[Fault("*", 1, "preempt", 20)])
    created(place, study)
    place.drive(place.engine(), "s1")
    invariants.check(place.store, "s1")
    default, best = (overview(place.store, place.store.study("s1")).arms[i].best for i in (0, 1))
    assert default is not None
    assert best is not None
    assert best < default


def _leaves(cls: type, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Each key of a section of the trainer's config: its path, what is allowed, its default."""
    kinds = get_type_hints(cls)
    for key in fields(cls):  # type: ignore[arg-type]
        kind, where = kinds[key.name], f"{path}{key.name}"
        if is_dataclass(kind):
            yield from _leaves(kind, f"{where}.")  # type: ignore[arg-type]
            continue
        default = key.default if key.default_factory is MISSING else key.default_factory()
        shown = default if default and isinstance(default, str) else json.dumps(default)
        yield where, _allowed(kind, key.metadata), f"`{shown}`"
        for name, inside in (("sections", "NAME."), ("keys", "")):
            for inner, reads in (key.metadata.get(name) or {}).items():
                yield f"{where}.{inside}{inner}", WORDS[reads], ""


def _allowed(kind: Any, what: Mapping[str, Any]) -> str:
    if "among" in what:
        names = ", ".join(
            [*(f"`{name}`" for name in what.get("shown", what["among"])), *filter(None, [what.get("words")])]
        )
        return names if kind is str else f"list of {names}"
    if kind not in (int, int | None, float, float | None):
        return WORDS.get(kind, "section")
    signs = {"above": ">", "at_least": "≥", "below": "<", "at_most": "≤"}
    bounds = {k: what[k] for k in signs if what[k] is not None and not (k == "below" and what[k] >= 10_000)}
    said = ", ".join(f"{signs[k]} {bound:g}" for k, bound in bounds.items())
    whole = kind in (int, int | None)
    return f"{'whole number' if whole else 'number'} {said}" + ", or null" * (kind not in (int, float))


def test_every_key_of_a_training_run_is_documented_with_its_default() -> None:
    rows = [line.split(" | ") for line in CONFIG.splitlines() if line.startswith("| `")]
    documented = {(row[0].strip("|` "), row[1], row[2].strip()) for row in rows}
    assert documented == set(_leaves(TrainConfig))
    assert len(documented) == len(rows)


def test_the_sizes_and_the_optimizers_of_a_training_run_are_documented() -> None:
    from trainer.optim import optimizers

    for name, size in choices.MODELS.items():
        told = {k: v for k, v in asdict(size).items() if k not in ("decoder_layers", "stacks")}
        assert f"| {' | '.join(map(str, (name, *told.values())))} |\n" in CONFIG
        assert (size.decoder_layers, size.stacks) == (0, "encoder-decoder")  # two stacks of these layers
    for name in choices.OPTIMIZERS:
        numbers = ", ".join(f"{key} {start:g}" for key, start in optimizers.by_name(name).defaults)
        assert f"| {name} | {numbers} |\n" in CONFIG


def test_whose_a_setting_of_guidance_is_is_documented() -> None:
    for name, estimator in choices.ESTIMATORS.items():
        for setting in estimator.settings:
            (row,) = [x for x in CONFIG.splitlines() if x.startswith(f"| `guidance.{setting}` |")]
            assert re.search(rf"\| of [^:|]*`{name}`", row)


# -- command lines -----------------------------------------------------------------------------------------
def _blocks(text: str) -> Iterator[str]:
    """What stands in fences of no language or of a shell, and what is indented as code."""
    for kind, inside in re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M):
        if kind in ("", "sh"):
            yield inside
    outside = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    yield from re.findall(r"(?:^    .*\n)+", outside, re.M)


def _commands(text: str) -> Iterator[list[str]]:
    """The arguments of each `orch …` in a page's blocks: behind variables, in `$(…)`, before a pipe."""
    for block in _blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            inner = re.search(r"\$\((.*orch .*)\)", line)
            if not re.search(r"\borch [\w-]", line):  # not all that stands in blocks is shell
                continue
            words = shlex.split(inner[1] if inner else line, comments=True)
            starts = [i for i, word in enumerate(words) if word == "orch" or word.endswith("bin/orch")]
            ends = [i for i, word in enumerate(words) if word in ("|", "||", "&&", "&", ";", ">")]
            arguments = words[starts[-1] + 1 : min([*ends, len(words)])] if starts else []
            if arguments:  # a word `orch` at the end is a user's name, or a service's
                yield arguments


def _parsed(arguments: list[str]) -> dict[str, Any]:
    """Read by the command line's parsers, and not run. SystemExit or ClickException if it is wrong."""
    if arguments[0] in PASSED_ON:
        return vars(PASSED_ON[arguments[0]]().parse_args(arguments[1:]))
    command: click.Command = orch
    context = click.Context(orch)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"No such command {name!r}.")
        command = found
    try:
        return command.make_context("orch", arguments).params
    except click.exceptions.Exit:  # --help
        return {}


PASSED_ON = {"train": console._parser, "translate": translate._parser, "data": data._parser}
COMMANDS = [
    (page.name, arguments)
    for page in [*PAGES, *DOCS.glob("results/*.md")]
    for arguments in _commands(page.read_text())
]


def test_every_command_line_in_the_docs_is_understood() -> None:
    assert len(COMMANDS) > 60
    for page, arguments in COMMANDS:
        try:
            _parsed(list(arguments))
        except (click.ClickException, SystemExit) as problem:
            pytest.fail(f"{page}: orch {shlex.join(arguments)}: {problem}")


def test_what_the_docs_set_makes_a_run() -> None:
    """As far as can be told without the text: optax's own options too, which no plan checks."""
    from trainer.training.recipes import recipe_of

    for page, arguments in COMMANDS:
        if arguments[:2] == ["study", "create"] and "--set" in arguments:
            asked = _parsed(arguments)
            config = TrainConfig.from_dict(read(asked["spec"], size=None, sets=asked["sets"]).spec.base)
        elif arguments[0] == "train" and not _parsed(arguments)["config"]:
            config = console.config_of(argparse.Namespace(**_parsed(arguments)))
        else:
            continue
        recipe, *_ = recipe_of(config, lambda *_: None)  # type: ignore[arg-type, return-value]
        assert recipe.optimizer.defaults, page


def test_the_trials_and_arms_that_the_docs_name_are_there() -> None:
    arms = {arm.name: arm for arm in catalog.get("bo-vs-guided", "quick").arms}
    for page, arguments in COMMANDS:
        for name in arguments:
            if trial := re.fullmatch(r"bo-vs-guided-quick\.(.+)\.0\.(\d+)", name):
                assert int(trial[2]) < arms[trial[1]].trials, f"{page} names {name}"
        if "bo-vs-guided-quick" in arguments and "--arm" in arguments:
            assert arguments[arguments.index("--arm") + 1] in arms, f"{page}: {arguments}"


def test_which_benchmarks_are_short_is_told() -> None:
    text = (DOCS.parent / "CONTRIBUTING.md").read_text()
    told = re.search(r"runs the short ones \((.*?)\).*?python -m benchmarks\.NAME`: (.*?)\.", text, re.S)
    assert told is not None
    assert [re.findall(r"`(\w+)`", names) for names in told.groups()] == [
        benchmarks.short(),
        sorted(benchmarks.LONG),
    ]
