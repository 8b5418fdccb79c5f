"""Do the docs say what the code does? They fail here when they fall behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.backends.simulated import Fault
from orchestrator.overview import overview
from orchestrator.reading import read_spec
from orchestrator.spec import Arm, Parameter, StudySpec
from tests.faults import invariants
from tests.faults.world import created, world

DOCS = Path(__file__).parent.parent / "docs"
PAGES = [
    *DOCS.glob("*.md"),
    *(DOCS.parent / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]


def _keys(section: str) -> set[str]:
    text = (DOCS / "specs.md").read_text()
    part = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(("section", "spec"), [("Study", StudySpec), ("Arm", Arm), ("Parameter", Parameter)])
def test_every_key_of_a_spec_is_documented(section: str, spec: type) -> None:
    assert _keys(section) == set(spec.model_fields)  # type: ignore[attr-defined]


def test_the_keys_inside_a_study_s_sections_are_documented() -> None:
    text = (DOCS / "specs.md").read_text()
    for field in ("objective", "budget", "resources", "retries", "seeds", "claim"):
        annotation = StudySpec.model_fields[field].annotation
        inner = getattr(annotation, "__args__", [annotation])[0]
        (line,) = [x for x in text.splitlines() if x.startswith(f"| `{field}`")]
        assert {f"`{key}`" for key in inner.model_fields} <= set(re.findall(r"`\w+`", line))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} points at {target}"


def test_the_example_entrypoint_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / "own-entrypoint.md").read_text()
    module, spec = (re.search(rf"```{kind}\n(.*?)```", text, re.S) for kind in ("python", "yaml"))
    assert module is not None
    assert spec is not None
    (tmp_path / "my_model.py").write_text(module[1])
    (tmp_path / "my-study.yaml").write_text(spec[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    study = read_spec(tmp_path / "my-study.yaml")

    import my_model  # type: ignore[import-not-found]

    assert my_model.check({**study.base, "seed": 0}) == []
    assert my_model.check({"lr": -1.0, "stesp": 1}) == [
        "Unknown key 'stesp'.",
        "lr is -1.0. Allowed: above 0.",
    ]
    place = world(tmp_path / "runs", faults=[Fault("*", 1, "preempt", 20)])
    created(place, study)
    place.drive(place.engine(), "s1")
    invariants.check(place.store, "s1")
    default, best = (overview(place.store, place.store.study("s1")).arms[i].best for i in (0, 1))
    assert default is not None
    assert best is not None
    assert best < default
