"""Which test shows what becomes of which fault? `python -m tests.faults.table` writes docs/faults.md anew.

A test says so itself, with `@pytest.mark.fault(4, 7)`, or `@pytest.mark.fault(4, real=True)` where real
processes, servers, disks or files are hit. The marks are read from the source, and no test is run for it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"

INTRODUCTION = """\
What may go wrong under a study, what must hold all the same, and which tests show it.
`python -m tests.faults.table` writes this page from the marks of the tests. A test fails where the page is
another, or where a fault has no test.

*Real* tests hit real processes, servers, disks or files. *Simulated* ones run the engine on a virtual clock
over simulated workers, or the service inside the test. *Slow* ones run with `make test-slow`, those on
several *hosts* with `make test-hosts` as root, the others with `make test`. By hand, round after round under
the real trainer: `python -m tests.faults.rounds --rounds 20`.
"""
INVARIANTS = (
    ("I1", "Every trial that was asked for is there."),
    ("I2", "A trial has one final state, that of its last attempt, and no attempt is left alive."),
    ("I3", "A metric has one value for each trial, attempt and step, in the ledger and in MLflow."),
    ("I4", "As many trials have ended as were requested, no more and no fewer, whatever they ended as."),
    ("I5", "The seconds charged in the ledger and those in MLflow differ by less than 1%."),
    ("I6", "No actor runs on Ray beside the engine's pool; after a foreground study none runs at all."),
    ("I7", "But for its cost columns, the report equals that of a run with the same seeds left in peace."),
)
ROWS = (
    (
        "The service or a foreground run is killed (-9) in mid-study and stays away for 0, 20 or 60 s",
        "Workers train on meanwhile. `orch serve` leads again within 30 s of its start, a foreground study "
        "goes on with `resume`. I1 to I7.",
    ),
    (
        "It is killed right after any of its writes: trial added, submitted, result collected, result told",
        "I1 to I4, whichever write was the last, and many times in a row.",
    ),
    ("A write reaches the ledger and looks as if it had failed", "No trial and no run is there twice."),
    (
        "A worker is killed (-9) at any step",
        "Its trial goes on from the checkpoint as attempt 2, at most one checkpoint interval is trained "
        "again, and both attempts are charged.",
    ),
    (
        "Every attempt of a trial loses its worker",
        "At the cap the trial is FAILED and says why; the rest of the study runs.",
    ),
    (
        "The training code raises",
        "FAILED after one attempt, without a retry; API and command line show the traceback.",
    ),
    (
        "The machine is taken: SIGTERM, 30 s later the end",
        "The run saves at once, loses one step at most, and no failure is counted.",
    ),
    (
        "Ray's head goes and comes back",
        "It is reconnected to and trials are submitted anew; an old actor that lives on writes nothing.",
    ),
    ("A worker whose attempt was given up reports", "Its events are refused. I3."),
    (
        "MLflow is away for a minute, for ten, from the start, for good; or it commits and answers 500",
        "Workers and the engine's tick never call MLflow. What is owed is written from the cursor on: "
        "a run for each trial, its attempts and their seconds as tags, each step once.",
    ),
    (
        "The database restarts, refuses connections for 30 s, or is locked all the time",
        "503 with Retry-After and never 500; no update is lost.",
    ),
    (
        "The disk is full, under checkpoints, the ledger or artifacts",
        "It is said in a sentence, the last good checkpoint stays, and all goes on once there is room.",
    ),
    (
        "The newest checkpoint is torn or damaged, or is of another config",
        "The one before is used and that is recorded; another config is refused in a sentence.",
    ),
    (
        "50 equal creations at once, with one idempotency key, or with one name and none",
        "One study and 50 equal answers; or one 201, and 49 times 409 with the study's id. The command line "
        "attaches to an equal spec and refuses another.",
    ),
    (
        "Two orchestrators share a ledger",
        "One leads. The other takes over within 30 s of its death; what the former still writes is fenced.",
    ),
    (
        "Pause, drain, cancel and extend meet trials that are just ending; a kill while a study drains",
        "No state but an allowed one follows. What drains goes on draining.",
    ),
    (
        "A loss or a hypergradient is NaN or infinite, α runs to 0 or overflows, all trials diverge",
        "DIVERGED with the last finite metrics; the search sees the worst value; a report without any "
        "result says so.",
    ),
    ("The wall clock jumps by an hour", "Costs, leadership and the watchdog do not notice."),
    ("A trial hangs: its process lives and says nothing", "The watchdog kills it, and it is tried again."),
    (
        "A study has 10,000 trials that do nothing, or a million points",
        "To create, list or get takes less than 300 ms, memory stays flat, a report takes less than 60 s.",
    ),
    (
        "The ledger's file is of an older or of a newer release",
        "Older: upgraded in place; tests/ has a dump of each schema version. Newer: refused in a sentence.",
    ),
    (
        "A fuzzer asks whatever the OpenAPI document allows and forbids, alone and in sequences",
        "No 5xx, no answer that the document does not declare, no route that forgets the token.",
    ),
    (
        "An alias bomb, 50 MB, deep nesting, NaN or 1e309, null bytes, a name of 10,000 characters",
        "A 4xx within a second, and memory stays flat.",
    ),
    (
        "A study is called `../../etc/x`, `C:\\` or `%2e%2e`",
        "Refused or kept as plain text; nothing is written outside the root.",
    ),
    ("A pickle lies where a checkpoint, parameters or an import is expected", "It is never loaded."),
    ("A cell begins with `=`, a name or a note holds a script tag", "Both are escaped."),
    (
        "No token, a wrong one, somebody else's; an address that others reach, without a token",
        "401, 403 or 404; or it does not start. No log, tag or error holds a secret.",
    ),
    (
        "Of several hosts one is gone, with all its processes at once, in mid-step or in a save",
        "What ran there is lost within 30 s of Ray's own notice, and goes on elsewhere from the newest safe "
        "checkpoint. At most one checkpoint interval is trained again, and both attempts are charged.",
    ),
    (
        "The link to a host is cut for 10 s, or for 90 s, and then restored",
        "10 s: nothing is lost. 90 s: what ran there goes on elsewhere, and the host is used again.",
    ),
    (
        "The head of Ray dies for 5 s, 60 s, or for good",
        "orch's own comes back as it was: other hosts train on, and are found again. Of a foreign one that "
        "keeps nothing: attempts go on from their checkpoints. The leader lives on, and says why it waits.",
    ),
    (
        "The leader is killed (-9) while it hires, begins or adopts on several hosts",
        "The next one finds the same, no attempt begins twice, and after `orch down` no worker is left.",
    ),
    (
        "On one host the mount of the runs is away for a minute, or read-only",
        "Its trials go on elsewhere. The host is set aside with the reason, and taken back by itself.",
    ),
    (
        "On one host alone the disk is full",
        "Its trials go on elsewhere. The host is set aside with the reason, and taken back by itself.",
    ),
    (
        "One host's clock is an hour off, or it lacks the training code, or has other code",
        "Costs do not change. What cannot be loaded there goes on elsewhere, and counts no failure.",
    ),
    (
        "The newest checkpoint is damaged, and so is one of an earlier attempt",
        "The newest good one of any attempt is used, and the report says so.",
    ),
    (
        "A host joins with a wrong token, with no route to the service, without its disk, or twice",
        "A sentence and an exit code; the second time changes nothing.",
    ),
    (
        "Of a trial on several hosts one process is killed, whichever it is, or a whole host is gone",
        "The attempt is lost within 10 s of a process' end, or 30 s of Ray's notice of a host's, which the "
        "reason names. All its processes are gone, and attempt 2 goes on from the newest whole checkpoint.",
    ),
    (
        "The leader is killed (-9) while the processes of such a trial come together",
        "The next one goes on with those that are whole. What is not is ended and begins again, and no "
        "process and no placement group is left.",
    ),
    (
        "A host is lost just as its peers raise; or all of them raise together",
        "The first is a loss, and attempt 2 is made. The second is a failure after one try, with its "
        "traceback.",
    ),
    (
        "One of its processes stands still (SIGSTOP), or the link between two is cut",
        "The watchdog or Ray, whichever is first, names the host, and it is tried again.",
    ),
    (
        "One of its hosts has a full disk; one process' part of a checkpoint is damaged or missing",
        "As on one host: another place is tried, and all processes fall back to the same checkpoint.",
    ),
    (
        "SIGTERM reaches one of its processes, which need not be the one that reports",
        "All have saved within one chunk and stopped at one step; it is preempted, and no failure.",
    ),
    (
        "It asks for more hosts than there are, for a mesh that does not fit, or two want the same hosts",
        "Refused, or waiting in a sentence that says what there is; both get their turn.",
    ),
    (
        "A TPU slice of several hosts loses one, and another comes in its place",
        "What ran there is lost for the reason that names the host. The slice lacks it, and no trial begins "
        "on a half; once the new one stands there it is used.",
    ),
    (
        "A host of a TPU slice that is at work is about to be preempted",
        "All processes of the trial save and stop at one step; it is preempted, and no failure. Nothing more "
        "begins on that slice.",
    ),
    (
        "Somebody else holds the head of a TPU slice, or two studies want one slice",
        "Another slice is used, or the study says that it waits and for what; both get their turn.",
    ),
)


@dataclass(frozen=True, order=True)
class Shown:
    row: int
    test: str  # file::name, below tests/
    real: bool
    slow: bool
    hosts: bool = False

    @property
    def words(self) -> str:
        marks = {"slow": self.slow, "hosts": self.hosts}
        return ", ".join(["real" if self.real else "simulated", *(name for name, on in marks.items() if on)])


def marks(source: str, file: str) -> Iterator[Shown]:
    """What the tests of a source say that they show."""
    tree = ast.parse(source)
    of_all = [
        mark
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "pytestmark"
        for mark in ast.walk(node.value)
    ]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.lower().startswith("test"):
            yield from _of_test(f"{file}::{node.name}", [*node.decorator_list, *of_all])
        inner = [(f"{file}::{node.name}", n) for n in node.body] if isinstance(node, ast.ClassDef) else []
        for where, each in [(file, node), *inner]:
            if isinstance(each, ast.Assign) and isinstance(each.value, ast.Call):
                # TestX = mark(Machine.TestCase), or in a class: test_x = mark(Contract.test_x)
                yield from _of_test(f"{where}::{ast.unparse(each.targets[0])}", [each.value.func])


def _of_test(test: str, found: list[ast.AST]) -> Iterator[Shown]:
    named_so = {mark.attr for mark in found if isinstance(mark, ast.Attribute)}
    for mark in found:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "fault":
            named = {word.arg: ast.literal_eval(word.value) for word in mark.keywords}
            for row in mark.args:
                slow, hosts = (name in named_so for name in ("slow", "hosts"))
                yield Shown(ast.literal_eval(row), test, named.get("real", False), slow, hosts)


def collected() -> list[Shown]:
    return sorted(
        {
            shown
            for path in TESTS.rglob("test_*.py")
            for shown in marks(path.read_text(), path.relative_to(TESTS).as_posix())
        }
    )


def page(shown: list[Shown]) -> str:
    lines = [
        "# Faults that orch survives, and the tests that show it",
        "",
        *INTRODUCTION.splitlines(),
        "",
        "## What holds after each of them",
        "",
        *(f"- **{name}** {what}" for name, what in INVARIANTS),
        "",
        "`tests/faults/invariants.py` checks them in the ledger, `tests/faults/mirrored.py` in MLflow.",
        "",
        "## The faults",
        "",
        "| # | fault | what must hold | tests |",
        "|---|---|---|---|",
    ]
    for number, (fault, holds) in enumerate(ROWS, start=1):
        tests = "<br>".join(f"`{s.test}` ({s.words})" for s in shown if s.row == number)
        lines.append(f"| {number} | {fault} | {holds} | {tests} |")
    return "\n".join([*lines, "", "Up: [Operate](README.md#operate)"]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(collected()))
    print(PAGE)
