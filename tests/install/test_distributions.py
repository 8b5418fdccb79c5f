"""What is in the sdist and the wheel, and what do they say of themselves?"""

from __future__ import annotations

import re
import tarfile
from datetime import date
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.version import Version

from orchestrator.ground.extras import BASE, EXTRAS, pip_name
from orchestrator.ground.release import DISTRIBUTION, VERSION
from tests.install.environments import ROOT, Built

PACKAGES = ("dashboards", "orchestrator", "studies", "trainer")
# Of the extras, what is never asked for by its own name: it comes with, or is wanted by, another package.
UNNAMED = {"importlib-resources"}


def names(built: Built) -> list[str]:
    with ZipFile(built.wheel) as files:
        return files.namelist()


def test_the_wheel_holds_every_module_template_and_static_file_and_no_tests(built: Built) -> None:
    held = {name for name in names(built) if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == wanted
    assert {"dashboards/templates/report.html.j2", "dashboards/static/page.js"} <= held


def test_the_wheel_carries_the_licence(built: Built) -> None:
    (name,) = (n for n in names(built) if n.endswith(".dist-info/licenses/LICENSE"))
    with ZipFile(built.wheel) as files:
        assert files.read(name) == (ROOT / "LICENSE").read_bytes()
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_metadata_names_the_release_its_licence_and_its_authors_and_no_address(built: Built) -> None:
    told = built.metadata()
    assert (told["Name"], told["Version"]) == ([DISTRIBUTION], [VERSION])
    assert told["License-Expression"] == ["Apache-2.0"]
    assert told["Author"] == ["The orch authors"]
    assert not {"Project-URL", "Home-page"} & told.keys()
    assert not [line for line in told["Classifier"] if line.startswith("License ::")]


def test_the_sdist_holds_what_a_wheel_is_made_of_and_no_tests(built: Built) -> None:
    with tarfile.open(built.sdist) as files:
        tops = {Path(name).parts[1] for name in files.getnames() if len(Path(name).parts) > 1}
    assert {"LICENSE", "README.md", "pyproject.toml", *PACKAGES} <= tops
    assert not tops & {"tests", "benchmarks", "docs", "requirements.lock"}


def requirements(built: Built, extra: str) -> dict[str, Requirement]:
    """Those of one extra, "" for the base, by name."""
    found: dict[str, Requirement] = {}
    for text in built.metadata()["Requires-Dist"]:
        required = Requirement(text)
        alone = required.marker is None or required.marker.evaluate({"extra": ""})
        if alone is (extra == "") and (alone or required.marker.evaluate({"extra": extra})):
            found[re.sub(r"[-_.]+", "-", required.name).lower()] = required
    return found


def test_what_is_said_to_come_with_an_extra_comes_with_it(built: Built) -> None:
    assert set(requirements(built, "")) == {pip_name(module) for module in BASE}
    for extra in EXTRAS.values():
        named = {pip_name(module) for module in extra.modules}
        assert set(requirements(built, extra.name)) - UNNAMED == named, extra.name


def test_all_is_every_extra_and_each_is_offered(built: Built) -> None:
    (all_,) = requirements(built, "all").values()
    assert (all_.name, all_.extras) == (DISTRIBUTION, set(EXTRAS))
    assert {*EXTRAS, "all", "gpu", "tpu", "tfds-prepare", "dev"} <= set(built.metadata()["Provides-Extra"])


def test_the_changelog_dates_each_release_and_ours_is_not_older_than_the_newest() -> None:
    first, *released = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert first == "Unreleased"
    found = [re.fullmatch(r"(\d+\.\d+\.\d+), (\d{4}-\d\d-\d\d)", heading) for heading in released]
    assert all(found), released
    dates = [date.fromisoformat(each[2]) for each in found if each]
    versions = [Version(each[1]) for each in found if each]
    assert (dates, versions) == (sorted(dates, reverse=True), sorted(versions, reverse=True))
    assert Version(VERSION) >= versions[0]


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / lock).read_text().splitlines()
    return {line.split("==")[0]: line for line in lines if line and not line.startswith("#")}


def test_torch_is_pinned_in_the_lock_and_not_in_the_metadata(built: Built) -> None:
    assert re.fullmatch(r"torch==[\d.]+", pins("requirements.lock")["torch"])
    assert "==" not in str(requirements(built, "gp")["torch"].specifier)


def test_the_lock_of_studies_has_all_extras_and_none_of_the_tests_tools(built: Built) -> None:
    lock, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    wanted = {name for extra in ("", *EXTRAS) for name in requirements(built, extra)}
    assert wanted <= lock.keys()
    tools = requirements(built, "dev").keys()
    assert tools <= dev.keys()
    assert lock.keys() & tools <= {"ray", "scikit-learn", "setuptools"}  # what studies, mlflow and torch need
    assert lock.items() <= dev.items()
