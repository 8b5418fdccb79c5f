"""Which settings, each allowed alone, do not go together? A sentence for each; standard library only."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

from trainer.config.benchmarks import HIDDEN, NONE, PAPERS
from trainer.config.choices import (
    BEST,
    ESTIMATORS,
    LAST,
    LEARNED_SCHEDULE,
    OFF,
    OPTIMIZERS,
    source_of,
    task_of,
)
from trainer.config.learnable import COURSES, IN_LOSS, LEARNABLE
from trainer.config.reading import problems_among
from trainer.config.sections import Sections
from trainer.config.text_conflicts import of_text, unread

# Of `guidance`: what not every estimator reads.
_ESTIMATORS_OWN = tuple(dict.fromkeys(name for each in ESTIMATORS.ours.values() for name in each.settings))


def disagreements(config: Sections) -> list[str]:
    of_model = (indivisible, unread)
    return [
        problem
        for checked in (
            _cadence,
            _vocabulary,
            _data,
            _task,
            of_text,
            _stacks,
            *of_model,
            _optimizer,
            _course,
            _guidance,
        )
        # The dimensions of a model to begin with are known once it has been looked at.
        if not (config.init and checked in of_model)
        for problem in checked(config)
    ]


def _cadence(config: Sections) -> list[str]:
    steps, warmup_steps = config.steps, config.schedule.warmup_steps
    intervals = {name: getattr(config, name) for name in ("eval_every_steps", "checkpoint_every_steps")}
    return problems_among(
        *(
            (every > steps, f"{name} is {every} and steps is {steps}. Allowed is at most steps. Lower it.")
            for name, every in intervals.items()
        ),
        (
            warmup_steps > steps,
            f"schedule.warmup_steps is {warmup_steps} and steps is {steps}. Allowed is at most steps. "
            f"Shorten the warm-up, or train longer.",
        ),
    )


def _data(config: Sections) -> list[str]:
    data = config.data
    if data.task:
        return []
    source, _, target = data.pair.partition("-")
    choice = source_of(data.source)
    return problems_among(
        (source == target, f"data.pair is {data.pair!r}. Allowed are two different languages."),
        (
            choice.needs_path and not data.path,
            f"data.source is {data.source!r} and data.path is empty. {choice.needs_path}",
        ),
        (
            source != target and choice.pairs and not {data.pair, f"{target}-{source}"} & {*choice.pairs},
            f"data.pair is {data.pair!r}, and the source {data.source} has no such pair. Allowed are "
            f"{', '.join(choice.pairs)}, in either direction. Choose one of them, or bring your own text "
            f"(data.source files or tfds:NAME).",
        ),
    )


def _vocabulary(config: Sections) -> list[str]:
    data = config.data
    given = "data.vocabulary_path" if data.vocabulary_path else "init" if config.init else ""
    if not (given and data.vocabulary):
        return []
    return [
        f"data.vocabulary is {data.vocabulary} and {given} brings a vocabulary, which is taken as it is. "
        f"Leave one of them out."
    ]


def _task(config: Sections) -> list[str]:
    """What goes with a task alone, and what never does."""
    data, metrics = config.data, config.score.metrics
    if config.reads_text():
        return []
    if not data.task:
        stated = {
            f"data.{name}": getattr(data, name) for name in ("prefix", "source_tokens", "target_tokens")
        }
        stated["score.metrics"] = ", ".join(metrics)
        stated["score.protocol"] = config.score.protocol
        stated["score.choose"] = config.score.choose if config.score.choose != LAST else ""
        return [
            f"{name} is {value!r:.60} and data.task is empty. It is a setting of tasks. Set data.task, or "
            f"leave it out."
            for name, value in stated.items()
            if value
        ]
    choice = task_of(data.task)
    needs_path = choice.needs_path
    return _benchmark(config) + problems_among(
        (
            data.source != type(data)().source,
            f"data.source is {data.source!r} and data.task is {data.task!r:.60}. Allowed is one of them. "
            f"Leave data.source out for a task.",
        ),
        (
            needs_path and not data.path,
            f"data.task is {data.task!r} and data.path is empty. {needs_path}",
        ),
        (
            data.path and not needs_path and not choice.benchmark,
            f"data.path is {data.path!r:.60} and data.task is {data.task!r:.60}, which reads its rows by "
            f"itself. Leave data.path out.",
        ),
        (
            config.score.choose == BEST and config.score.dev_sentences < 2,
            f"score.dev_sentences is {config.score.dev_sentences} and score.choose is 'best', which chooses "
            f"by one half of these rows and reports the other. Allowed are 2 at least. Raise it, or set "
            f"score.choose to 'last'.",
        ),
        (
            data.longest_tokens,
            f"data.longest_tokens is {data.longest_tokens} and data.task is {data.task!r:.60}. A task leaves "
            f"nothing out for its length. Set data.source_tokens and data.target_tokens, to which it cuts.",
        ),
    )


def _stacks(config: Sections) -> list[str]:
    """Depths that the arrangement of the layers does not have."""
    model, whole = config.model, config.model.dimensions()
    return problems_among(
        (
            whole.one_stack and model.decoder_layers,
            f"model.decoder_layers is {model.decoder_layers} and model.stacks is {model.stacks!r}, which is "
            f"one stack of model.layers. Leave model.decoder_layers out.",
        ),
        (
            whole.stacks == "shared" and whole.of_decoder != whole.layers and not config.init,
            f"model.decoder_layers is {whole.of_decoder} and model.stacks is 'shared', where encoder and "
            f"decoder have the same {whole.layers} layers. Leave model.decoder_layers out.",
        ),
    )


def _benchmark(config: Sections) -> list[str]:
    """What a benchmark's task says itself, and what it has no rows for."""
    data, score = config.data, config.score
    benchmark = task_of(data.task).benchmark
    if benchmark is None:
        return problems_among(
            (
                score.protocol,
                f"score.protocol is {score.protocol!r} and data.task is {data.task!r:.60}. It is a setting "
                f"of benchmarks, such as glue/cola. Leave it out.",
            )
        )
    none = {
        HIDDEN: f"The labels of {data.task}'s test split are hidden",
        NONE: f"{data.task} has no test split",
    }
    return problems_among(
        (
            data.prefix,
            f"data.prefix is {data.prefix!r:.60} and data.task is {data.task!r}, which puts its own words "
            f"before its inputs. Leave data.prefix out.",
        ),
        (
            score.test and config.protocol == PAPERS and benchmark.test in none,
            f"score.test is true and score.protocol is 'papers'. {none.get(benchmark.test)}: there is "
            f"nothing to score. Leave score.test out, since this protocol reports validation as score; or "
            f"set score.protocol to 'ours', where validation is what score.test opens.",
        ),
    )


