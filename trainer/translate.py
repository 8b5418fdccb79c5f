"""What does a trained model say? Sentences from the command line, a file or standard input.

python -m trainer.translate orch-data/train/de-en-… --text "zwölf Kilometer"
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from trainer import home
from trainer.config import TrainConfig

WRONG = 2
AT_A_TIME = 512  # lines: what is translated is printed, also from a pipe that goes on


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        model = Model.open(arguments.run)
        for lines in _lines(arguments):
            for source, translation in zip(lines, model.translate(lines, beam=arguments.beam), strict=True):
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
    add("--text", action="append", help="a sentence, as often as needed; else --file or standard input")
    add("--file", type=Path, help="a file with a sentence a line")
    add("--beam", type=int, help="hypotheses kept at a time (the run's config: 4); 1 is greedy")
    add("--json", action="store_true", help="a JSON object a line, with source and translation")
    return parser


def _lines(arguments: argparse.Namespace) -> Iterator[list[str]]:
    if arguments.text:
        yield arguments.text
        return
    with arguments.file.open(encoding="utf-8") if arguments.file else sys.stdin as file:
        while some := [line.rstrip("\n") for line in islice(file, AT_A_TIME)]:
            yield some


class Model:
    """A finished run's parameters with its vocabulary."""

    def __init__(self, config: TrainConfig, vocabulary: Any, settings: Any, params: Any) -> None:
        self.config, self.vocabulary, self._settings, self._params = config, vocabulary, settings, params

    @classmethod
    def open(cls, folder: Path) -> Model:
        """ValueError says what is missing there."""
        from trainer import training, weights
        from trainer.data.vocabulary import Vocabulary
        from trainer.models import model_settings, param_shapes

        names = (training.CONFIG, training.VOCABULARY, weights.FILE)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ValueError(
                f"{folder} has no {', '.join(missing)}. Name the folder of a run that was trained to its end "
                f"and whose parameters were kept (an arm's best, and confirmations)."
            )
        training.keep_programs(home.programs())
        config = TrainConfig.from_dict(json.loads((folder / training.CONFIG).read_text()))
        vocabulary = Vocabulary.from_file(folder / training.VOCABULARY)
        settings = model_settings(config.model, vocabulary=vocabulary.size)
        params = weights.load(folder / weights.FILE, param_shapes(settings))
        return cls(config, vocabulary, settings, params)

    def translate(self, sentences: Sequence[str], *, beam: int | None = None) -> list[str]:
        from trainer.scores import translated

        score = self.config.score
        return translated(
            sentences,
            vocabulary=self.vocabulary,
            settings=self._settings,
            params=self._params,
            devices=None,
            beam=beam or score.beam,
            length_penalty=score.length_penalty,
        )


if __name__ == "__main__":
    sys.exit(main())
