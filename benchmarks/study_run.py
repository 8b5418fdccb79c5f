"""What does a whole study take when a checkout runs it? Its wall clock, CPU, clocks and findings."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
CLOCKS = ("train_s", "eval_s", "compile_s", "other_s", "steps", "tokens")
KEPT = ("programs", "data")  # of a home: what a second study finds ready
TOLD_EVERY_S = 30.0
ENDING_S = 15.0  # what a command may take to end after Ctrl-C: nothing of it is needed
# What of this shell's environment would make two sides differ.
OTHERS = ("ORCH_", "RAY_", "TUNE_", "MLFLOW_", "PYTHONPATH", "JAX_", "XLA_")


@dataclass(frozen=True)
class Checkout:
    """A version of the code: its Python, and the folder that it is started in."""

    python: Path
    folder: Path

    @classmethod
    def at(cls, path: str | Path) -> Checkout:
        """A checkout with a `.venv` in it, or the Python of an environment."""
        given = Path(path).expanduser().absolute()
        if given.is_dir():
            python = given / ".venv" / "bin" / "python"
            if not python.exists():
                raise SystemExit(f"{given} has no {python.relative_to(given)}. Run make setup in it first.")
            return cls(python, given)
        if not os.access(given, os.X_OK):
            raise SystemExit(f"There is no Python and no checkout at {given}. Name one of the two.")
        own = given.parent.parent.parent  # FOLDER/.venv/bin/python
        return cls(given, own if (own / "orchestrator").is_dir() else given.parent)

    @classmethod
    def here(cls) -> Checkout:
        return cls(Path(sys.executable), HERE)

    def orch(self, *arguments: str, home: Path) -> str:
        """What a command prints that is over in seconds."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=environment(home),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and not done.stdout:
            raise RuntimeError(f"orch {' '.join(arguments)} failed: {done.stderr[-2000:]}")
        return done.stdout

    def command(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "orchestrator.cli", *arguments]


@dataclass(frozen=True)
class Took:
    """A command that has ended: what it took. Its CPU is that of its own process, not of those it started."""

    wall_s: float
    cpu_s: float
    rc: int
    load_before: float  # the machine's load average of a minute, before it began


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    return {**kept, "ORCH_HOME": str(home)}


def timed(
    command: Sequence[str],
    *,
    folder: Path,
    home: Path,
    name: str,
    label: str,
    on_interrupt: Callable[[], object] = lambda: None,
    given: Mapping[str, str] | None = None,
) -> Took:
    """Run a command to its end. What it prints goes to NAME.out and NAME.log beside its home. `given`: what
    else is in its environment."""
    load = os.getloadavg()[0]
    if load > 0.5:
        tell(f"{label}: the machine is not idle (load {load:.1f}), so its times are not to be quoted.")
    home.parent.mkdir(parents=True, exist_ok=True)
    log = home.parent / f"{name}.log"
    with (home.parent / f"{name}.out").open("w") as out, log.open("w") as err:
        begun = told = time.perf_counter()
        # A session of its own: Ctrl-C reaches it through us alone, once.
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment(home), **(given or {})},
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            while not (ended := _ended(process.pid)):
                time.sleep(0.02)
                if time.perf_counter() - told >= TOLD_EVERY_S:
                    told = time.perf_counter()
                    tell(f"{label}: {told - begun:.0f} s. {_last_line(log)}")
        except KeyboardInterrupt:
            with _uninterrupted():
                _interrupt(process)
                on_interrupt()
            raise
        wall_s, cpu_s = time.perf_counter() - begun, _cpu_s(process.pid) if ended else 0.0
        rc = process.wait()
    tell(f"{label}: ended after {wall_s:.1f} s.")
    return Took(wall_s, cpu_s, rc, load)


def study(
    checkout: Checkout, arguments: Sequence[str], *, home: Path, workers: int, name: str, label: str
) -> dict[str, Any]:
    """Create a study by the command and follow it to its end: what it took, and what it found."""
    took = timed(
        checkout.command("study", "create", *arguments, "--workers", str(workers), "--json"),
        folder=checkout.folder,
        home=home,
        name=name,
        label=label,
        on_interrupt=lambda: checkout.orch("down", "--force", home=home),
    )
    try:
        study_name = json.loads((home.parent / f"{name}.out").read_text())["study"]
    except (ValueError, KeyError):
        raise SystemExit(
            f"{label}: it ended with {took.rc}; its log is {home.parent / f'{name}.log'}."
        ) from None
    checkout.orch("down", "--force", home=home)
    export = json.loads(checkout.orch("study", "export", study_name, "--to", "json", home=home))
    verdict = json.loads(checkout.orch("study", "verdict", study_name, "--json", home=home))
    return {**asdict(took), **findings(export), "verdict": (verdict.get("verdict") or {}).get("answer")}


