"""Which study does a command line ask for? The options that name a spec and change it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli.completion import specs
from orchestrator.cli.output import note
from orchestrator.ground.errors import BadSpec
from orchestrator.study.methods import OUR_BAYESIAN, replacing
from orchestrator.study.spec import StudySpec
from trainer.config.paths import value_at

if TYPE_CHECKING:
    from orchestrator.study.overrides import Overridden
    from studies.t5_parts import Begun

Function = TypeVar("Function", bound=Callable[..., Any])

SIZES = ("smoke", "quick", "laptop", "paper")
FILE_SUFFIXES = (".json", ".yaml", ".yml")

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, on stdout."
)
verbose_option = click.option(
    "--verbose", is_flag=True, help="Also print the arms, the controls and the rules at the end."
)
size_option = click.option("--size", type=click.Choice(SIZES), help="Size of the preset (default: quick).")
search_option = click.option(
    "--search",
    type=click.Choice(replacing()),
    help=f"Instead of {' and '.join(OUR_BAYESIAN)}: the method of every Bayesian arm.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    help="Parallel runs (default: ORCH_WORKERS, else one per core).",
)


def _no_nan(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """NaN is below nothing and above nothing: as a limit it would let everything pass."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number.", context, option)
    return value


# Of presets that take weights and rows of yours: the study finetuning.
_BEGUN = (
    click.option(
        "--init", metavar="DIR", help="finetuning: the weights to begin with, a T5 folder or a run's."
    ),
    click.option("--task", help="finetuning: files, numbers, or a Python file (docs/own-task.md)."),
    click.option("--path", metavar="PATH", help="finetuning: the rows of --task files (docs/data.md)."),
    click.option("--prefix", help="finetuning: a text before every input, such as 'review: '."),
    click.option(
        "--metric",
        "metrics",
        multiple=True,
        help="finetuning: what the score is the mean of, such as accuracy; repeatable.",
    ),
)


def spec_options(function: Function) -> Function:
    """What names a spec and changes it: of `create`, `plan` and `spec`."""
    options = (
        click.argument("spec", metavar="NAME|FILE", shell_complete=specs),
        size_option,
        click.option("--name", help="Name of the study (default: the name in its spec)."),
        click.option(
            "--trials", type=click.IntRange(min=1), help="Trials of every arm that searches (not of grids)."
        ),
        click.option(
            "--replicates",
            type=click.IntRange(min=1),
            help="Repeat the whole study on this many sets of seeds.",
        ),
        click.option("--pair", help="Language pair: de-en translates from German to English."),
        click.option(
            "--data-dir",
            metavar="PATH",
            help="Your own text (docs/data.md), or the folder of prepared TFDS sets, on the machine that "
            "trains.",
        ),
        *_BEGUN,
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="PATH=VALUE",
            help="Override a value of the base config (docs/config.md); repeatable.",
        ),
        click.option(
            "--gpus",
            type=click.FloatRange(min=0),
            callback=_no_nan,
            metavar="N",
            help="GPUs of every trial: a share up to 1, or a whole number; 0 hides them.",
        ),
        click.option(
            "--resources",
            multiple=True,
            metavar="KEY=VALUE",
            help="What every trial holds: cpus, gpus, tpu_chips (or tpu), tpu_type, hosts; repeatable.",
        ),
        search_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


refuse_above_option = click.option(
    "--refuse-above",
    type=click.FloatRange(min=0),
    callback=_no_nan,
    metavar="CHIP_HOURS",
    help="Do not start if the planned cost is higher.",
)


def read(
    given: str,
    *,
    size: str | None,
    name: str | None = None,
    trials: int | None = None,
    replicates: int | None = None,
    search: str | None = None,
    pair: str | None = None,
    data_dir: str | None = None,
    sets: tuple[str, ...] = (),
    gpus: float | None = None,
    resources: tuple[str, ...] = (),
    **begun: Any,
) -> Overridden:
    """The spec that NAME|FILE and the flags ask for. A name that looks like a file is one."""
    from orchestrator.study.overrides import override
    from orchestrator.study.spec_files import read_spec
    from studies import catalog

    begin = _begun(**begun)
    preset = given in catalog.names()
    if given.endswith(FILE_SUFFIXES) or "/" in given or (os.path.isfile(given) and not preset):
        if size is not None:
            raise click.UsageError(f"--size goes with a preset's name, and {given} is a file. Leave it out.")
        if begin.given:
            raise click.UsageError(
                f"--{_flag(begin.given[0])} goes with a preset's name, and {given} is a file. Leave it out, "
                f"or set it in the file's base with --set (docs/config.md)."
            )
        if os.path.isdir(given):
            raise BadSpec(f"{given!r} is a folder. Give the path of a spec's file, or a preset's name.")
        if not os.path.isfile(given):  # unlike Path.is_file, quiet about names that are too long
            raise BadSpec(f"There is no file {given[:200]!r}. Give a spec's path, or a preset's name.")
        spec = read_spec(Path(given))
    else:
        spec = catalog.get(given, size or "quick", begin)
    sets = (*_data(spec, pair, data_dir, sets), *sets)
    held = (*resources, *([] if gpus is None else [f"gpus={gpus:g}"]))
    found = override(
        spec, name=name, trials=trials, replicates=replicates, search=search, sets=sets, resources=held
    )
    return replace(found, notes=(*found.notes, *begin.notes))


def _flag(name: str) -> str:
    return {"metrics": "metric"}.get(name, name)


def _begun(
    *,
    init: str | None = None,
    task: str | None = None,
    path: str | None = None,
    prefix: str | None = None,
    metrics: tuple[str, ...] = (),
) -> Begun:
    """The weights and rows of the flags. Workers stand elsewhere: paths are whole."""
    from studies.t5_parts import Begun

    def whole(text: str | None) -> str:
        return str(Path(text).expanduser().absolute()) if text else ""

    task = whole(task) if task and task.endswith(".py") else task or ""
    return Begun(whole(init), task, whole(path), prefix or "", tuple(metrics))


def _data(spec: StudySpec, pair: str | None, data_dir: str | None, others: Iterable[str]) -> list[str]:
    """The settings that --pair and --data-dir are short for. Workers stand elsewhere: the path is whole."""
    sets = [] if pair is None else [f"data.pair={pair}"]
    if data_dir is not None:
        sets.append(f"data.path={Path(data_dir).expanduser().absolute()}")
        of_task = value_at(spec.base, "data.task") or any(each.startswith("data.task=") for each in others)
        if not of_task and value_at(spec.base, "data.source") in (None, "cldr"):
            sets.append("data.source=files")
    return sets


def tell_question(spec: StudySpec, notes: Iterable[str] = ()) -> None:
    """What is asked comes first, and with it what its numbers can say and what they cannot."""
    if spec.question:
        note(spec.question)
    note(*notes)
