"""How good are a model's translations? BLEU and chrF of a split, with some of them written down.

The dev split is translated greedily, a stated number of its sentences. The test split is opened by runs
whose config says so, once each, and translated with a beam.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from trainer.data.tokens import Tokens
from trainer.protocol import TRANSLATIONS
from trainer.scoring import metrics
from trainer.scoring.ending import Ending
from trainer.scoring.lines import most_tokens, translated

_log = logging.getLogger("trainer")


class Scorer(Ending[Tokens]):
    """The scores of one run. `files` are those it has written, in the run's folder."""

    def scores(self, params: Any) -> dict[str, float]:
        """Of the last parameters of a run, which are written down too."""
        self._keep(params)
        score, corpus = self._config.score, self._tokens.corpus
        found: dict[str, float] = {}
        if score.dev_sentences:
            some = min(score.dev_sentences, len(corpus.select))
            found |= self._of("dev", [corpus.select[i] for i in range(some)], params, beam=1)
        if score.test:
            opened = corpus.test(self._why("score"))
            found |= self._of("test", [opened[i] for i in range(len(opened))], params, beam=score.beam)
        return found

    def _of(
        self, split: str, pairs: Sequence[tuple[str, str]], params: Any, *, beam: int
    ) -> dict[str, float]:
        sources, references = [s for s, _ in pairs], [t for _, t in pairs]
        most = most_tokens(self._config.data)
        translations, cuts = translated(
            sources,
            vocabulary=self._tokens.vocabulary,
            settings=self._settings,
            params=params,
            devices=self._devices,
            beam=beam,
            length_penalty=self._config.score.length_penalty,
            most=most,
        )
        if cuts:
            some = len({cut.line for cut in cuts})
            _log.warning(
                f"{some:,} of {len(sources):,} sources of the {split} split have a sentence of more than "
                f"{most:,} tokens, the most that this model takes: only its beginning was translated."
            )
        bleu, chrf = metrics.bleu(translations, references), metrics.chrf(translations, references)
        if self._writes:
            head = {"split": split, "beam": beam, "bleu": bleu.signature, "chrf": chrf.signature}
            head |= {"cut": len(cuts)} if cuts else {}
            names = ("source", "reference", "translation")
            rows = zip(sources, references, translations, strict=True)
            lines = [head, *(dict(zip(names, row, strict=True)) for row in rows)]
            text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
            self._write(TRANSLATIONS[split], text)
        return {f"{split}_bleu": bleu.value, f"{split}_chrf": chrf.value}
