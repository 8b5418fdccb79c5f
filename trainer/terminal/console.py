"""How does a person train one model at a terminal? Flags to a config, progress, and what came of it."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.config import TrainConfig, canonical, fingerprint, named_files, papers_rate, with_values
from trainer.config.benchmarks import BENCHMARKS
from trainer.config.choices import ESTIMATORS, FEW_TASKS, METRICS, MODELS, OFF, SOURCES, source_of
from trainer.config.learnable import LEARNABLE, PAPERS
from trainer.config.paths import value_at
from trainer.config.reading import ConfigError
from trainer.data import home
from trainer.protocol import ANSWERS, SECONDS, Outcome, Place, Reply, Report, write_resume_note
from trainer.training.entrypoint import check

DONE, TROUBLE, WRONG, STOPPED = 0, 1, 2, 3
SHOWN = 10  # sample translations
ABOUT = """Train one model and print its translations.

Without a config file the flags define the run: the embedded corpus, the paper's optimizer and schedule; with
--init those of T5's fine-tuning (Adafactor, a constant rate of 0.001).
The same command again resumes a stopped run (Ctrl-C saves first), or shows the result of a finished one.

  orch train --pair en-de --size tiny --steps 1200
  orch train --pair en-de --guide next-batch --learn alpha beta1
  orch train --source files --path corpus/train --pair en-de     (corpus/train.en and corpus/train.de)
  orch train --source text --path notes.txt                      (unlabelled: a document on each line)
  orch train --task files --path reviews.tsv --prefix "review: " --metric accuracy --metric macro-f1
  orch train --init t5-small/ --task files --path reviews.tsv --prefix "review: " --metric accuracy
  orch train --init t5-small/ --task glue/cola --data-dir ~/tensorflow_datasets --test
  orch train config.json --set optimizer.name=adamw --set optimizer.learning_rate=0.001"""
# Flags that are short for a path in the config.
PATHS = {
    "pair": "data.pair",
    "source": "data.source",
    "path": "data.path",
    "init": "init",
    "level": "data.level",
    "task": "data.task",
    "prefix": "data.prefix",
    "metric": "score.metrics",
    "size": "model.size",
    "steps": "steps",
    "seed": "seed",
    "guide": "guidance.estimator",
    "learn": "guidance.learn",
    "test": "score.test",
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        config = config_of(arguments)
    except ConfigError as error:
        return _refused(error.problems)
    if problems := check(config.to_dict()):
        return _refused(problems)
    folder = arguments.out or home.home() / "train" / f"{_subject(config)}-{fingerprint(config)[:10]}"
    try:
        return _trained(config, folder.absolute(), as_json=arguments.json)
    except ValueError as error:  # ConfigError, DataError, CheckpointError: sentences
        return _refused(str(error).splitlines())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "orch train", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("config", nargs="?", type=Path, help="a JSON file with a config; missing keys have their defaults")
    add("--pair", help="language pair: de-en translates from German to English")
    add("--size", help=f"model size: {', '.join(MODELS)}")
    add("--steps", type=int, help="training steps; warm-up and evaluations scale with them")
    add("--seed", type=int, help="seed of the parameters, batches and dropout")
    add("--source", help=f"{', '.join(SOURCES)}, or tfds:NAME [cldr]")
    add("--path", help="path of your text, or of a folder with prepared TFDS sets")
    add("--data-dir", dest="path", help="the same as --path")
    add("--init", help="begin with these weights: a T5 folder of Hugging Face, or a finished run or trial")
    add("--level", help="for cldr: phrases or sentences")
    add(
        "--task",
        help=f"inputs and targets in place of translations: {', '.join(FEW_TASKS)}, a benchmark's such as "
        f"glue/cola, or a Python file",
    )
    add("--prefix", help="for tasks: a text before every input, such as 'review: '")
    add("--metric", action="append", help=f"for tasks: {', '.join(METRICS)}; repeatable [accuracy]")
    ways = ", ".join(name for name in ESTIMATORS if name != OFF)
    add("--guide", help=f"learn hyperparameters while training; estimators: {ways}")
    add(
        "--learn",
        nargs="+",
        help=f"hyperparameters to learn (default: {' and '.join(PAPERS)}): {', '.join(LEARNABLE)}",
    )
    add("--test", action="store_true", default=None, help="open and score the test split at the end")
    add(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="any other setting (docs/config.md); repeatable",
    )
    add("--out", type=Path, help="the folder for checkpoints and results (ORCH_HOME/train/…)")
    add("--json", action="store_true", help="print one JSON object at the end")
    return parser


def config_of(arguments: argparse.Namespace) -> TrainConfig:
    """The config that the file, the flags and --set come to, in this order."""
    stated = _read(arguments.config) if arguments.config else {}
    given = vars(arguments)
    values = {path: given[flag] for flag, path in PATHS.items() if given[flag] is not None}
    own_text = bool(values.get("data.path"))
    if "steps" in values:
        tenth = max(1, values["steps"] // 10)
        cadence = {"eval_every_steps": tenth, "checkpoint_every_steps": tenth, "schedule.warmup_steps": tenth}
        rate = {"optimizer.learning_rate": papers_rate(tenth)}
        values = {**cadence, **rate, **values} if not stated else {**cadence, **values}
    if "guidance.estimator" in values:
        values.setdefault("guidance.learn", list(PAPERS))
    if "init" in values and not stated:
        values |= finetuning(momentum="beta1" in values.get("guidance.learn", ()))
    for setting in arguments.set:
        path, is_there, text = setting.partition("=")
        if not is_there:
            raise ConfigError([f"--set is {setting!r}. Allowed is PATH=VALUE, such as optimizer.alpha=2."])
        values[path] = _value(text)
    if own_text and not values.get("data.task", value_at(stated, "data.task")):
        values.setdefault("data.source", value_at(stated, "data.source") or "files")
    config = with_values(TrainConfig.from_dict(stated), values)
    places = {
        path: Path(name).expanduser().absolute() for path, name in named_files(config.to_dict()).items()
    }
    if "schedule.name" in places and not places["schedule.name"].is_file():  # `check` says so
        del places["schedule.name"]
    return with_values(config, {path: str(place) for path, place in places.items()})


def finetuning(*, momentum: bool) -> dict[str, Any]:
    """How T5 is fine-tuned (3.1.2 of its paper). A beta1 that is learned begins at the paper's 0.9."""
    return {
        "optimizer.name": "adafactor",
        "optimizer.learning_rate": 1e-3,
        "optimizer.beta1": 0.9 if momentum else 0.0,
        "schedule.name": "constant",
        "schedule.warmup_steps": 0,
    }


