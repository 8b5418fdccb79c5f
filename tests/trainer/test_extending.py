"""Do the packages of docs/extending.md bring an estimator, a source, an optimizer and a schedule?"""

from __future__ import annotations

import math
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from trainer.audit.config import read
from trainer.config import ConfigError, TrainConfig, check, named_files
from trainer.config.choices import ESTIMATORS, OPTIMIZERS, SCHEDULES, SOURCES
from trainer.config.registry import Registry
from trainer.data import __main__ as data
from trainer.models import model_settings
from trainer.protocol import Place, Reply, Report
from trainer.terminal import console
from trainer.training import entrypoint
from trainer.training.recipes import loss_of, recipe_of

TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
REGISTRIES: tuple[Registry[Any], ...] = (ESTIMATORS, SOURCES, OPTIMIZERS, SCHEDULES)
TINY: dict[str, Any] = {
    "steps": 8,
    "eval_every_steps": 4,
    "checkpoint_every_steps": 8,
    "data": {"pairs": 600},
    "model": {"d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1},
    "schedule": {"warmup_steps": 2},
    "batch": {"sentences": 8},
    "score": {"dev_sentences": 2},
}
# What each package adds to a config.
ADDED: dict[str, dict[str, Any]] = {
    "signs": {"guidance": {"estimator": "signs", "learn": ["alpha", "beta1"]}},
    "backwards": {"data": {"source": "backwards"}},
    "lion": {
        "optimizer": {"name": "lion", "weight_decay": 0.1, "learning_rate": 0.001},
        "guidance": {"estimator": "next-batch", "learn": ["alpha", "weight_decay"]},
    },
    "triangle": {"schedule": {"name": "triangle", "warmup_steps": 2}},
}


def install(folder: Path, package: str, entry_points: dict[str, dict[str, str]]) -> None:
    """What pip leaves of a package's metadata."""
    meta = folder / f"{package}-1.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    lines = [
        line
        for group, points in entry_points.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (meta / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages, which the registries are to look at anew."""
    monkeypatch.syspath_prepend(tmp_path)
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "ours", dict(registry.ours))
        registry.__dict__.pop("theirs", None)
    before = set(sys.modules)
    yield tmp_path
    for registry in REGISTRIES:
        registry.__dict__.pop("theirs", None)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {*ADDED, "odd"}:
            del sys.modules[name]


@pytest.fixture
def packages(site: Path) -> Path:
    """Those of the docs, installed."""
    for path, inside in re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", TEXT, re.S):
        file = site / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(inside)
        if file.name == "pyproject.toml":
            install(site, file.parent.name, tomllib.loads(inside)["project"]["entry-points"])
    return site


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = jax.config.jax_compilation_cache_dir
    yield tmp_path_factory.mktemp("home")
    jax.config.update("jax_compilation_cache_dir", before)


def test_what_the_packages_bring_is_trained_with(
    packages: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(home))
    guided = {"guidance": {"estimator": "signs", "learn": ["alpha", "weight_decay"]}}
    config = {**TINY, **ADDED["backwards"], **ADDED["lion"], **ADDED["triangle"], **guided}
    workdir = packages / "run"
    workdir.mkdir()
    reports: list[Report] = []

    def told(report: Report) -> Reply:
        reports.append(report)
        return Reply.GO

    outcome = entrypoint.run(config, told, workdir, Place())
    assert outcome.status == "completed"
    assert math.isfinite(outcome.values["dev_loss"])
    written = (workdir / "config.json").read_text()
    assert all(f'"{name}"' in written for name in ADDED)
    first, last = reports[0].hyper, reports[-1].hyper
    assert all(first[each] != last[each] for each in guided["guidance"]["learn"])


def test_a_name_is_allowed_once_its_package_is_installed(packages: Path) -> None:
    for added in ADDED.values():
        assert check(added) == []
    code = {"signs.estimator", "backwards.source", "lion.optimizer", "triangle.schedule"}
    assert not code & set(sys.modules)  # a check loads descriptions alone


def test_a_name_is_refused_where_its_package_is_not_installed(site: Path) -> None:
    said = [check(added)[0] for added in ADDED.values()]
    assert said == [
        "guidance.estimator is 'signs'. Allowed: off, held-out, forward, next-batch, discounted, lagged.",
        "data.source is 'backwards'. Allowed: cldr, files, prose, text, wmt19, tfds:NAME.",
        "optimizer.name is 'lion'. Allowed: lamb, adafactor, adamw, sgd, a dotted name such as optax.lion.",
        "schedule.name is 'triangle'. Allowed: inverse-sqrt, constant-rsqrt, linear, cosine, constant, "
        "a schedule.npz or .json.",
    ]


def test_help_and_sentences_name_what_packages_bring(packages: Path) -> None:
    told = " ".join(console._parser().format_help().split())
    assert "estimators: held-out, forward, next-batch, discounted, lagged, signs" in told
    assert "cldr, files, prose, text, wmt19, backwards, or tfds:NAME" in told
    assert "  backwards   numbers, to be written backwards\n" in data._parser().format_help()
    (problem,) = check({"optimizer": {"name": "lionn"}})
    assert problem.startswith("optimizer.name is 'lionn'. Did you mean 'lion'? Allowed: lamb, ")


def test_settings_and_numbers_of_others_are_refused_beside_what_a_package_brings(packages: Path) -> None:
    guidance = ADDED["signs"]["guidance"]
    (problem,) = check({"guidance": {**guidance, "discount": 0.5}})
    assert problem.startswith(
        "guidance.discount is 0.5 and guidance.estimator is 'signs'. It is a setting of"
    )
    (problem,) = check(
        {"guidance": {**guidance, "learn": ["label_smoothing"]}, "loss": {"label_smoothing": 0.1}}
    )
    assert problem.endswith("allowed are held-out and forward.")
    assert check({"optimizer": {"name": "lion", "eps": 0.1}}) == [
        "optimizer.eps is 0.1 and lion has none. Its numbers are beta1, beta2, weight_decay. Leave it out."
    ]


def test_a_run_s_shape_has_the_name_of_what_a_package_brings(packages: Path) -> None:
    keys = {name: entrypoint.shape_key(added) for name, added in {"": {}, **ADDED}.items()}
    assert keys.pop("triangle") == keys[""]  # a schedule is numbers of the program that all schedules share
    assert len(set(keys.values())) == len(keys)
    assert entrypoint.shape_key(ADDED["signs"]).startswith("tiny-signs-")
    assert named_files(ADDED["triangle"]) == {}


def test_an_audit_compares_an_estimator_of_a_package_that_asks_for_it(packages: Path) -> None:
    from trainer.audit.forked import estimators

    audit, rest = read({**TINY, "audit": {"at": 2, "spans": [1]}})
    watched = dict(estimators(audit, TrainConfig.from_dict(rest)).watched)
    assert list(watched) == ["held-out", "next-batch", "discounted", "lagged", "signs"]
    assert type(watched["signs"]).__name__ == "Signs"


BROKEN = {
    "orch.estimators": ("guidance.estimator", {"guidance": {"estimator": "gone", "learn": ["alpha"]}}),
    "orch.sources": ("data.source", {"data": {"source": "gone"}}),
    "orch.optimizers": ("optimizer.name", {"optimizer": {"name": "gone"}}),
    "orch.schedules": ("schedule.name", {"schedule": {"name": "gone"}}),
}


@pytest.mark.parametrize("group", BROKEN)
def test_a_package_that_cannot_be_loaded_is_told_of_where_it_is_named(group: str, site: Path) -> None:
    install(site, "gone", {group: {"gone": "gone.choice:GONE"}})
    path, config = BROKEN[group]
    sentence = (
        f"{path} is 'gone' (gone.choice:GONE, entry point {group}) cannot be loaded "
        f"(ModuleNotFoundError: No module named 'gone'). Repair or remove its package."
    )
    assert check(config) == [sentence]
    with pytest.raises(ConfigError, match="cannot be loaded"):
        TrainConfig.from_dict(config)
    assert check({"guidance": {"estimator": "lagged", "learn": ["alpha"]}}) == []


def test_code_that_is_not_where_a_description_says_stops_a_run_with_a_sentence(site: Path) -> None:
    choice = 'from trainer.config.choices import EstimatorChoice\nODD = EstimatorChoice("gone.far:away")\n'
    (site / "odd.py").write_text(choice)
    install(site, "odd", {"orch.estimators": {"odd": "odd:ODD"}})
    config = TrainConfig.from_dict({"guidance": {"estimator": "odd", "learn": ["alpha"]}})
    with pytest.raises(ConfigError, match=r"^gone\.far:away cannot be loaded \(ModuleNotFoundError: "):
        recipe_of(config, loss_of(model_settings(config.model, vocabulary=20)))


def test_an_entry_point_that_is_no_description_is_refused(site: Path) -> None:
    install(site, "odd", {"orch.optimizers": {"odd": "math:pi"}})
    assert check({"optimizer": {"name": "odd"}}) == [
        "optimizer.name is 'odd' (math:pi, entry point orch.optimizers) is a float. Allowed is a "
        "trainer.config.choices.OptimizerChoice."
    ]


def test_a_name_of_ours_stays_ours(site: Path) -> None:
    install(site, "odd", {"orch.optimizers": {"lamb": "math:pi"}})
    assert check({"optimizer": {"name": "lamb"}}) == []
    assert list(OPTIMIZERS) == ["lamb", "adafactor", "adamw", "sgd"]
