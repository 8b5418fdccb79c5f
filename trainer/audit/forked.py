"""What does an audit do and say? It trains an unguided run, forks it, and sets the estimators beside it.

At each fork a report of kind "eval" holds, for a hyperparameter h and a span K (positive: the loss would be
lower with a lower raw value):

    audit/h/kK              the true slope of the dev loss after K steps by the raw value of h
    audit/h/kK/guidance     the same of the loss on the guidance batch; at K = 1 what `held-out` computes
    audit/h/kK/loss         the dev loss that it is a slope of
    audit/h/ESTIMATOR       the estimator's hypergradient at that step; left out while it is not ready

The dev split is the truth that is looked at, since its noise is lower and nothing was learned from it: of a
`tiny` run under LAMB, 105 steps old, the standard error of α's slope (K = 10, 50) is .007 and .014 on its 500
sentences, and .025 and .050 on the 33 of the guidance batch.

`audit.json`, beside the checkpoints, holds all of it, and what it cost. Forks are charged as training
(`train_s`, steps, tokens, flops) and their losses as evaluation. A run that is resumed keeps the forks that
were made before its checkpoint; a fork is made whole, and a verdict waits for its end.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from trainer.audit.config import SECTION, Audit, observed
from trainer.audit.forks import Forking, Losses, Response
from trainer.config import TrainConfig
from trainer.config.choices import ESTIMATORS
from trainer.config.registry import code
from trainer.data.batches import Batch
from trainer.data.text_tokens import TextTokens
from trainer.data.tokens import Tokens
from trainer.guidance.observed import Observed
from trainer.models import Settings, mesh
from trainer.protocol import Outcome, Place, Report, Reporter, resume_note, whole
from trainer.training import assembly, beginning
from trainer.training.clocks import Clocks
from trainer.training.loop import Batches, Host, Job, train
from trainer.training.recipes import loss_of, recipe_of, vector_if_small
from trainer.training.state import Recipe, TrainState, begin
from trainer.training.step import Metrics, Piece

FILE = "audit.json"
DEV, GUIDANCE = "dev_loss", "guidance_loss"


def run(audit: Audit, config: TrainConfig, *, reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    """The whole run with its forks."""
    clocks, config = Clocks(), beginning.resolved(config)
    host = Host(reporter, workdir, place, clocks)
    with assembly.opened(config, place, clocks) as (tokens, settings, devices):
        found = found_before(workdir)
        outcome = train(_job(audit, config, tokens, settings, devices, host, found), host)
    if place.process_index != 0:
        return outcome
    found.write(outcome.clocks)
    return replace(outcome, files=(*outcome.files, FILE))


def estimators(audit: Audit, config: TrainConfig) -> Observed:
    """Those that look on, each with its default settings. Held-out reads at forks and where they could be."""
    every_steps = math.gcd(*audit.steps_of(config))
    watched = []
    for name, choice in ESTIMATORS.sound().items():
        if choice.audited:
            own = {"every_steps": every_steps} if "every_steps" in choice.settings else {}
            guidance = {"estimator": name, "learn": list(audit.learn), **own}
            learning = TrainConfig.from_dict({**config.to_dict(), "guidance": guidance})
            watched.append((name, code(choice.make)(learning)))
    return Observed(tuple(watched))


def _job(
    audit: Audit,
    config: TrainConfig,
    tokens: Tokens | TextTokens,
    settings: Settings,
    devices: jax.sharding.Mesh,
    host: Host,
    found: Found,
) -> Job:
    """The configured run, whose scan forks before it trains on."""
    job = assembly.job_of(config, tokens, settings, devices)
    several = devices.size > 1
    put = functools.partial(mesh.place_batch, mesh=devices) if several else jax.device_put
    plain, _, _ = recipe_of(config, loss_of(settings))
    recipe, state = _observed(audit, config, tokens, settings, devices)
    steps = audit.steps_of(config)
    forking = Forking(
        recipe=plain,
        blank=job.state._replace(params=None, opt_state=None),
        key=jax.random.key(config.seed),
        losses=functools.partial(_losses, job.evaluate, plain, put(tokens.guidance_batch(config))),
        size=audit.step,
        put=put if several else lambda batch: batch,  # as arguments they go there anyway
        clocks=host.clocks,
    )
    forked = _Forked(recipe, forking, audit.learn, job.flops_of, host, found)
    identity = f"{job.fingerprint} {json.dumps(asdict(audit), sort_keys=True)}"
    return replace(
        job,
        scan=forked.scan,
        state=mesh.place_state(state, devices) if several else state,
        batches=_Ahead(job.batches, {step: audit.spans_at(step, config.steps) for step in steps}),
        cursor={"step": 0, "batches": job.cursor},
        cadence=replace(job.cadence, chunk_steps=audit.chunk_of(config)),
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        put=lambda chunk: replace(chunk, pieces=job.put(chunk.pieces)),
        flops_of=lambda chunk: job.flops_of(chunk.pieces),
        told=lambda cursor: job.told(cursor["batches"]),
    )


def _observed(
    audit: Audit,
    config: TrainConfig,
    tokens: Tokens | TextTokens,
    settings: Settings,
    devices: jax.sharding.Mesh,
) -> tuple[Recipe, TrainState]:
    """The same run with the estimators looking on, and its first state."""
    learning = TrainConfig.from_dict(observed(audit, config.to_dict()))
    recipe, hypers, numbers = recipe_of(learning, loss_of(settings))
    watched = estimators(audit, config)
    recipe = replace(recipe, estimator=watched, per_tensor=True)
    numbers = {**numbers, "estimator": watched.numbers()}
    params = vector_if_small(settings, recipe, beginning.first_params(config, settings), devices=devices.size)
    batch = tokens.guidance_batch(config)
    return recipe, begin(recipe, params, hypers, settings=numbers, guidance_batch=batch)


def _losses(evaluate: Callable[[Any], Losses], plain: Recipe, held_out: Any, params: Any) -> Losses:
    """Of these parameters, without dropout: on the dev split, and on the guidance batch."""
    return {DEV: evaluate(params)[DEV], GUIDANCE: float(_guidance_loss(plain.loss_fn)(params, held_out))}


@functools.cache  # one program for all runs of a shape
def _guidance_loss(loss_fn: Callable[..., jax.Array]) -> Callable[[Any, Any], jax.Array]:
    return jax.jit(lambda params, batch: loss_fn(params, batch, None, False))


# -- batches ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Chunk:
    """A chunk to train on; where a fork is due before it, the batches that this needs."""

    pieces: Any
    step: int
    spans: tuple[int, ...] = ()
    ahead: Sequence[Batch] = ()
    ahead_tokens: int = 0  # of one rollout


@dataclass(frozen=True)
class _Ahead:
    """The run's batches, and with each chunk that a fork comes before those of its longest span. A cursor is
    `{"step", "batches"}`: the latter is that of the run's batches."""

    batches: Batches
    spans: Mapping[int, tuple[int, ...]]  # by the step of the fork

    def chunk(self, cursor: Mapping[str, Any], steps: int) -> tuple[_Chunk, dict[str, Any], int]:
        step = cursor["step"]
        chunk = _Chunk((), step, self.spans.get(step, ()))
        if chunk.spans:
            ahead, _, tokens = self.batches.chunk(cursor["batches"], max(chunk.spans))
            chunk = replace(chunk, ahead=ahead, ahead_tokens=tokens)
        pieces, after, tokens = self.batches.chunk(cursor["batches"], steps)
        return replace(chunk, pieces=pieces), {"step": step + steps, "batches": after}, tokens


