"""Does the trainer run on a GPU through real workers, shared and alone, and is its memory given back?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.backends import daemon, joined
from orchestrator.backends.accelerator_memory import LABEL
from orchestrator.backends.ray import RayBackend
from orchestrator.runs.hardware import FRACTION
from orchestrator.study.resources import Resources
from tests.gpu.conftest import LONG, NOISE_MIB, ON, SAME, Site, resources, until, used_mib

pytestmark = pytest.mark.gpu
A_RUN_MIB = 300.0  # at least: CUDA's context, and what JAX takes in advance
GIVEN_BACK_S = 60.0
HALF = 0.5


def test_a_trial_runs_on_the_gpu_that_it_was_given(site: Site) -> None:
    first = site.begin("first", resources(1))
    losses = first.losses()
    assert [step for step, _ in losses] == [10, 20, 30, 40]
    assert first.told["devices"]["JAX_PLATFORMS"] == ("cuda,cpu" if ON else "cpu")
    assert first.told.get("accelerators") == ({"GPU": ["0"]} if ON else None)
    again = site.begin("again", resources(1))  # of the same program: in the same process, which has JAX now
    assert again.losses() == losses
    assert again.told["pid"] == first.told["pid"]
    assert ["cuda" in name.lower() for name in again.told["devices"]["jax"]] == [ON]


def test_the_host_says_how_much_memory_its_gpu_has(site: Site) -> None:
    [host] = site.backend.hosts()
    [node] = site.backend._crew.nodes.look().values()
    assert (LABEL in node.labels) == ON
    assert (host.has.get("GPU_GiB", 0) > 1) == ON


def test_two_that_share_a_gpu_have_the_losses_of_each_alone(site: Site) -> None:
    alone = {seed: site.begin(f"alone-{seed}", resources(HALF), seed=seed).losses() for seed in (1, 2)}
    both = {seed: site.begin(f"both-{seed}", resources(HALF), seed=seed) for seed in (1, 2)}
    found = {seed: trial.losses() for seed, trial in both.items()}
    pids = {trial.told["pid"] for trial in both.values()}
    assert len(pids) == 2
    if ON:
        assert [trial.told["accelerators"] for trial in both.values()] == [{"GPU": ["0"]}] * 2
        assert [trial.told["devices"][FRACTION] for trial in both.values()] == ["0.45"] * 2
    assert alone[1] != alone[2]
    for seed, losses in alone.items():
        assert [step for step, _ in found[seed]] == [step for step, _ in losses]
        assert [loss for _, loss in found[seed]] == pytest.approx([loss for _, loss in losses], rel=1e-5)


def test_one_that_is_killed_gives_its_memory_back_and_a_trial_on_the_cpu_beside_it_has_none(
    site: Site, idle_mib: float
) -> None:
    beside = site.begin("beside", Resources(), **LONG)
    until(lambda: beside.reports(1))
    assert used_mib() <= idle_mib + NOISE_MIB  # it trains, and holds none of it
    on_gpu = site.begin("killed", resources(1), **LONG)
    until(lambda: on_gpu.reports(1))
    if ON:
        assert used_mib() >= idle_mib + A_RUN_MIB
    site.backend.kill(on_gpu.job.key, "The test says so.")
    ended = on_gpu.done()
    assert (ended.how, ended.reason) == ("lost", "The test says so.")
    until(lambda: used_mib() <= idle_mib + NOISE_MIB, within_s=GIVEN_BACK_S)
    so_far = len(beside.events)
    until(lambda: beside.reports(so_far + 1))  # it goes on
    after = site.begin("after", resources(1))  # the next one finds room
    assert after.losses()
    site.backend.kill(beside.job.key, "The test ends.")
    beside.done()


def test_another_program_begins_in_a_process_of_its_own_and_the_first_one_s_memory_is_given_back(
    site: Site, idle_mib: float
) -> None:
    small = site.begin("small", resources(1))
    small.losses()
    warm = used_mib() - idle_mib
    model = {**small.job.config["model"], "d_ff": 64}
    large = site.begin("large", resources(1), model=model)
    large.losses()
    assert large.told["pid"] != small.told["pid"]
    if ON:
        assert warm >= A_RUN_MIB
        assert used_mib() - idle_mib <= warm + NOISE_MIB  # of one process, not of two


@pytest.fixture
def two_homes(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two nodes of one Ray here, that have each found the same GPU."""
    one, two = tmp_path / "one", tmp_path / "two"
    try:
        joined.join(two, daemon.start(one, cpus=2), cpus=2, token=daemon.token_path(one).read_text())
        yield one, two
    finally:
        daemon.stop(two)
        daemon.stop(one)


def test_a_gang_of_two_processes_on_one_gpu(
    two_homes: tuple[Path, Path], backend_of: Callable[..., RayBackend], tmp_path: Path
) -> None:
    """NCCL refuses two processes on one GPU; should it not, they train."""
    site = Site(backend_of(two_homes[0], **SAME, **{FRACTION: ".4"}), tmp_path)
    until(lambda: len(site.backend.hosts()) == 2)
    trial = site.begin("gang", resources(1, hosts=2), mesh={"data": 2})
    ended = trial.done()
    printed = [log.read_text(errors="replace") for log in Path(trial.job.folder).rglob("output.log")]
    said = "\n".join([ended.reason, ended.traceback, *printed])
    if ON and ended.how != "outcome" and (words := _of_nccl(said)):
        pytest.skip(f"NCCL refuses two processes on one GPU: {words}")
    assert ended.outcome is not None, said
    assert ended.outcome.status == "completed"
    assert ended.outcome.values["dev_loss"] > 0


def _of_nccl(said: str) -> str:
    own = ("duplicate gpu", "nccl")
    lines = [line.strip() for word in own for line in said.splitlines() if word in line.lower()]
    return lines[0][:500] if lines else ""
