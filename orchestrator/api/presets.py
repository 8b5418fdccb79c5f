"""Which studies are there to be had by name, and what would a study cost?"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from dashboards.evidence import power
from orchestrator.api.auth import Caller, Reader
from orchestrator.api.bodies import StrictRoute
from orchestrator.api.deps import NAME, Here
from orchestrator.api.errors import told
from orchestrator.api.views import view
from orchestrator.engine.checks import programs, require_runnable
from orchestrator.ledger.records import Role
from orchestrator.service.room import room_on
from orchestrator.study import plan as plans_of
from orchestrator.study.methods import replacing
from orchestrator.study.named import OneOf
from orchestrator.study.overrides import Overridden, override
from orchestrator.study.plan import plan, refuse_above
from orchestrator.study.spec import MOST_TRIALS, StudySpec
from orchestrator.study.spec_files import spec_from_dict
from studies import catalog
from studies.t5_parts import Begun
from trainer.config import named_files
from trainer.config.paths import value_at

router = APIRouter(tags=["presets"], route_class=StrictRoute)
REHEARSAL = "orchestrator.rehearsal"

DottedPath = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=200)
]
Name = Annotated[str, Field(pattern=NAME, description="1 to 80 letters, digits, '_', '+' and '-'.")]


class Strict(BaseModel):
    """A body: its keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True)


def example(body: dict[str, JsonValue]) -> ConfigDict:
    """For the document: a body as a client may send it."""
    return ConfigDict(json_schema_extra={"examples": [body]})


class Preset(Strict):
    """A study by name, with the changes that the command line knows too."""

    name: Name
    size: Name = "quick"
    trials: int | None = Field(None, ge=1, le=MOST_TRIALS, description="Trials of every arm that searches.")
    replicates: int | None = Field(None, ge=1, le=1000)
    search: Annotated[str, OneOf(replacing)] | None = None
    pair: str | None = Field(
        None, pattern=r"^[A-Za-z_-]{2,20}$", description="The language pair, such as de-en."
    )
    init: str = Field("", max_length=4096, description="finetuning: a folder of weights to begin with.")
    task: str = Field("", max_length=4096, description="finetuning: files, numbers, or a Python file.")
    path: str = Field("", max_length=4096, description="finetuning: the rows of the task files.")
    prefix: str = Field("", max_length=1000, description="finetuning: a text before every input.")
    metrics: list[str] = Field([], max_length=100, description="finetuning: the score is their mean.")
    set: dict[DottedPath, JsonValue] = Field({}, description="Values in the base config, by dotted path.")


class Asked(Strict):
    """Which study is meant: a preset or a whole spec, exactly one of them."""

    preset: Preset | None = None
    spec: dict[str, JsonValue] | None = Field(None, description="As GET /presets/{name}/{size} gives one.")
    name: Name | None = Field(None, description="Name of the study (default: the name in its spec).")
    refuse_above: float | None = Field(
        None, ge=0, strict=False, description="Chip-hours: what is planned to cost more is refused."
    )

    @model_validator(mode="after")
    def _one(self) -> Asked:
        if (self.preset is None) == (self.spec is None):
            raise ValueError("give either preset or spec, and not both")
        return self


class AskedPlan(Asked):
    """A study to be planned."""

    model_config = example({"preset": {"name": "bo-vs-guided", "size": "quick"}, "slots": 4})

    slots: int | None = Field(
        None, ge=1, le=1024, description="Parallel runs (default: those of the server)."
    )


class PresetLine(BaseModel):
    name: str
    question: str
    sizes: list[str]


class PresetList(BaseModel):
    items: list[PresetLine]


@view(plans_of.Cost)
class Cost(BaseModel):
    """Trials of one replicate, runs of all replicates, and what they take; null where it is unknown."""


@view(plans_of.ArmPlan)
class ArmPlan(BaseModel):
    phase: str


@view(plans_of.ClaimPlan)
class ClaimPlan(BaseModel):
    """What the study's pairs can show of its claim, by the power of the test that decides."""


@view(plans_of.Plan)
class Plan(BaseModel):
    """What a study would run and cost."""

    arms: list[ArmPlan]
    claim: ClaimPlan | None


