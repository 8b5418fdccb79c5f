"""What does the guided paper say of pretraining a T5, and what did a study of it find?

"Simple and Effective Gradient-Based Tuning of Sequence-to-Sequence Models" (Lichtarge, Alberti, Kumar),
section 3.2 and Appendices C.3 and F: Figure F.2 (α), F.3 (β1) and 3 (both). It prints curves and no numbers
but one, a threefold speed of convergence, so its statements stand beside ours in words.

A statement is tested where base and the row ran on six or more of the same fresh seeds. With fewer, or with
one search run of a setting, it only looks as in the paper or otherwise: α by which η̂ ended below base on the
search seed, β1 by whether its rows keep within the spread of base over its own seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dashboards.evidence import paper
from dashboards.evidence.contrasts import Contrast, contrast, sample
from dashboards.evidence.frames import Frame
from dashboards.evidence.sooner import Sooner, base_in
from dashboards.evidence.stats import fewest_pairs
from dashboards.evidence.wording import label
from orchestrator.ledger.records import TrialState
from orchestrator.study.spec import Arm, StudySpec
from trainer.config.paths import value_at

ETA = "guidance.eta"
TEXTS = ("prose", "text")  # sources of unlabelled text; others need an objective to be pretrained on
FASTER = 3.0  # the paper's "3X"
Says = Literal["agrees", "differs", "open"]

SETUP = paper.Setup(
    settings=(
        ("data", "data.source", "tfds:c4/en"),
        ("model", "model.size", "paper-t5"),
        ("training steps", "steps", 1_000_000),
        ("batch size", "batch.sentences", 256),
        ("tokens of an input", "data.source_tokens", 512),
        ("optimizer", "optimizer.name", "adafactor"),
        ("learning rate", "optimizer.learning_rate", 0.01),
        ("schedule", "schedule.name", "constant-rsqrt"),
        ("steps at a constant rate", "schedule.warmup_steps", 10_000),
        ("dropout", "model.dropout", 0.0),
    ),
    in_words={
        "tfds:c4/en": "C4",
        "paper-t5": "60M parameters, 8 layers, 6 heads",
        "prose": "docstrings of Python packages",
        "text": "own text",
    },
    task="pretraining a T5",
    metric=("dev_loss", "loss on C4's dev set"),
    bo_trials=None,
    seeds="not stated",
)

# Where the paper says two things of one, or less than it takes.
CONTRADICTIONS = (
    "On α alone, section 3.2 says that no guided run outperforms the baseline, even with low η̂; Appendix F "
    "(Figure F.2) that the lowest η̂, 1e-6, does, but only very slightly.",
    "Appendix C.3.1 gives a learning rate of 1e-3, C.3.2 one of 0.01 for 10,000 steps and one that falls as "
    "1/√t after them.",
    "Appendix C.3.1 gives 60M parameters for 8 layers and 6 heads. That holds only where the logits share "
    "the embedding's matrix.",
)


@dataclass(frozen=True)
class Statement:
    where: str  # in the paper
    column: str
    paper: str
    ours: str
    says: Says
    tested: bool
    judgement: str


@dataclass(frozen=True)
class _Found:
    """Before it is put in words. `n`: the seeds it rests on."""

    ours: str
    says: Says
    tested: bool
    n: int

    def beside(self, where: str, column: str, said: str) -> Statement:
        return Statement(where, column, said, self.ours, self.says, self.tested, self._judgement)

    @property
    def _judgement(self) -> str:
        if self.says == "open":
            return "Cannot be told."
        if self.tested:
            return "As in the paper." if self.says == "agrees" else "Not as in the paper."
        few = f"{self.n} seed{'s' if self.n != 1 else ''} cannot test it"
        looks = "as in the paper" if self.says == "agrees" else "otherwise than in the paper"
        return f"Looks {looks}; {few}."


def pretrains(spec: StudySpec) -> bool:
    """By its base config: an objective is stated, or the source is unlabelled text."""
    return bool(value_at(spec.base, "objective.name")) or value_at(spec.base, "data.source") in TEXTS


def statements(frame: Frame, reached: Sequence[Sooner]) -> tuple[Statement, ...]:
    """The paper's, of the columns that the study has, beside what it found: of one that pretrains, after its
    end. `reached`: after how many steps its rows had base's last loss."""
    if not pretrains(frame.spec) or not frame.finished or frame.failure:
        return ()
    return tuple(_statements(frame, reached))


