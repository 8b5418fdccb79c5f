"""What does a trial on several hosts cost beyond its training? Two Ray nodes of one core each here.

A gang's step over that of the same two processes under bare `jax.distributed`; from submit to the first step
of the second trial on a warm gang, over the first's; from a process' kill to the first new step, over Ray
Train's (`DataParallelTrainer`, `max_failures`, the same trainer, config and checkpoints); and from a node's
kill to the end of its gang's last process.  python -m benchmarks.gangs
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.cluster import connect, disconnect, hosts_of
from benchmarks.measuring import Result, result, show, spread
from benchmarks.members import free_port, told_by

ROUNDS = 2
STEPS, EVERY = 300, 20  # of a run, and from checkpoint to checkpoint, where a step is timed
AT = 10  # where a start is timed each step is reported and saved; after so many a process is killed
COUNT = 2


def config(steps: int = STEPS, every: int = EVERY) -> dict[str, Any]:
    from studies import parts

    saved = {"eval_every_steps": steps, "checkpoint_every_steps": every, "score": {"dev_sentences": 2}}
    return {**parts.sizes()["smoke"].base, **saved, "steps": steps, "mesh": {"data": COUNT}, "seed": 1}


def measure() -> Result:
    bare: list[float] = []
    gang: list[float] = []
    first: list[float] = []
    second: list[float] = []
    lost: list[float] = []
    lost_theirs: list[float] = []
    gone: list[float] = []
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        root = Path(folder)
        os.environ["ORCH_HOME"] = str(root)  # one text and one folder of compiled programs for all sides
        _bare(root / "warm")
        for i in range(ROUNDS):
            bare.append(_bare(root / f"bare-{i}"))
            with _two(root / f"ours-{i}") as (backend, home):
                first.append(_trial(backend, home / "one", config(AT, 1))[0])
                second.append(_trial(backend, home / "two", config(AT, 1))[0])
                gang.append(_trial(backend, home / "three", config())[1])
                lost.append(_killed(backend, home))
                gone.append(_node_killed(backend, home))
            with _two(root / f"theirs-{i}") as (backend, home):
                backend.close(end_workers=True)
                connect(home)
                lost_theirs.append(_killed_theirs(home))
    return result(
        "gangs",
        ratios={
            "step_over_bare": min(gang) / min(bare),
            "second_start_over_first": statistics.median(second) / statistics.median(first),
            "recovery_over_ray_train": statistics.median(lost) / statistics.median(lost_theirs),
        },
        figures={
            "host_kill_s": max(gone),
            "step_ms": spread([1000 * each for each in gang]),
            "bare_step_ms": spread([1000 * each for each in bare]),
            "first_start_s": spread(first),
            "second_start_s": spread(second),
            "recovery_s": spread(lost),
            "ray_train_recovery_s": spread(lost_theirs),
        },
        wants={
            "step_over_bare": "≤ 1.03",
            "second_start_over_first": "≤ 0.15",
            "recovery_over_ray_train": "≤ 0.6",
            "host_kill_s": "≤ 10",
        },
    )


@contextlib.contextmanager
def _two(home: Path) -> Iterator[tuple[Any, Path]]:
    """A backend over two nodes of one CPU, each on a core of its own."""
    with hosts_of(home, [1, 1], cores=True) as backend:
        yield backend, home


# -- both sides alike ------------------------------------------------------------------------------------
def _bare(folder: Path) -> float:
    """Seconds a step of two processes that nobody looks after."""
    folder.mkdir()
    return _per_step(told_by("benchmarks.gangs", COUNT, str(folder))[0])


def _member(index: int, coordinator: str, folder: Path) -> None:
    """One of those processes, as a worker is set up: a core and a thread of its own."""
    from orchestrator.runs.worker import Worker
    from trainer import run
    from trainer.protocol import Place, Reply

    Worker(pin=(index, 1), environment={"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""})
    outcome = run.run(config(), lambda report: Reply.GO, folder, Place(index, COUNT, coordinator))
    print(json.dumps(dict(outcome.clocks)))


def _per_step(clocks: dict[str, float]) -> float:
    return clocks["train_s"] / clocks["steps"]


# -- ours ------------------------------------------------------------------------------------------------
def _trial(backend: Any, folder: Path, trained: dict[str, Any]) -> tuple[float, float]:
    """Seconds from submit to its first report of training, and seconds a step."""
    from orchestrator.runs.contract import Launch
    from orchestrator.study.resources import Resources

    place, two = str(folder / "attempt-1"), Resources(hosts=COUNT)
    launch = Launch(folder.name, 1, "trainer.run", trained, "same", place, resources=two)
    begun, first, sequence = time.time(), 0.0, 0
    while not backend.submit(launch):
        time.sleep(0.05)
    while True:
        progress = backend.poll({launch.key: sequence})[launch.key]
        sequence += len(progress.events)
        trained = [event.at for event in progress.events if event.kind == "train"]
        first = first or (trained[0] if trained else 0.0)
        if progress.ended is not None:
            break
        backend.await_news(0.1)
    backend.forget(launch.key)
    if progress.ended.outcome is None:
        raise RuntimeError(f"The trial did not end well: {progress.ended}")
    return first - begun, _per_step(dict(progress.ended.outcome.clocks))


@contextlib.contextmanager
def _study(backend: Any, home: Path, name: str) -> Iterator[tuple[Callable[[], list[Any]], Any]]:
    """A study of one long trial; and what ticks its engine and gives the trial's attempts."""
    from orchestrator.engine.tick import Engine
    from orchestrator.ground.clock import SystemClock
    from orchestrator.ledger import open_ledger
    from orchestrator.runs.folders import Storage
    from orchestrator.service.creation import create
    from orchestrator.study.resources import Resources
    from orchestrator.study.spec import Arm, StudySpec

    base = {key: value for key, value in config(1_000_000, 1).items() if key != "seed"}
    spec = StudySpec(
        name=name,
        entrypoint="trainer.run",
        base={**base, "eval_every_steps": 1_000_000},
        arms=(Arm(name="base", method="fixed", trials=1),),
        resources=Resources(hosts=COUNT),
        objective={"metric": "dev_loss"},
    )
    store, clock = open_ledger(f"sqlite:///{home / name}.db"), SystemClock()
    study = create(store, spec, clock=clock).study
    engine = Engine(store, backend, clock=clock, storage=Storage(home / name), who="benchmark")

    def attempts() -> list[Any]:
        engine.tick()
        backend.await_news(0.02)
        trials = store.trials(study.study_id)
        return store.attempts(trials[0].trial_id) if trials else []

    try:
        yield attempts, store
    finally:
        for key in backend.attempts():
            backend.kill(key, "measured")
            backend.forget(key)
        store.close()


