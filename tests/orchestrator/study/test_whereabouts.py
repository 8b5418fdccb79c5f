"""Is a module of the person's never taken for another, and `sys.path` left alone?"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.ground.errors import BadSpec
from orchestrator.study import whereabouts
from orchestrator.study.entrypoint import code_of, find_entrypoint, find_shape_key, objections
from orchestrator.study.whereabouts import SOURCE

SOUND = "def check(c): return []\ndef shape_key(c): return ''\ndef run(*a): pass\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The person's, in which this process stands; what is loaded from it is forgotten."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = set(sys.modules)
    yield here
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "installed"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    return place


def refused(name: str) -> str:
    with pytest.raises(BadSpec) as caught:
        find_entrypoint(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("file", "entrypoint", "place"),
    [
        ("trainer/__init__.py", "trainer.run", "trainer"),
        ("trainer/run.py", "trainer.run", "trainer"),  # without __init__.py
        ("studies.py", "studies", "studies.py"),
        ("orchestrator/__init__.py", "orchestrator.rehearsal", "orchestrator"),
        ("dashboards/sub/own.py", "dashboards.sub.own", "dashboards"),
    ],
)
def test_a_module_with_the_name_of_one_of_ours_is_refused_with_both_paths(
    folder: Path, file: str, entrypoint: str, place: str
) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(SOUND)
    assert refused(entrypoint) == (
        f"The entrypoint {entrypoint!r} is found in two places: {folder / place}, in the folder that orch "
        f"was called from, and {SOURCE / entrypoint.split('.')[0]}, which is installed. Rename the first, or "
        f"call orch from another folder."
    )


def test_a_module_that_is_installed_under_the_same_name_is_refused(folder: Path, installed: Path) -> None:
    for place in (folder, installed):
        (place / "found_twice.py").write_text(SOUND)
    said = refused("found_twice")
    assert f"{folder / 'found_twice.py'}, in the folder" in said
    assert f"{installed / 'found_twice.py'}, which is installed" in said
    assert "found_twice" not in sys.modules


def test_it_is_refused_as_well_when_the_folder_is_on_the_path(
    folder: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (folder, installed):
        (place / "found_twice.py").write_text(SOUND)
    monkeypatch.syspath_prepend(str(folder))
    assert "is found in two places" in refused("found_twice")


@pytest.mark.parametrize("path", ["", "{folder}", "{folder}/../link"])
def test_the_same_file_found_twice_is_no_conflict(
    folder: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (folder / "found_once.py").write_text(SOUND)
    (folder.parent / "link").symlink_to(folder)
    monkeypatch.syspath_prepend(path.format(folder=folder))
    assert find_entrypoint("found_once").__file__ is not None


def test_in_the_checkout_of_orch_its_own_entrypoints_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SOURCE)
    assert find_entrypoint("orchestrator.rehearsal").__name__ == "orchestrator.rehearsal"


def test_a_folder_without_python_is_nobodys_module(folder: Path) -> None:
    (folder / "trainer").mkdir()
    (folder / "trainer" / "data.csv").write_text("1,2\n")
    assert find_entrypoint("trainer.run").__name__ == "trainer.run"


def test_an_entrypoint_beside_a_module_named_as_ours_is_refused(folder: Path) -> None:
    """It would import ours in place of its sibling, or the other way round."""
    (folder / "my_own_model.py").write_text(f"import studies\n{SOUND}")
    (folder / "studies.py").write_text("")
    assert refused("my_own_model") == (
        f"The entrypoint 'my_own_model' lies beside {folder / 'studies.py'}, which has the name of a package "
        f"of orch, {SOURCE / 'studies'}. It would import one in place of the other. Rename "
        f"{folder / 'studies.py'}."
    )
    assert find_entrypoint("orchestrator.rehearsal")  # an installed one does not import the folder's


def test_asking_leaves_the_path_as_it_is_and_siblings_are_found(folder: Path, installed: Path) -> None:
    """At the top of the module, and inside its functions; before an installed one of the same name."""
    (installed / "layers_of_mine.py").write_text("WIDTH = 'installed'\n")
    (folder / "layers_of_mine.py").write_text("WIDTH = 'here'\n")
    (folder / "late_sibling.py").write_text("SAYS = 'late'\n")
    (folder / "with_siblings.py").write_text(
        "import layers_of_mine\n"
        "def check(c):\n    import late_sibling\n    return [layers_of_mine.WIDTH, late_sibling.SAYS]\n"
        "def shape_key(c):\n    from late_sibling import SAYS\n    return SAYS\n"
        "def run(*a): pass\n"
    )
    before = list(sys.path)
    module = find_entrypoint("with_siblings")
    assert objections(module, "with_siblings", {}) == ["here", "late"]
    assert find_shape_key(module, "with_siblings", {}) == "late"
    assert sys.path == before
    file = str(folder / "with_siblings.py")
    expected = whereabouts.Code(str(folder), True, file, whereabouts.digest(file))
    assert code_of(module, "with_siblings") == expected


def test_nobody_else_finds_what_lies_in_the_folder_meanwhile(folder: Path) -> None:
    """Another thread, while an entrypoint is asked; and this one, afterwards."""
    (folder / "only_beside.py").write_text("")

    def tried() -> str:
        try:
            __import__("only_beside")
        except ImportError:
            return "not found"
        return "found"

    said: list[str] = []
    with whereabouts.beside(str(folder)):
        other = threading.Thread(target=lambda: said.append(tried()))
        other.start()
        other.join()
    said.append(tried())
    with whereabouts.beside(str(folder)):
        said.append(tried())
    assert said == ["not found", "not found", "found"]


def test_a_process_that_stands_in_another_folder_now_does_not_take_the_module_of_the_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for place in (folder, other):
        (place / "in_both_folders.py").write_text(SOUND)
    find_entrypoint("in_both_folders")
    monkeypatch.chdir(other)
    assert refused("in_both_folders") == (
        f"The entrypoint 'in_both_folders' lies at {other / 'in_both_folders.py'}, and this process has "
        f"loaded another in_both_folders, from {folder / 'in_both_folders.py'}. Call orch anew."
    )


def test_what_was_checked_and_what_is_loaded_must_be_one_file(tmp_path: Path) -> None:
    module = ModuleType("m")
    module.__file__ = str(tmp_path / "b" / "m.py")
    with pytest.raises(BadSpec, match=r"was checked as .*/a/m.py, and the worker has loaded .*/b/m.py. End"):
        whereabouts.require_same("m", module, whereabouts.Code("", False, str(tmp_path / "a" / "m.py")))
    whereabouts.require_same(
        "m", module, whereabouts.Code("", False, str(tmp_path / "b" / ".." / "b" / "m.py"))
    )
    whereabouts.require_same("m", module, whereabouts.Code("", False, ""))  # it has no file
