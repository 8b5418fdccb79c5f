"""Translate sentences from the command line, a file or standard input with a trained model.

python -m trainer.terminal.translate orch-data/train/de-en-… --text "zwölf Kilometer"
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import TrainConfig
from trainer.config.init import CONFIG, VOCABULARY
from trainer.data import home
from trainer.data.contract import DataError
from trainer.protocol import PARAMS

if TYPE_CHECKING:  # it loads JAX, which --help needs not
    from trainer.scoring.lines import Cut, Long, Translated

WRONG = 2
AT_A_TIME = 512  # lines: what is translated is printed, also from a pipe that goes on


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        model = Model.open(arguments.run)
        for first, lines in _numbered(_lines(arguments)):
            found = model.translate(lines, beam=arguments.beam, long=arguments.long)
            for cut in found.cuts:
                name = f"{'--text' if arguments.text else 'line'} {first + cut.line}"
                said = _remark(cut, name, model.most, model.long(arguments.long))
                print(f"orch: {said}", file=sys.stderr, flush=True)
            for source, translation in zip(lines, found.lines, strict=True):
                told = {"source": source, "translation": translation}
                print(json.dumps(told, ensure_ascii=False) if arguments.json else translation, flush=True)
    except (ValueError, OSError) as problem:
        print(f"orch: {problem}", file=sys.stderr)
        return WRONG
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("orch translate", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("run", type=Path, help="the folder of a finished run (orch translate also takes a trial's name)")
    add("--text", action="append", help="a sentence; repeatable (default: --file or standard input)")
    add("--file", type=Path, help="a file with one sentence per line")
    add("--beam", type=int, help="beam size (default: the run's config, 4; a task's 1); 1 is greedy")
    add(
        "--long",
        choices=("split", "cut"),
        default="split",
        help="for lines longer than the model allows: translate each sentence (split), or the "
        "beginning alone (cut); standard error says what is left out",
    )
    add("--json", action="store_true", help="print one JSON object per line, with source and translation")
    return parser


def _lines(arguments: argparse.Namespace) -> Iterator[str]:
    """Without their ends; DataError at the first that is no UTF-8."""
    from trainer.data import files

    if arguments.text:
        said = (os.fsencode(text) for text in arguments.text)
        return (files.decoded(text, f"--text {at}") for at, text in enumerate(said, start=1))
    if arguments.file:
        return files.lines(arguments.file)
    return files.text_lines(sys.stdin.buffer, "standard input")


def _numbered(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """So many lines at a time, with the number of the first. What comes before a line that cannot be read is
    handed on before that is said."""
    first, some = 1, []
    wrong: DataError | None = None
    while wrong is None:
        try:
            some.append(next(lines))
        except StopIteration:
            break
        except DataError as problem:
            wrong = problem
        if len(some) == AT_A_TIME:
            yield first, some
            first, some = first + len(some), []
    if some:
        yield first, some
    if wrong is not None:
        raise wrong


def _remark(cut: Cut, name: str, most: int, long: Long | None) -> str:
    if long is None:
        return (
            f"{name} has {cut.tokens:,} tokens with its prefix, and this model reads {most:,} at most: only "
            f"the first {cut.kept:,} of its {cut.words:,} words were read. data.source_tokens of its run "
            f"set that."
        )
    what = f"{name} has" if long == "cut" else f"{name} has a sentence of"
    advice = "With --long split it is translated sentence by sentence" if long == "cut" else "Break it up"
    return (
        f"{what} {cut.tokens:,} tokens, and this model takes {most:,} at most: only the first {cut.kept:,} "
        f"of its {cut.words:,} words were translated. {advice}."
    )


class Model:
    """A finished run's parameters with its vocabulary."""

    def __init__(self, config: TrainConfig, vocabulary: Any, settings: Any, params: Any) -> None:
        from trainer.scoring.lines import most_tokens

        self.config, self.vocabulary, self.settings, self.params = config, vocabulary, settings, params
        self.most = most_tokens(config.data)  # tokens at a time

    def long(self, asked: Long) -> Long | None:
        """What becomes of longer lines; None: a task's inputs are cut, as they were in training."""
        return None if self.config.data.task else asked

    @classmethod
    def open(cls, folder: Path) -> Model:
        """ValueError says what is missing there."""
        from trainer.data.vocabulary import Vocabulary
        from trainer.models import model_settings, param_shapes, programs, weights

        names = (CONFIG, VOCABULARY, PARAMS)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ValueError(
                f"{folder} has no {', '.join(missing)}. Name the folder of a run that was trained to its end "
                f"and whose parameters were kept (an arm's best, and confirmations)."
            )
        programs.keep(home.programs())
        config = TrainConfig.from_dict(json.loads((folder / CONFIG).read_text()))
        rows, _ = weights.shape_of(folder / PARAMS, "embedding")
        vocabulary = Vocabulary.from_file(folder / VOCABULARY, rows=rows)
        settings = model_settings(config.model, vocabulary=vocabulary.size)
        params = weights.load(folder / PARAMS, param_shapes(settings))
        return cls(config, vocabulary, settings, params)

    def translate(
        self, sentences: Sequence[str], *, beam: int | None = None, long: Long = "split"
    ) -> Translated:
        from trainer.data.tokens import task_tokens
        from trainer.scoring.answers import answers
        from trainer.scoring.lines import translated

        score, of_task = self.config.score, task_tokens(self.config.data)
        if of_task is not None:
            return answers(
                [self.config.data.prefix + each for each in sentences],
                vocabulary=self.vocabulary,
                settings=self.settings,
                params=self.params,
                devices=None,
                tokens=of_task,
                beam=beam or 1,
                length_penalty=score.length_penalty,
            )
        return translated(
            sentences,
            vocabulary=self.vocabulary,
            settings=self.settings,
            params=self.params,
            devices=None,
            beam=beam or score.beam,
            length_penalty=score.length_penalty,
            most=self.most,
            long=long,
        )


if __name__ == "__main__":
    sys.exit(main())
