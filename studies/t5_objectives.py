"""Which objective is best to pretrain a T5 with? (Tables 4 to 7 of T5's paper)

Command   orch study create t5-objectives --size quick     (sizes: smoke, quick, laptop, paper)
Run time  quick: 8 minutes 29 seconds from a cold start on 2 cores; paper: planned and rehearsed, not run
Expected  in T5's paper corrupting text beats writing its end (a prefix LM) and putting it back in order, by
          2.6 and 10 points of GLUE; what is corrupted, how much of it and in which spans makes little
          difference, but that half of all tokens is too much

Rows, all of an encoder-decoder: prefix LM, BERT-style, deshuffling (Table 4); MASS-style, corrupted spans
replaced, corrupted tokens dropped (Table 5); 10, 15, 25 and 50% of the tokens corrupted (Table 6); i.i.d.
spans beside spans of 2, 3, 5 and 10 (Table 7). T5's baseline, i.i.d. spans and 15%, stands in three of them.

Losses of different targets cannot be compared, so rows are ranked by the average score of the tasks that are
learned after them. `data.sentinels` is 200: half of the tokens of 512 need more than 100. `quick` has six of
the thirteen rows, and two tasks.
"""

from __future__ import annotations

from orchestrator.study.spec import StudySpec
from studies import t5_ranked
from studies.parts import Size
from studies.t5_ranked import WHOLE_TEXT, Kind, noise

QUESTION = (
    "Does a T5 that is pretrained to restore corrupted spans have higher scores on the tasks after it than "
    "one that is pretrained with another objective?"
)
KINDS = (
    Kind("iid-spans", "i.i.d. spans", noise("iid-spans")),
    Kind("prefix-lm", "prefix LM", noise("prefix-lm"), WHOLE_TEXT),
    Kind("bert", "BERT-style", noise("bert"), WHOLE_TEXT),
    Kind("deshuffling", "deshuffling", noise("deshuffling"), WHOLE_TEXT),
    Kind("mass", "MASS-style", noise("mass"), WHOLE_TEXT),
    Kind("iid-drop", "dropped tokens", noise("iid-drop"), 0.9),
    Kind("rate-10", "i.i.d. spans, 10%", noise("iid-spans", rate=0.1), 0.9),
    Kind("rate-25", "i.i.d. spans, 25%", noise("iid-spans", rate=0.25), 1.2),
    Kind("rate-50", "i.i.d. spans, 50%", noise("iid-spans", rate=0.5), 1.6),
    *(Kind(f"span-{n}", f"spans of {n}", noise("random-spans", span=float(n)), 0.9) for n in (2, 3, 5, 10)),
)
SOME = {
    "smoke": ("iid-spans", "prefix-lm", "span-3"),
    "quick": ("iid-spans", "prefix-lm", "bert", "deshuffling", "rate-50", "span-3"),
}


def study(size: Size) -> StudySpec:
    return t5_ranked.study(
        "t5-objectives",
        size,
        [kind for kind in KINDS if kind.name in SOME.get(size.name, (kind.name,))],
        incumbent="prefix-lm",
        claim=(
            "Averaged over the tasks, what was pretrained to restore corrupted i.i.d. spans has a higher "
            "test score than what was pretrained as a prefix LM, on fresh paired seeds. Run i of a task "
            "begins with pretraining run i."
        ),
        question=QUESTION,
    )