def indivisible(config: Sections) -> list[str]:
    model, mesh = config.model.dimensions(), config.mesh
    shards = mesh.data * mesh.fsdp
    return problems_among(
        (
            model.d_attention % model.heads,
            f"model.heads is {model.heads} and model.d_attention is {model.d_attention}. "
            f"Allowed is a number of heads that divides d_attention.",
        ),
        (
            model.positions == "sinusoidal" and (model.d_model % 2 or model.d_model < 4),
            f"model.d_model is {model.d_model}. Allowed with sinusoidal positions is an even number of at "
            f"least 4: half of it holds sines, half cosines.",
        ),
        (
            model.heads % mesh.tensor,
            f"mesh.tensor is {mesh.tensor} and the model has {model.heads} heads. "
            f"Allowed is a number that divides the heads.",
        ),
        (
            not config.batch.tokens and config.batch.sentences % shards,
            f"batch.sentences is {config.batch.sentences} and mesh.data · mesh.fsdp is {shards}. "
            f"Allowed is a batch that they divide.",
        ),
    )


def _numbers(config: Sections) -> tuple[str, ...] | None:
    """The optimizer's hyperparameters without alpha; None for one of optax, which is not asked here."""
    known = OPTIMIZERS.get(config.optimizer.name)
    return tuple(known.numbers) if known else None


def _optimizer(config: Sections) -> list[str]:
    """Numbers that the optimizer does not have; those of optax are asked before the first step."""
    optimizer = config.optimizer
    known = _numbers(config)
    if known is None:
        return []
    stated = {name: getattr(optimizer, name) for name in ("beta2", "eps", "weight_decay")}
    others = [name for name in known if name not in vars(optimizer)]
    return [
        *(
            f"optimizer.{name} is {value} and {optimizer.name} has none. "
            f"Its numbers are {', '.join(known)}. Leave it out."
            for name, value in stated.items()
            if value is not None and name not in known
        ),
        *(
            f"optimizer.more.{name[:60]} is none of {optimizer.name}'s. "
            f"Allowed: {', '.join(others) or 'nothing'}. Leave it out."
            for name in optimizer.more
            if name not in others
        ),
    ]


def _course(config: Sections) -> list[str]:
    """Hyperparameters that are to move without being learned."""
    courses = config.schedule.course
    if courses and re.fullmatch(LEARNED_SCHEDULE, config.schedule.name):
        return [
            f"schedule.course is set and schedule.name is {config.schedule.name!r}, which brings its own "
            f"values. Allowed is one of them."
        ]
    known = _numbers(config)
    problems = []
    for name, course in courses.items():
        where = f"schedule.course.{name[:60]}"
        if name not in COURSES or (known is not None and name not in ("alpha", *known)):
            allowed = [n for n in COURSES if known is None or n in ("alpha", *known)]
            problems.append(f"{where} is none that can take a course. Allowed: {', '.join(allowed)}.")
            continue
        if name in config.guidance.learn:
            problems.append(
                f"{where} is set and guidance.learn holds {name}. Let it learn, or set its course."
            )
        if "start" not in course and not config.start_of(name):
            problems.append(f"{where} states no start, and the config none either. State it.")
        for key, value in course.items():
            below = math.inf if key == "shape" else LEARNABLE[name].ends[1]
            if not 0 < value < below:
                problems.append(f"{where}.{key} is {value}. Allowed is strictly between 0 and {below:g}.")
    return problems