def findings(export: Mapping[str, Any]) -> dict[str, Any]:
    """Of an exported study: its hash, its clocks, and the values of every arm."""
    trials, spec = export["trials"], export["spec"]
    attempts = [attempt for trial in trials for attempt in trial["attempts"]]
    fresh = {arm["name"] for arm in spec["arms"] if arm.get("fresh_seeds")}
    values: dict[str, list[float]] = {arm["name"]: [] for arm in spec["arms"]}
    for trial in trials:
        if trial["state"] == "completed" and isinstance(trial.get("value"), int | float):
            values[trial["arm"]].append(float(trial["value"]))
    return {
        "spec_hash": export["study"]["spec_hash"],
        "trials": len(trials),
        "states": dict(Counter(trial["state"] for trial in trials)),
        "study_s": max((a.get("ended_at") or 0.0) for a in attempts) - min(a["started_at"] for a in attempts),
        "clocks": clocks_of(attempt["clocks"] for attempt in attempts),
        "arms": {arm: arm_values(found, seeds=arm in fresh) for arm, found in values.items()},
    }


def clocks_of(each: Any) -> dict[str, float]:
    """The sums of all runs' clocks."""
    listed = list(each)
    return {name: sum(clocks.get(name, 0.0) for clocks in listed) for name in CLOCKS}


def in_slots(clocks: Mapping[str, float]) -> float:
    """Seconds of all runs together."""
    return sum(seconds for clock, seconds in clocks.items() if clock.endswith("_s"))


def arm_values(values: Sequence[float], *, seeds: bool) -> dict[str, Any]:
    """Of an arm on fresh seeds their mean and spread; of one that searches its best."""
    if not values:
        return {"runs": 0}
    if not seeds:
        return {"runs": len(values), "best": min(values)}
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"runs": len(values), "mean": statistics.fmean(values), "sd": sd}


def beyond_training(clocks: Mapping[str, float], *, cpu_s: float, trials: int) -> float:
    """Machine-seconds a trial that neither trained nor evaluated: compiling, all else in the workers, and the
    CPU of the process that runs the study."""
    return (clocks["compile_s"] + clocks["other_s"] + cpu_s) / trials


def cleared(home: Path) -> None:
    """Nothing in a home's place: one of a measurement that was cut short would not be cold."""
    if home.exists():
        home.rename(home.parent / f"cut-short-{1 + sum(1 for _ in home.parent.glob('cut-short-*'))}")


def leave_programs(home: Path, aside: Path) -> None:
    """A home with the programs and the text of the one that was there, and nothing else of it; that one is
    moved aside, for whoever wants to look."""
    shutil.rmtree(aside, ignore_errors=True)
    home.rename(aside)
    home.mkdir()
    for kept in KEPT:
        if (aside / kept).is_dir():
            shutil.copytree(aside / kept, home / kept)


class Parts:
    """What was measured so far, in a file: one that was interrupted goes on with what is missing."""

    def __init__(self, path: Path, **of: Any) -> None:
        self._path, self._of = path, of
        path.parent.mkdir(parents=True, exist_ok=True)
        self._found: dict[str, Any] = {}
        if path.exists():
            told = json.loads(path.read_text())
            if told["of"] != of:
                raise SystemExit(
                    f"{path} holds parts of another measurement ({told['of']}, and not {of}). "
                    f"Name another --folder, or remove that one."
                )
            self._found = told["parts"]

    def get(self, name: str) -> Any:
        return self._found.get(name)

    def measured(self, name: str, measure: Callable[[], dict[str, Any]]) -> Any:
        if name in self._found:
            tell(f"{name}: measured before, {self._found[name]['wall_s']:.1f} s.")
        else:
            self._found[name] = measure()
            unfinished = self._path.with_suffix(".new")
            unfinished.write_text(json.dumps({"of": self._of, "parts": self._found}, indent=1))
            unfinished.replace(self._path)
        return self._found[name]


def tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C, and a polite kill, end what was started and then this process, without a traceback."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        tell("Interrupted. The parts that were measured are kept; the same command goes on.")
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ended(pid: int) -> bool:
    """Whether it has; its figures stay until it is waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _cpu_s(pid: int) -> float:
    """User and system time of one process, also of one that has ended and was not waited for."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1][:160] if lines else ""