def _statements(frame: Frame, reached: Sequence[Sooner]) -> Iterator[Statement]:
    columns = frame.columns()
    if "alpha" in columns and (found := _alpha(frame)) is not None:
        said = (
            "No guided run on α beats base (section 3.2), or only that at the lowest η̂, very slightly "
            "(Appendix F)."
        )
        yield found.beside("Figure F.2", "alpha", said)
    if "beta1" in columns and (found := _beta1(frame)) is not None:
        said = (
            "β1 makes no difference, static or learned; learned ones are very slightly ahead of static ones."
        )
        yield found.beside("Figure F.3", "beta1", said)
    if "alpha+beta1" in columns and (found := _both(frame, reached)) is not None:
        said = "Learning α and β1 together converges three times as fast as base, and ends lower."
        yield found.beside("Figure 3", "alpha+beta1", said)


# -- α -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _OverEtas:
    """One search run at each η̂ against base on the same seed: the ratios of their losses, of equal η̂ over
    the replicates in the geometric mean. A run that diverged did not beat base."""

    ratios: Mapping[float, float]  # by η̂, from the lowest; infinite where it diverged
    seeds: int

    @property
    def below(self) -> list[float]:
        return [eta for eta, ratio in self.ratios.items() if ratio < 1]

    @property
    def words(self) -> str:
        of, on = len(self.ratios), f"{self.seeds} seed{'s' if self.seeds != 1 else ''} each"
        last = max(self.ratios.values())
        worst = "at worst the run diverged" if math.isinf(last) else f"the worst has {_percent(last)}"
        if not self.below:
            return f"0 of {of} η̂ ended below base on the search seed, {on}; {worst}."
        each = ", ".join(f"η̂ {eta:.2g} by {100 * (1 - self.ratios[eta]):.2g}%" for eta in self.below)
        return f"{len(self.below)} of {of} η̂ ended below base on the search seed, {on}: {each}; {worst}."


def _guided(frame: Frame, column: str) -> Arm | None:
    return next(
        (
            arm
            for arm in frame.spec.arms
            if arm.column == column
            and arm.known_role == "guided"
            and arm.is_grid
            and frame.learns.get(arm.name)
        ),
        None,
    )


def _over_etas(frame: Frame, arm: Arm, base: Arm) -> _OverEtas | None:
    plain = {(t.replicate, t.seed): t.value for t in frame.of(base) if t.value is not None}
    logs: dict[float, list[float]] = {}
    for trial in frame.of(arm):
        eta, against = value_at(trial.config, ETA), plain.get((trial.replicate, trial.seed))
        if not isinstance(eta, int | float) or against is None or against <= 0:
            continue
        if trial.state is TrialState.DIVERGED:
            logs.setdefault(eta, []).append(math.inf)
        elif trial.value is not None and trial.value > 0:
            logs.setdefault(eta, []).append(math.log(trial.value / against))
    if not logs:
        return None
    ratios = {eta: math.exp(math.fsum(of) / len(of)) for eta, of in sorted(logs.items())}
    return _OverEtas(ratios, min(map(len, logs.values())))


def _alpha(frame: Frame) -> _Found | None:
    arm, base = _guided(frame, "alpha"), base_in(frame, "alpha")
    over = _over_etas(frame, arm, base) if arm and base else None
    if arm is None or base is None or over is None:
        return None
    seen = contrast(frame, arm, base, metric=frame.spec.objective.metric)
    chosen = next((value_at(choice.runs[0].config, ETA) for choice in frame.choices(arm)), None)
    lowest = min(over.ratios)
    ours = over.words if not seen.n else f"{over.words} The chosen one {_against(seen)}."
    if seen.interval is not None and seen.clear != "no":
        agrees = seen.clear == "worse" or chosen == lowest
        return _Found(ours, "agrees" if agrees else "differs", True, seen.n)
    agrees = set(over.below) <= {lowest}
    return _Found(ours, "agrees" if agrees else "differs", False, max(over.seeds, seen.n))