def _read(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise ConfigError(
            [f"{path} cannot be read as JSON ({problem}). Name a file with a config."]
        ) from None
    if not isinstance(data, dict):
        raise ConfigError([f"{path} holds no JSON object. Allowed are sections: names with their values."])
    return data


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself: phrases needs no quotes."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _refused(problems: Sequence[str]) -> int:
    for sentence in problems:
        print(f"orch: {sentence}", file=sys.stderr)
    return WRONG


def _trained(config: TrainConfig, folder: Path, *, as_json: bool) -> int:
    logging.basicConfig(format="orch: %(message)s", level=logging.WARNING)
    logging.getLogger("trainer").setLevel(logging.INFO)  # how far a large text is read
    folder.mkdir(parents=True, exist_ok=True)
    _resume(folder)
    _say(f"{config.model.size} model, {_subject(config)}, {config.steps:,} steps, in {folder}")
    _say("Text and vocabulary, then the first step's program: a minute at most, kept for the next time.")
    from trainer.training import assembly

    told = _Told(config.steps)
    with _hearing_interrupts(told):
        outcome = assembly.run(config, reporter=told, workdir=folder, place=Place())
    told.clear()
    if as_json:
        print(
            json.dumps({"folder": str(folder), "config": json.loads(canonical(config)), **outcome.to_dict()})
        )
    else:
        _show(outcome, folder, config)
    if outcome.status in ("stopped", "preempted"):
        _say("Stopped, and saved. The same command goes on.")
        return STOPPED
    return DONE if outcome.status == "completed" else TROUBLE


def _subject(config: TrainConfig) -> str:
    """What is learned: a pair of languages, or a task or unlabelled text by its file's name or its own."""
    data = config.data
    if config.reads_text() and not source_of(data.source).own_files:
        return data.source.removeprefix("tfds:").replace("/", "-")
    if config.reads_text():
        return Path(data.path).stem
    if data.task in BENCHMARKS:
        return data.task.replace("/", "-")
    return Path(data.path or data.task).stem if data.task else data.pair


def _resume(folder: Path) -> None:
    """Name the newest checkpoint to the run, if there is one."""
    from trainer.training import checkpoint

    newest = next(iter(checkpoint.finished(folder)), None)
    if newest is not None:
        write_resume_note(folder, str(newest))
        _say(f"Going on from step {int(newest.name.removeprefix('checkpoint-')):,}.")


class _Told:
    """A reporter that keeps one line on a terminal, and says every evaluation on one of its own."""

    def __init__(self, steps: int) -> None:
        self.steps, self.verdict = steps, Reply.GO
        self.scores = False  # all steps are done: what is left is to save and to score
        self._began = self._last = time.monotonic()
        self._live = sys.stderr.isatty()

    def __call__(self, report: Report) -> Reply:
        now = time.monotonic()
        if report.kind == "eval":
            self.scores = report.step == self.steps
            self.clear()
            score = f"  score {report.values['score']:.2f}" if "score" in report.values else ""
            loss = f"dev loss {report.values['dev_loss']:.4f}"
            _say(f"{self._head(report)}  {loss}{score}{_learned(report)}")
        elif report.kind == "train" and self._live and now - self._last > 0.2:
            self._last = now
            print(f"\r\x1b[K{self._head(report)}  training …", end="", file=sys.stderr, flush=True)
        return self.verdict

    def clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _head(self, report: Report) -> str:
        taken_s = time.monotonic() - self._began
        loss = report.values.get("train_loss")
        shown = "" if loss is None else f"  loss {loss:.4f}"
        minutes, seconds = divmod(int(taken_s), 60)
        return f"[{minutes:02d}:{seconds:02d}] step {report.step:,} of {self.steps:,}{shown}"


def _learned(report: Report) -> str:
    shown = [f"{name} {report.hyper[name]:.4g}" for name in PAPERS if name in report.hyper]
    return f"  ({', '.join(shown)})" if shown else ""


@contextmanager
def _hearing_interrupts(told: _Told) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks the run to save and stop; the second one ends it as usual."""

    def ask(number: int, _frame: Any) -> None:
        told.verdict = Reply.SAVE_AND_STOP
        _say(_AFTER_STEPS if told.scores else _AMID_STEPS)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_AMID_STEPS = "Saving and stopping at the end of this chunk of steps. Again ends it at once."
_AFTER_STEPS = (
    "All steps are done: the run saves, scores its translations and ends. Again ends it at once; the same "
    "command then goes on from the last checkpoint."
)


_WHOLE = ("chosen_step", "uncorrupted_spans")  # values that are whole numbers
_TRANSLATE = "Translate with it: orch translate {0} --text '…'"


def _show(outcome: Outcome, folder: Path, config: TrainConfig) -> None:
    if outcome.reason:
        _say(outcome.reason)
    clocks, on_text = outcome.clocks, config.reads_text()
    of_translations = not (config.data.task or on_text)
    print(f"{outcome.status} after {clocks['steps']:,.0f} steps, {clocks['tokens']:,.0f} tokens")
    print("  " + ", ".join(f"{name.removesuffix('_s')} {clocks[name]:.1f} s" for name in SECONDS))
    for name, value in sorted(outcome.values.items()):
        if name.startswith(("dev_", "test_")) or (not of_translations and name != "train_loss"):
            places = 4 if name.endswith("loss") else 0 if name in _WHOLE else 2
            print(f"  {name} {value:.{places}f}")
    for file in outcome.files:
        if file.startswith("translations"):
            _show_translations(folder / file)
        elif file in ANSWERS.values():
            _show_answers(folder / file)
    use = "Fine-tune it: orch train --init {0} --task …" if on_text else _TRANSLATE
    print(f"\nAll of it is in {folder}. {use.format(folder)}")


def _show_translations(path: Path) -> None:
    # Not splitlines: a sentence may hold one of Unicode's other ends of lines.
    head, *lines = map(json.loads, path.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    print(f"\n{head['split']} split, beam {head['beam']}; {head['bleu']} · {head['chrf']}")
    for line in lines[:SHOWN]:
        print(f"  source       {line['source']}\n  reference    {line['reference']}")
        print(f"  translation  {line['translation']}\n")


def _show_answers(path: Path) -> None:
    head, *lines = map(json.loads, path.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    how = f"outputs by a beam of {head['beam']}" if "beam" in head else "greedy outputs"
    by = f" (protocol {head['protocol']})" if "protocol" in head else ""
    print(f"\n{head['split']} split{by}, {how} of {head['rows']:,} rows, such as")
    for line in lines[:SHOWN]:
        print(f"  input   {line['input']}\n  target  {line['target']}\n  output  {line['output']}\n")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
