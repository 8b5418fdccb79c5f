"""What is in a text, how does a published one get here, and who opened its test split? `orch data`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import textwrap
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import ConfigError, TrainConfig
from trainer.config import init as inits
from trainer.config.benchmarks import BENCHMARKS, OF_TASK, OURS, PROTOCOLS
from trainer.config.choices import (
    FEW_TASKS,
    LEVELS,
    RANDOM_SPANS,
    SOURCE_TOKENS,
    SOURCES,
    TARGET_TOKENS,
    TASKS,
)
from trainer.config.t5_folder import SPIECE, FolderError
from trainer.data import home
from trainer.data.contract import Corpus, DataError

if TYPE_CHECKING:  # --help needs no numpy
    from trainer.data.vocabulary import Given

_TYPED_PAIRS = 200_000  # of train, whose words are counted as types
_SAMPLES = 5
_EPILOG = """\
  tfds:NAME   any other prepared set: translations, such as tfds:ted_hrlr_translate/pt_to_en, or unlabelled
              text, such as tfds:c4/en
  task:NAME   a task in its place, the same as --task NAME

examples:
  orch data describe cldr --pair de-en
  orch data describe files --path my/train --pair de-en --json
  orch data describe text --path notes.txt
  orch data describe --task files --path reviews.tsv --prefix "review: "
  orch data describe task:glue/cola --data-dir ~/tensorflow_datasets
  orch data describe wmt19 --pair lt-en --data-dir ~/tensorflow_datasets
  orch data prepare wmt19 --pair lt-en --data-dir ~/tensorflow_datasets
  orch data openings
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    verbs = {"describe": _describe, "prepare": _prepare, "openings": _openings}
    try:
        print(verbs[options.verb](options))
    except (ConfigError, DataError, FolderError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _epilog() -> str:
    of_each = {name: each.words.replace("\n", "\n" + " " * 14) for name, each in SOURCES.sound().items()}
    tasks = textwrap.fill(", ".join(BENCHMARKS), 100, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(
        [
            "benchmarks' tasks:",
            tasks,
            "sources:",
            *(f"  {name:<12}{words}" for name, words in of_each.items()),
            _EPILOG,
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orch data",
        description="Describe a text, prepare a published one, and list who opened a test split.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="describe | prepare | openings")
    describe = verbs.add_parser("describe", help="splits, filters, lengths, overlap, samples")
    describe.add_argument(
        "source", nargs="?", default="cldr", help=f"{', '.join(SOURCES)}, tfds:NAME or task:NAME [cldr]"
    )
    describe.add_argument("--pair", default="de-en", help="language pair [de-en]")
    describe.add_argument("--level", default="phrases", help=f"for cldr: {' or '.join(LEVELS)} [phrases]")
    describe.add_argument(
        "--pairs", type=int, default=0, help="number of pairs to generate, or the most to use [20,000; all]"
    )
    describe.add_argument("--path", default="", help="for files and text: where the text is")
    describe.add_argument("--key", default="text", help="for text: its key in JSON lines [text]")
    describe.add_argument("--tokens", type=int, default=0, help="of unlabelled text: the first so many [all]")
    describe.add_argument(
        "--data-dir", default="", help="for wmt19, tfds and benchmarks: [~/tensorflow_datasets]"
    )
    describe.add_argument(
        "--protocol", default="", help=f"for benchmarks, which rows choose: {' or '.join(PROTOCOLS)} [{OURS}]"
    )
    describe.add_argument(
        "--keep-languages", action="store_true", help="do not drop pairs in other languages"
    )
    describe.add_argument(
        "--task",
        default="",
        help=f"inputs and targets in place of translations: {', '.join(FEW_TASKS)}, a benchmark's, or a "
        f"Python file",
    )
    describe.add_argument("--prefix", default="", help="for tasks: a text before every input")
    describe.add_argument(
        "--init",
        default="",
        help="for tasks and text: a T5 folder or a run's, whose vocabulary is to be used",
    )
    for side, most in (("source", SOURCE_TOKENS), ("target", TARGET_TOKENS)):
        words = "an input" if side == "source" else "a target"
        describe.add_argument(
            f"--{side}-tokens", type=int, default=0, help=f"for tasks: to how many {words} is cut [{most}]"
        )
    describe.add_argument("--json", action="store_true", help="for programs")
    made = verbs.add_parser("prepare", help="download a set of TensorFlow Datasets and prepare it")
    made.add_argument(
        "source", help="wmt19, a benchmark's task, or a set's name: c4/en, glue/cola, cnn_dailymail, …"
    )
    made.add_argument("--pair", default="de-en", help="for wmt19 [de-en]")
    made.add_argument("--data-dir", default="", help="target folder [~/tensorflow_datasets]")
    made.add_argument("--json", action="store_true", help="for programs")
    opened = verbs.add_parser("openings", help="list openings of test splits: when, which text, why")
    opened.add_argument("--json", action="store_true", help="for programs")
    return parser


def _describe(options: argparse.Namespace) -> str:
    from trainer.data import described, tfds
    from trainer.data.corpus import open_corpus

    if options.source.startswith(OF_TASK):
        options.task = options.source.removeprefix(OF_TASK)
    if options.task:
        return _shown(_of_task(options), options)
    path = options.path
    if options.source == "wmt19" or options.source.startswith("tfds:"):
        path = options.data_dir or path or str(tfds.default_folder())
    elif options.data_dir:
        raise DataError(
            f"--data-dir goes with wmt19 and tfds:NAME, and the source is {options.source!r}. Use --path."
        )
    stated: dict[str, Any] = {
        "data": {
            "source": options.source,
            "path": path,
            "pair": options.pair,
            "level": options.level,
            "pairs": options.pairs,
            "identify_languages": not options.keep_languages,
            "key": options.key,
            "tokens": options.tokens,
        },
        "init": options.init,
    }
    unlabelled = described.is_unlabelled(options.source, path)
    if unlabelled and options.source not in SOURCES:  # a prepared set, which may hold translations too
        stated["objective"] = {"name": RANDOM_SPANS}
    config = TrainConfig.from_dict(stated)
    if unlabelled:
        found = described.figures(config.data, home=home.texts(), given=_given(options.init))
        return _as_json(found) if options.json else described.for_people(found)
    corpus = open_corpus(config.data, home=home.texts(), tell=lambda said: print(said, file=sys.stderr))
    return _shown(_figures(corpus), options)


def _of_task(options: argparse.Namespace) -> dict[str, Any]:
    """Its vocabulary is made too: what is cut is counted in tokens."""
    from trainer.data import described_task
    from trainer.data.tokens import open_tokens

    named = options.task in TASKS or not options.task.endswith(".py")
    task = options.task if named else str(Path(options.task).expanduser().absolute())
    given = {name: getattr(options, name) for name in ("path", "prefix", "source_tokens", "target_tokens")}
    source = (
        {}
        if options.source in ("cldr", None) or options.source.startswith(OF_TASK)
        else {"source": options.source}
    )
    given["path"] = options.path or options.data_dir
    data = {"task": task, "pairs": options.pairs, **given, **source}
    stated = {"data": data, "batch": {"sentences": 1}, "init": options.init}
    config = TrainConfig.from_dict({**stated, "score": {"protocol": options.protocol}})
    tokens = open_tokens(config, home=home.texts(), given=_given(options.init))
    return _figures(tokens.corpus) | described_task.figures(config, tokens)


def _given(init: str) -> Given | None:
    from trainer.data.vocabulary import Given

    if not init:
        return None
    found = inits.read(init)
    if found.vocabulary is None:
        raise DataError(f"{init} has no vocabulary ({SPIECE}). Put the one of its model there.")
    return Given(found.vocabulary, found.folder.vocabulary if found.folder else 0)


def _figures(corpus: Corpus) -> dict[str, Any]:
    from trainer.data.filters import in_order

    found = {"name": corpus.name, "pair": corpus.pair, "fingerprint": corpus.fingerprint, **corpus.record}
    found["types"] = _types(corpus)
    found["samples"] = [list(pair) for pair in islice(in_order(corpus.guide), _SAMPLES)]
    return found


def _shown(found: dict[str, Any], options: argparse.Namespace) -> str:
    return _as_json(found) if options.json else _for_people(found)


def _as_json(found: Any) -> str:
    return json.dumps(found, ensure_ascii=False, indent=2)


def _types(corpus: Corpus) -> dict[str, int]:
    """Different words a side, in at most the first 200,000 pairs of train."""
    from trainer.data.filters import in_order

    sides: tuple[set[str], set[str]] = (set(), set())
    for pair in islice(in_order(corpus.train), _TYPED_PAIRS):
        for side, text in zip(sides, pair, strict=True):
            side.update(text.split())
    return {"source": len(sides[0]), "target": len(sides[1])}


def _for_people(found: dict[str, Any]) -> str:
    unread = "none" if "protocol" in found else "when opened"
    counts = {name: unread if n is None else f"{n:,}" for name, n in found["splits"].items()}
    said = [f"{found['name']}  ({found['fingerprint'][:12]}, {found['seconds']:.1f} s)", "", "filter"]
    for step in found["filters"]:
        dropped = step["before"] - step["after"]
        said.append(f"  {step['name']:<18}{step['before']:>12,} -> {step['after']:>12,}   {-dropped:,}")
    said += ["", *([f"score.protocol {found['protocol']}"] if "protocol" in found else [])]
    said += ["split", *(f"  {name:<18}{count:>12}" for name, count in counts.items())]
    said += ["", "words of train        mean  median  longest     types"]
    for side, words in found["lengths"].items():
        said.append(
            f"  {side:<18}{words['mean']:>6.1f}{words['median']:>8.0f}{words['longest']:>9}"
            f"{found['types'][side]:>10,}"
        )
    if tokens := found.get("tokens"):
        said += ["", "tokens of train       mean  median  longest"]
        said += [
            f"  {side:<18}{of['mean']:>6.1f}{of['median']:>8.0f}{of['longest']:>9}"
            for side, of in tokens.items()
        ]
    for split, cut in found.get("cut", {}).items():
        most = found["most_tokens"]
        said += ["", f"cut to {most['input']} and {most['target']} tokens"] if split == "train" else []
        said.append(f"  {split:<18}{cut['input']:>12,} inputs, {cut['target']:,} targets")
    if labels := found.get("labels"):
        names = sorted(set().union(*labels.values()))
        said += ["", f"{'targets':<20}{'train':>12}{'guide':>12}{'select':>12}"]
        said += [
            f"  {name[:18]:<18}" + "".join(f"{labels[split].get(name, 0):>12,}" for split in labels)
            for name in names
        ]
    if lost := found.get("lost"):
        said += ["", f"not given back by the vocabulary: {lost['targets']:,} of {lost['of']:,} targets"]
        said += [f"  {target!r} comes back as {back!r}" for target, back in lost["samples"]]
    if always := found.get("commonest"):
        scores = ", ".join(f"{name} {value:.1f}" for name, value in always["scores"].items())
        said += ["", f"always {always['target']!r:.40}: {scores} ({always['rows']:,} rows of select)"]
    said += ["", f"overlap between splits: {found['overlap']:,} sources"]
    for name, shared in found["overlaps"].items():
        if shared["sources"]:
            said.append(f"  {name:<18}{shared['sources']:>12,} sources, {shared['pairs']:,} whole pairs")
    said += ["", "such as"]
    for source, target in found["samples"]:
        said += [f"  {source}", f"    {target}"]
    return "\n".join(said)


def _prepare(options: argparse.Namespace) -> str:
    from trainer.data import tfds
    from trainer.data.prepare import prepare, sets_of

    made: list[dict[str, Any]] = []
    for name in sets_of(options.source, pair=options.pair, data_dir=options.data_dir):
        place = prepare(name, data_dir=options.data_dir)
        made.append(
            {"set": name, "folder": str(place), "splits": tfds.splits(name, data_dir=options.data_dir)}
        )
    if options.json:
        return json.dumps(made[0] if len(made) == 1 else made, indent=2)
    return "\n".join(
        f"{each['set']} is prepared in {each['folder']}: "
        f"{', '.join(f'{split} {count:,}' for split, count in each['splits'].items())}."
        for each in made
    )


def _openings(options: argparse.Namespace) -> str:
    from trainer.data.corpus import openings

    found = openings(home.texts())
    if options.json:
        return json.dumps(found, ensure_ascii=False, indent=2)
    if not found:
        return "No test split has been opened."
    return "\n".join(
        f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(line['unix_s']))} UTC  {line['corpus']}  "
        f"{line['fingerprint'][:12]}  {line['why']}"
        for line in found
    )


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly where a reader such as `head` has enough
    sys.exit(main())