# -- forks -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Forked:
    """A scan that forks first where that is due, and tells what it found beside what the estimators said."""

    recipe: Recipe
    forking: Forking
    hypers: tuple[str, ...]
    flops_of: Callable[[Any], float]
    host: Host
    found: Found

    def scan(self, state: TrainState, chunk: _Chunk, key: jax.Array) -> tuple[TrainState, Metrics]:
        responses = self._responses(state, chunk) if chunk.spans else []
        state, metrics = assembly.scan_pieces(self.recipe, state, chunk.pieces, key)
        if responses:
            self._tell(
                chunk.step, responses, _first(metrics["hyper"]), _first(metrics["hypergrad_per_tensor"])
            )
        return state, metrics

    def _responses(self, state: TrainState, chunk: _Chunk) -> list[Response]:
        found = self.forking.responses(state, chunk.ahead, hypers=self.hypers, spans=chunk.spans)
        rollouts = 2 * len(self.hypers)
        self.host.clocks.count(
            steps=rollouts * max(chunk.spans),
            tokens=rollouts * chunk.ahead_tokens,
            flops=rollouts * self.flops_of([Piece.of(batches) for batches in chunk.ahead]),
        )
        return found

    def _tell(
        self, step: int, responses: Sequence[Response], values: Mapping[str, float], said: Mapping[str, Any]
    ) -> None:
        """`said` by estimator and hyperparameter, what is not ready being NaN."""
        told: dict[str, float] = {}
        for each in responses:
            name = f"{SECTION}/{each.hyper}/k{each.span}"
            told |= {name: each.slope[DEV], f"{name}/loss": each.loss[DEV]}
            told[f"{name}/guidance"] = each.slope[GUIDANCE]
        for estimator, of in said.items():
            told |= {f"{SECTION}/{hyper}/{estimator}": reading for hyper, reading in of.items()}
        self.found.add(step, responses, values, said)
        if self.host.place.process_index == 0:
            self.found.write(self.host.clocks.reading())
        finite = {name: value for name, value in told.items() if math.isfinite(value)}
        # A verdict is heard at the end of the chunk.
        self.host.reporter(Report(step, "eval", finite, {}, self.host.clocks.reading()))


def _first(curves: Any) -> Any:
    """The first step's numbers of a chunk's."""
    return jax.tree.map(lambda curve: float(curve[0]), curves)


@dataclass(frozen=True)
class Found:
    """What the forks of a run gave, those of the attempts before it included."""

    folder: Path
    forks: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, step: int, responses: Sequence[Response], values: Mapping[str, float], said: Mapping[str, Any]
    ) -> None:
        """Forks come in the order of their steps: later ones that are known were a lost attempt's."""
        self.forks[:] = [fork for fork in self.forks if fork["step"] < step]
        for hyper in dict.fromkeys(each.hyper for each in responses):
            of = [each for each in responses if each.hyper == hyper]
            fork = {
                "step": step,
                "hyper": hyper,
                "value": values[hyper],
                "responses": [{"span": r.span, "slope": dict(r.slope), "loss": dict(r.loss)} for r in of],
                "said": {estimator: readings[hyper] for estimator, readings in said.items()},
            }
            self.forks.append(fork)

    def write(self, cost: Mapping[str, float]) -> None:
        """Whole or not at all; what is not finite as null. `cost` is this attempt's."""
        text = json.dumps(_plain({"forks": self.forks, "cost": dict(cost)}), indent=1, allow_nan=False)
        with whole(self.folder / FILE) as file:
            file.write_text(f"{text}\n")


def found_before(workdir: Path) -> Found:
    """What the attempt whose checkpoint is gone on from had found."""
    note = resume_note(workdir)
    if note is not None:
        before = Path(note["checkpoint"]).parent / FILE
        if before.is_file():
            return Found(workdir, json.loads(before.read_text())["forks"])
    return Found(workdir)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
