"""Is a module of a person's ever taken for one of ours?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from orchestrator.cli import output
from studies import catalog
from tests.faults.world import small_study
from tests.orchestrator.conftest import Orch


@pytest.mark.parametrize("verb", ["create", "plan"])
@pytest.mark.parametrize(
    ("name", "entrypoint"), [("trainer/__init__.py", "trainer.run"), ("studies.py", "studies")]
)
def test_a_module_of_the_person_s_is_not_silently_ours(
    orch: Orch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, name: str, entrypoint: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    file = here / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("def check(c): return []\ndef shape_key(c): return ''\ndef run(*a): pass\n")
    (here / "theirs.json").write_text(
        json.dumps({**small_study().model_dump(mode="json"), "name": "theirs", "entrypoint": entrypoint})
    )
    path = list(sys.path)
    said = orch("study", verb, "theirs.json")
    assert (said.code, said.out) == (output.USAGE, "")
    own, ours = here / name.partition("/")[0], Path(catalog.__file__).parents[1] / entrypoint.split(".")[0]
    assert said.err == (
        f"orch: The entrypoint {entrypoint!r} is found in two places: {own}, in the folder that orch was "
        f"called from, and {ours}, which is installed. Rename the first, or call orch from another folder.\n"
    )
    assert sys.path == path