@router.get("/presets", summary="List the presets", response_model=PresetList, responses=told(401, 403))
def list_presets(_: Reader) -> Any:
    names = catalog.names()
    return {
        "items": [{"name": n, "question": catalog.get(n).question, "sizes": catalog.sizes(n)} for n in names]
    }


@router.get(
    "/presets/{name}/{size}",
    summary="Get a preset's spec",
    response_model=StudySpec,
    responses=told(401, 403, 404),
)
def get_preset(
    name: Annotated[str, Path(pattern=NAME)], size: Annotated[str, Path(pattern=NAME)], _: Reader
) -> Any:
    """The whole spec, to be changed and posted."""
    return catalog.get(name, size)


@router.post("/plans", summary="Plan a study", response_model=Plan, responses=told(401, 403, 404))
def plan_study(asked: AskedPlan, parts: Here, who: Reader) -> Any:
    """Show a study's runs and estimated cost. Nothing is started or written. The role read plans
    studies of the presets' entrypoints and the rehearsal that name no file of the service's machine; any
    other needs the role run."""
    found = _spec(asked)
    held = found.spec.resources
    number, sentence = room_on(held, parts.store.hosts(), workers=parts.settings.workers)
    slots = asked.slots or number
    if not who.role.covers(Role.RUN):
        _require_ours(found.spec, who)
        _require_no_files(found.spec, who)
    _require_affordable(found.spec, asked, slots=slots)
    notes = [*found.notes, sentence] if sentence else found.notes
    planned = plan(found.spec, slots=slots, notes=notes)
    planned = replace(planned, programs=programs(found.spec), claim=power.of_claim(found.spec))
    return planned.to_dict()


def wanted(asked: Asked, *, slots: int) -> StudySpec:
    """The spec that is asked for. BadSpec when it cannot run, or would cost more than it may."""
    spec = _spec(asked).spec
    _require_affordable(spec, asked, slots=slots)
    return spec


def _require_affordable(spec: StudySpec, asked: Asked, *, slots: int) -> None:
    require_runnable(spec)
    if asked.refuse_above is not None:
        refuse_above(plan(spec, slots=slots), asked.refuse_above)


def _require_ours(spec: StudySpec, who: Caller) -> None:
    """To ask an entrypoint is to import it, which runs it: for those who may only look, none but ours."""
    # A population's config names the entrypoint of its members (backends/population.py).
    configs = (spec.base, *(arm.config for arm in spec.arms))
    named = [spec.entrypoint, *(value_at(config, "population.entrypoint") for config in configs)]
    ours = sorted({REHEARSAL, *(catalog.get(name).entrypoint for name in catalog.names())})
    for name in named:
        if name is not None and name not in ours:
            raise HTTPException(
                403,
                f"The token {who.name!r} has the role {who.role}, and a plan imports the study's entrypoint. "
                f"{name!r:.80} needs the role {Role.RUN}. Allowed are: {', '.join(ours)}.",
            )


def _require_no_files(spec: StudySpec, who: Caller) -> None:
    """A check looks for the files that a config names, and so tells what lies on the service's machine."""
    for config in (spec.base, *(arm.config for arm in spec.arms)):
        for key, path in named_files(config).items():
            raise HTTPException(
                403,
                f"The token {who.name!r} has the role {who.role}, and a plan looks for the files that a "
                f"study names. {key} is {path!r:.80}, which needs the role {Role.RUN}. Leave it out.",
            )


def _spec(asked: Asked) -> Overridden:
    if asked.spec is not None:
        data: dict[str, Any] = dict(asked.spec)
        return Overridden(spec_from_dict(data if asked.name is None else {**data, "name": asked.name}))
    assert asked.preset is not None
    changes = asked.preset
    sets = [] if changes.pair is None else [f"data.pair={changes.pair}"]
    sets += [f"{path}={json.dumps(value)}" for path, value in changes.set.items()]
    begun = Begun(changes.init, changes.task, changes.path, changes.prefix, tuple(changes.metrics))
    found = override(
        catalog.get(changes.name, changes.size, begun),
        name=asked.name,
        trials=changes.trials,
        replicates=changes.replicates,
        search=changes.search,
        sets=sets,
    )
    return replace(found, notes=(*found.notes, *begun.notes))
