"""Which architecture, with which objective, is best to pretrain a T5 with? (Table 2 of T5's paper)

Command   orch study create t5-architectures --size quick     (sizes: smoke, quick, laptop, paper)
Run time  quick: 11 minutes from a cold start on 2 cores, beside tests; paper: planned and rehearsed, not run
Expected  in T5's paper an encoder-decoder that restores corrupted spans is the best of ten on all tasks,
          hardly ahead of one that shares its layers, and 9.5 points of GLUE ahead of a language model that
          writes text

Rows are five architectures (`model.stacks`, and an encoder-decoder of half the layers), each pretrained to
restore corrupted i.i.d. spans ("denoising") and to write text ("LM"): a language model writes all of it, the
others its end, after they have read its beginning. Losses of different targets cannot be compared, so rows
are ranked by the average score of the tasks that are learned after them. `quick` has six of the ten rows,
and two tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.study.spec import StudySpec
from studies import t5_ranked
from studies.parts import Size
from studies.t5_ranked import WHOLE_TEXT, Kind, noise

QUESTION = (
    "Does an encoder-decoder that is pretrained to restore corrupted spans have higher scores on the tasks "
    "after it than a language model, and than other arrangements of the same layers?"
)
LAYERS = {"smoke": 1, "quick": 2, "laptop": 2, "paper": 12}  # of a stack
SOME = {
    "smoke": ("enc-dec-denoising", "language-model-lm", "prefix-lm-denoising"),
    "quick": (
        *("enc-dec-denoising", "shared-denoising", "language-model-denoising", "prefix-lm-denoising"),
        *("enc-dec-lm", "language-model-lm"),
    ),
}


def kinds(layers: int) -> Iterator[Kind]:
    """All ten, those that restore first, as in Table 2."""
    stacks: tuple[tuple[str, str, dict[str, Any], float], ...] = (
        ("enc-dec", "encoder-decoder", {}, 1.0),
        ("shared", "shared", {"stacks": "shared"}, 1.0),
        ("half", "half the layers", {"layers": layers // 2}, 0.5),
        ("language-model", "language model", {"stacks": "language-model"}, 1.0),
        ("prefix-lm", "prefix LM", {"stacks": "prefix-lm"}, 1.0),
    )
    for words, short in (("denoising", "denoising"), ("LM", "lm")):
        for name, row, model, share in stacks:
            writes = (
                "iid-spans" if short == "denoising" else "lm" if name == "language-model" else "prefix-lm"
            )
            over = {"prefix-lm": WHOLE_TEXT, "lm": 0.8}.get(writes, 1.0)
            config = {**noise(writes), **({"model": model} if model else {})}
            yield Kind(f"{name}-{short}", f"{row}, {words}", config, over * share, share)


def study(size: Size) -> StudySpec:
    made = [k for k in kinds(LAYERS[size.name]) if k.name in SOME.get(size.name, (k.name,))]
    return t5_ranked.study(
        "t5-architectures",
        size,
        made,
        incumbent="language-model-lm",
        claim=(
            "Averaged over the tasks, an encoder-decoder that was pretrained to restore corrupted i.i.d. "
            "spans has a higher test score than a language model that was pretrained to write text, on "
            "fresh paired seeds. Run i of a task begins with pretraining run i."
        ),
        question=QUESTION,
    )
