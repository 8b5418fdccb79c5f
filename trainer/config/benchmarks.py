"""Which tasks of GLUE, SuperGLUE, SQuAD, CNN/Daily Mail and WMT may a config name, and which sets are theirs?

How their rows become inputs and targets is in `trainer.tasks`. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OF_TASK = "task:"  # before a task's name, where a source or a set may stand too
PREPARED_SETS = "~/tensorflow_datasets"  # where TensorFlow Datasets puts them

# Of a set's test split.
HIDDEN, LABELLED, NONE = "hidden", "labelled", "none"

OURS, PAPERS = PROTOCOLS = ("ours", "papers")  # which rows choose, and which are reported

# What a reader of its numbers has to know.
TOLD: Mapping[str, str] = {
    OURS: "score.protocol ours: what chooses is a part of train, and test_score is of validation.",
    PAPERS: "score.protocol papers: score is of the validation rows that chose too, as in the papers.",
}


@dataclass(frozen=True)
class Benchmark:
    """`sets`: as TensorFlow Datasets calls them. `tokens`: to how many an input and a target are cut where a
    config says nothing."""

    sets: tuple[str, ...]
    test: str = HIDDEN
    tokens: tuple[int, int] = (128, 32)
    package: str = "tensorflow_datasets"  # which reads its sets


PASSAGE = (256, 32)  # a sentence with several, of which few have more
PARAGRAPH = (512, 32)  # a paragraph with a question
DPR = "definite_pronoun_resolution"
WSC = "super_glue/wsc.fixed"  # the spans mended, as T5's released code has it

BENCHMARKS: Mapping[str, Benchmark] = {
    "glue/cola": Benchmark(("glue/cola",)),
    "glue/sst2": Benchmark(("glue/sst2",)),
    "glue/mrpc": Benchmark(("glue/mrpc",)),
    "glue/stsb": Benchmark(("glue/stsb",)),
    "glue/qqp": Benchmark(("glue/qqp",)),
    "glue/mnli": Benchmark(("glue/mnli",)),  # both of its validation splits
    "glue/mnli_matched": Benchmark(("glue/mnli",)),
    "glue/mnli_mismatched": Benchmark(("glue/mnli",)),
    "glue/qnli": Benchmark(("glue/qnli",), tokens=PASSAGE),
    "glue/rte": Benchmark(("glue/rte",), tokens=PASSAGE),
    "glue/wnli": Benchmark(("glue/wnli",)),
    "glue/wnli_referent": Benchmark(("glue/wnli", WSC, DPR)),  # trained on the last two
    "super_glue/boolq": Benchmark(("super_glue/boolq",), tokens=PARAGRAPH),
    "super_glue/cb": Benchmark(("super_glue/cb",), tokens=PASSAGE),
    "super_glue/copa": Benchmark(("super_glue/copa",)),
    "super_glue/multirc": Benchmark(("super_glue/multirc",), tokens=PARAGRAPH),
    "super_glue/record": Benchmark(("super_glue/record",), tokens=PARAGRAPH),
    "super_glue/rte": Benchmark(("super_glue/rte",), tokens=PASSAGE),
    "super_glue/wic": Benchmark(("super_glue/wic",)),
    "super_glue/wsc": Benchmark((WSC,)),
    "super_glue/wsc_dpr": Benchmark((WSC, DPR)),  # trained on both, as T5 is
    "dpr": Benchmark((DPR,), test=NONE),  # what the set calls test is its validation here
    "squad": Benchmark(("squad/v1.1",), test=NONE, tokens=PARAGRAPH),
    "cnn_dailymail": Benchmark(("cnn_dailymail",), test=LABELLED, tokens=(512, 128)),
    "wmt/de": Benchmark(("wmt14_translate/de-en",), test=LABELLED, tokens=(128, 128)),
    "wmt/fr": Benchmark(("wmt15_translate/fr-en",), test=LABELLED, tokens=(128, 128)),
    "wmt/ro": Benchmark(("wmt16_translate/ro-en",), test=LABELLED, tokens=(128, 128)),
}


def protocol_of(task: str, stated: str) -> str:
    """Which rows choose and which are reported, where the task is a benchmark's; else empty."""
    return (stated or OURS) if task in BENCHMARKS else ""
