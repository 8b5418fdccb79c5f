"""Rows 1, 4 and 8 with real processes: gcs and raylet killed; ten kills in a study of the real trainer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults import storm
from tests.faults.serving import LEADS_WITHIN_S, service

TEN = ("service", "worker", "service", "raylet", "worker", "service", "gcs", "service", "worker", "service")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calm") / "home"


@pytest.fixture(scope="module")
def report(calm: Path) -> dict[str, object]:
    """Of a run that nothing happens to. It leaves text and compiled programs in its home."""
    with service(calm) as there:
        return storm.undisturbed(there, storm.spec(random_trials=10, guided=4))


@pytest.mark.fault(1, 4, 8, real=True)
def test_a_real_study_through_ten_kills_has_the_report_of_an_undisturbed_one(
    calm: Path, report: dict[str, object], tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    with service(storm.warmed(tmp_path / "home", calm)) as there:
        there.start()
        study_id = storm.awaited(lambda: there.create(storm.spec(random_trials=10, guided=4)))
        blows = storm.struck(there, study_id, random.Random(seed), TEN, longest_wait_s=1.0)
        print(*blows, sep="\n")
        assert [blow.kind for blow in blows] == list(TEN)
        there.to_the_end(study_id, within_s=storm.PATIENCE_S)
        storm.held(there, study_id)
        assert storm.answer(there, study_id) == report
        assert {blow: s for blow in blows if (s := blow.leads_after_s) > LEADS_WITHIN_S} == {}


@pytest.mark.fault(8, real=True)
@pytest.mark.parametrize("part", ["gcs", "raylet"])
def test_a_study_whose_ray_dies_goes_on_within_30_s(
    calm: Path, report: dict[str, object], tmp_path: Path, part: str
) -> None:
    with service(storm.warmed(tmp_path / "home", calm)) as there:
        there.start()
        study_id = storm.awaited(lambda: there.create(storm.spec(random_trials=10, guided=4)))
        (blow,) = storm.struck(there, study_id, random.Random(1), [part])
        there.to_the_end(study_id, within_s=storm.PATIENCE_S)
        storm.held(there, study_id)
        assert storm.answer(there, study_id) == report
        assert blow.leads_after_s < LEADS_WITHIN_S