def _guidance(config: Sections) -> list[str]:
    guidance = config.guidance
    on = guidance.estimator != OFF
    problems = []
    if guidance.learn and not on:
        problems.append(
            f"guidance.learn is {', '.join(guidance.learn)} and guidance.estimator is 'off'. "
            f"Choose an estimator ({', '.join(e for e in ESTIMATORS if e != OFF)}), or learn nothing."
        )
    problems += problems_among(
        (
            on and not guidance.learn,
            f"guidance.estimator is {guidance.estimator!r} and guidance.learn is empty. "
            f"Name what it learns ({', '.join(LEARNABLE)}), or set the estimator to 'off'.",
        ),
        (
            guidance.eta is not None and guidance.reach is not None,
            f"guidance.eta is {guidance.eta} and guidance.reach is {guidance.reach}. "
            f"Give one of them: the reach is η̂ times the number of meta-steps.",
        ),
    )
    problems += [
        f"guidance.hypers.{name[:60]} is set and guidance.learn is "
        f"{', '.join(guidance.learn) or 'empty'}. Name it there too, or leave its settings out."
        for name in guidance.hypers
        if name not in guidance.learn
    ]
    problems += _misused(config) if on else []
    problems += _groups_and_meta(config)
    for name in guidance.learn:
        problems += _unlearnable(config, name)
    return problems


def _groups_and_meta(config: Sections) -> list[str]:
    problems = []
    for name, pattern in config.guidance.groups.items():
        where = f"guidance.groups.{name[:60]}"
        if name == "rest":
            problems.append(f"{where}: the group of what no pattern finds has that name. Choose another.")
        try:
            re.compile(pattern)
        except re.error as why:
            problems.append(f"{where} is {pattern[:60]!r}, which is no regular expression: {why}. Mend it.")
    for name in ("beta1", "beta2"):
        value = config.guidance.meta.get(name, 0.0)
        if not 0 <= value < 1:
            problems.append(f"guidance.meta.{name} is {value}. Allowed is at least 0 and below 1. Change it.")
    return problems


def _misused(config: Sections) -> list[str]:
    """Settings of another estimator than the one that is chosen, which would say nothing."""
    guidance = config.guidance
    problems = []
    chosen = ESTIMATORS[guidance.estimator]
    for name in _ESTIMATORS_OWN:
        value, default = getattr(guidance, name), type(guidance).__dataclass_fields__[name].default
        stated = value != default and (name, value) != ("every_steps", 1)  # what all others do
        if stated and name not in chosen.settings:
            owners = [repr(owner) for owner, each in ESTIMATORS.sound().items() if name in each.settings]
            problems.append(
                f"guidance.{name} is {value} and guidance.estimator is {guidance.estimator!r}. "
                f"It is a setting of {' and '.join(owners)}. Leave it out, or choose that one."
            )
    for name in guidance.learn:
        if name in IN_LOSS and not chosen.through_gradient:
            able = [each for each, choice in ESTIMATORS.sound().items() if choice.through_gradient]
            problems.append(
                f"guidance.learn holds {name} and guidance.estimator is {guidance.estimator!r}. "
                f"It acts through the training gradient: allowed are {' and '.join(able)}."
            )
    return problems


def _unlearnable(config: Sections, name: str) -> list[str]:
    known = _numbers(config)
    if known is not None and name not in (allowed := ("alpha", *known, *IN_LOSS)):
        return [
            f"guidance.learn holds {name}, which {config.optimizer.name} does not have. "
            f"Allowed: {', '.join(allowed)}."
        ]
    start = config.start_of(name)
    if start is None:  # the optimizer's own, known where it is
        return []
    own: dict[str, Any] = config.guidance.hypers.get(name, {})
    low, high = max(own.get("low", 0.0), 0.0), min(own.get("high", math.inf), LEARNABLE[name].ends[1])
    if low < start < high:
        return []
    return [
        f"{name} learns and starts at {start} ({LEARNABLE[name].path}), on its bound or beyond. "
        f"Allowed is strictly between {low:g} and {high:g}. Move its start, or do not learn it."
    ]


def learned_and_replayed(config: Sections, replayed: Collection[str]) -> list[str]:
    """Where a recorded curve would take the place of what is learned."""
    both = [name for name in config.guidance.learn if name in replayed]
    if not both:
        return []
    return [
        f"schedule.name is {config.schedule.name!r}, which replays {', '.join(both)}, and guidance.learn "
        f"holds it too: nothing would be learned. Set guidance.estimator to 'off' and guidance.learn to [], "
        f"or choose a schedule by name."
    ]
