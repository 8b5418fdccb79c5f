"""How good are a task's outputs, by the names of metrics that a config may hold? In percent, no JAX.

    accuracy      outputs that equal their target; white space around them is left out, and case matters
    macro-f1      the mean F1 of the labels that stand among targets or outputs
    matthews      Matthews' correlation times 100, of any number of labels (Gorodkin 2004)
    exact-match   outputs that equal their target as SQuAD compares: lower case, without punctuation, the
                  articles a, an and the, and more than one space
    token-f1      the mean F1 of an output's words with its target's, compared likewise; two that are empty
                  are equal
    pearson       Pearson's correlation of the numbers times 100
    bleu, chrf    of trainer.scoring.metrics

Labels are the different targets of train. An output that is none of them is wrong: it hits no label, and in
matthews all such outputs are one label that no target has. Where pearson finds no number in an output, the
end of the labels' range that is farther from its target stands in: the worst that could have been said. No
output is ever left out, and nothing is NaN: what is undefined is 0, with a note.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

from trainer.scoring import metrics
from trainer.tasks.measures import (
    Measured,
    Texts,
    accuracy,
    exact_match,
    macro_f1,
    matthews,
    pearson,
    token_f1,
    without_rows,
)


def measured(name: str, outputs: Texts, targets: Texts, *, labels: Collection[str]) -> Measured:
    """One metric of the outputs. `labels`: the different targets of train."""
    if len(outputs) != len(targets):
        raise ValueError(f"There are {len(outputs)} outputs and {len(targets)} targets. Give one for each.")
    if not outputs:
        return without_rows(name)
    found = BY_NAME[name](outputs, targets, labels)
    if math.isfinite(found):
        return found
    return Measured(0.0, f"{name} is undefined for these outputs, and counts as 0.")


def bleu(outputs: Texts, targets: Texts, labels: Collection[str] = ()) -> Measured:
    return Measured(metrics.bleu(outputs, targets).value)


def chrf(outputs: Texts, targets: Texts, labels: Collection[str] = ()) -> Measured:
    return Measured(metrics.chrf(outputs, targets).value)


BY_NAME: Mapping[str, Callable[[Texts, Texts, Collection[str]], Measured]] = {
    "accuracy": accuracy,
    "macro-f1": macro_f1,
    "matthews": matthews,
    "exact-match": exact_match,
    "token-f1": token_f1,
    "pearson": pearson,
    "bleu": bleu,
    "chrf": chrf,
}