def _killed(backend: Any, home: Path) -> float:
    """Seconds from the kill of the second process to the first step after its checkpoint."""
    with _study(backend, home, "killed") as (attempts, store):
        while not (found := attempts()) or found[0].clocks.get("steps", 0) < AT:
            pass
        begun = time.time()
        os.kill(_second(backend, found[0].key), signal.SIGKILL)
        while len(found := attempts()) < 2 or not found[1].clocks.get("steps", 0):
            pass
        events = store.events(trial_id=found[1].trial_id, limit=10_000)
        stepped = [e.event.at for e in events if e.event.attempt == 2 and e.event.kind == "train"]
        return float(stepped[0]) - begun


def _second(backend: Any, key: Any) -> int:
    """The process id of the gang's second process."""
    import ray

    slot = backend._holder(key)
    return int(ray.get(slot.gang.members[1].actor.state.remote()).pid)


def _node_killed(backend: Any, home: Path) -> float:
    """Seconds from the kill of a node and its worker until the gang's other process is gone."""
    from orchestrator.backends import daemon

    with _study(backend, home, "gone") as (attempts, _):
        while not (found := attempts()) or found[0].clocks.get("steps", 0) < AT:
            pass
        pid = int(found[0].provenance["pid"])
        first_is_here = pid in daemon.processes(home)
        others = daemon.processes(home / "host-1")
        if not first_is_here:  # the head stays: it is the other one that is lost
            pid = _second(backend, found[0].key)
        begun = time.time()
        for each in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            attempts()
        return time.time() - begun


# -- Ray Train -------------------------------------------------------------------------------------------
def _killed_theirs(home: Path) -> float:
    """The same with Ray Train: each worker runs the trainer, and goes on from the newest checkpoint."""
    from ray import train
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    told = home / "told"
    told.mkdir()

    def loop(given: dict[str, Any]) -> None:
        from orchestrator.runs.worker import Worker
        from trainer import run
        from trainer.protocol import Place, Reply, Report, write_resume_note
        from trainer.training import checkpoint

        at = train.get_context()
        index, folder = at.get_world_rank(), Path(given["folder"])
        Worker(pin=(0, 1), environment={"JAX_PLATFORMS": "cpu", "ORCH_HOME": given["home"]})
        place = folder / "coordinator"
        if index == 0:
            address = f"127.0.0.1:{free_port()}"
            place.with_suffix(".new").write_text(address)
            os.replace(place.with_suffix(".new"), place)
        else:
            while not place.exists():
                time.sleep(0.01)
            address = place.read_text()
            (folder / "second").write_text(str(os.getpid()))
        work = folder / "run"
        work.mkdir(exist_ok=True)
        newest = checkpoint.finished(work)
        if newest:
            write_resume_note(work, str(newest[0]))

        def report(said: Report) -> Reply:
            if index == 0 and said.kind == "train":
                with (folder / "steps").open("a") as file:
                    file.write(f"{os.getpid()} {said.step} {time.time()}\n")
                pids = {line.split()[0] for line in (folder / "steps").read_text().splitlines()}
                if len(pids) == 1 and said.step >= AT and not (folder / "killed").exists():
                    (folder / "killed").write_text(str(time.time()))
                    place.unlink()  # the next life's coordinator is another
                    os.kill(int((folder / "second").read_text()), signal.SIGKILL)
                if len(pids) > 1:
                    return Reply.STOP
            return Reply.GO

        run.run(given["config"], report, work, Place(index, COUNT, address))

    base = {**config(1_000_000, 1), "eval_every_steps": 1_000_000}
    with contextlib.redirect_stdout(sys.stderr):
        DataParallelTrainer(
            loop,
            train_loop_config={"folder": str(told), "config": base, "home": os.environ["ORCH_HOME"]},
            scaling_config=train.ScalingConfig(num_workers=COUNT, resources_per_worker={"CPU": 1}),
            run_config=train.RunConfig(
                storage_path=str(home / "train"), failure_config=train.FailureConfig(max_failures=1)
            ),
        ).fit()
    killed = float((told / "killed").read_text())
    lines = [line.split() for line in (told / "steps").read_text().splitlines()]
    return next(float(at) for pid, _, at in lines if pid != lines[0][0]) - killed


if __name__ == "__main__":
    if sys.argv[1:2] == ["--member"]:
        _member(int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        show(measure())
        disconnect()