# -- β1 ----------------------------------------------------------------------------------------------------
def _beta1(frame: Frame) -> _Found | None:
    base = base_in(frame, "beta1")
    if base is None:
        return None
    metric = frame.spec.objective.metric
    arms = [a for a in frame.spec.arms if a.column == "beta1" and not frame.spec.confirms(a) and a != base]
    learned = [arm for arm in arms if frame.learns.get(arm.name)]
    static = [arm for arm in arms if not (frame.learns.get(arm.name) or arm.space or arm.after)]
    groups = {
        name: [seen for arm in of if (seen := contrast(frame, arm, base, metric=metric)).ratio is not None]
        for name, of in (("static", static), ("guided", learned))
    }
    all_seen = [seen for of in groups.values() for seen in of]
    if not all_seen:
        return None
    n = min(seen.n for seen in all_seen)
    spread = _spread(list(sample(frame, base, metric).values.values()))
    parts = [f"{name} rows have {_range(of)}" for name, of in groups.items() if of]
    ours = f"{' and '.join(parts)} base's loss, on {n} seed{'s' if n != 1 else ''} each"
    ours = f"{ours[0].upper()}{ours[1:]}"
    ours += "." if spread is None else f"; base's own runs are up to {100 * math.expm1(spread):.2g}% apart."
    if n >= fewest_pairs():
        clear = [seen for seen in all_seen if seen.clear != "no"]
        if not clear:
            return _Found(f"{ours} None is apart from base beyond the noise.", "agrees", True, n)
        names = ", ".join(label(frame.row_of(frame.spec.arm(seen.challenger))) for seen in clear)
        return _Found(f"{ours} Apart from base beyond the noise: {names}.", "differs", True, n)
    if spread is None:
        return _Found(ours, "open", False, n)
    most = max(abs(math.log(seen.ratio)) for seen in all_seen if seen.ratio)
    return _Found(ours, "agrees" if most <= spread else "differs", False, n)


def _spread(losses: Sequence[float]) -> float | None:
    """Between the best and the worst, in logarithms."""
    return math.log(max(losses) / min(losses)) if len(losses) > 1 and min(losses) > 0 else None


def _range(of: Sequence[Contrast]) -> str:
    ratios = [seen.ratio for seen in of if seen.ratio is not None]
    low, high = f"{min(ratios):.3f}", f"{max(ratios):.3f}"
    return f"{low} times" if low == high else f"{low} to {high} times"


# -- α and β1 ----------------------------------------------------------------------------------------------
def _both(frame: Frame, reached: Sequence[Sooner]) -> _Found | None:
    arm, base = _guided(frame, "alpha+beta1"), base_in(frame, "alpha+beta1")
    if arm is None or base is None:
        return None
    row = frame.row_of(arm)
    found = next((each for each in reached if (each.column, each.row) == ("alpha+beta1", row)), None)
    over = _over_etas(frame, arm, base)
    seen = contrast(frame, arm, base, metric=frame.spec.objective.metric)
    said = [] if found is None else [found.sentence(papers=FASTER)]
    said += [] if over is None else [over.words]
    said += [f"The chosen one {_against(seen)}."] if seen.n else []
    if found is None:
        return _Found(" ".join(said) or "No run on fresh seeds to tell by.", "open", False, seen.n)
    steps = found.steps
    if not steps.tested:
        fast = (steps.side == "beyond" and steps.span.high >= FASTER) or (steps.value or 0.0) >= FASTER
        return _Found(" ".join(said), "agrees" if fast else "differs", False, steps.n)
    low = steps.low if steps.low is not None else 0.0
    high = steps.high if steps.high is not None else math.inf
    if low <= FASTER <= high:
        return _Found(" ".join(said), "open" if low <= 1 else "agrees", True, steps.n)
    return _Found(" ".join(said), "agrees" if low > FASTER else "differs", True, steps.n)


def _against(seen: Contrast) -> str:
    """has 0.98 times base's loss on 6 fresh seeds (0.97 to 0.99)."""
    within = f" ({seen.within})" if seen.interval else ""
    size = "an unknown share of" if seen.ratio is None else f"{seen.ratio:.3f} times"
    return f"has {size} base's loss on {seen.n} fresh seed{'s' if seen.n != 1 else ''}{within}"


def _percent(ratio: float) -> str:
    """2.1% more, 0.3% less."""
    return f"{abs(100 * (ratio - 1)):.2g}% {'more' if ratio >= 1 else 'less'}"
