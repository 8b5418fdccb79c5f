"""Do the packages keep their order, and does every outside library stay in its place?

Checked from the code's syntax trees, so that an import inside a function or for types alone counts as well.
The packages are described in docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = ("trainer", "orchestrator", "studies", "dashboards")
ALL = (*PRODUCT, "benchmarks", "tests")
# Each package imports only from those before it.
ORDER = {
    "orchestrator": (
        "ground", "study", "search", "ledger", "runs", "backends", "engine", "entrypoints", "readings",
        "tracking", "service", "api", "client", "server", "cli", "testing",
    ),
    "trainer": (
        "protocol", "config", "data", "tasks", "models", "huggingface", "optim", "guidance", "scoring",
        "training", "audit", "terminal",
    ),
    "dashboards": ("evidence", "report", "web"),
}  # fmt: skip
# Files of a few lines that keep a name which stands in stored studies and in people's code.
ENTRIES = (
    "trainer.run",
    "orchestrator.rehearsal",
    "orchestrator.backends.population",
    "orchestrator.backends.tune",
)
# Of the orchestrator's packages, those that may show what was found and offer the presets.
OUTER = tuple(
    f"orchestrator.{package}" for package in ("service", "api", "client", "server", "cli", "testing")
)
SHOWING = tuple(f"orchestrator.{package}" for package in ("api", "server", "cli"))
WORDS = ("trainer.protocol", "trainer.config")  # what is spoken with the trainer; standard library only
# Pure functions of sentences, without JAX: a second home of BLEU's tests would be worse than this hole.
SCORING = {"dashboards.evidence.sentences": "trainer.scoring.metrics"}
HEAVY = {"jax", "ray", "mlflow", "torch", "optuna", "plotly"}

# Where an outside library may be imported: patterns of paths under the root.
DOORS = {
    "ray": ("orchestrator/backends/*", "orchestrator/entrypoints/*"),
    "mlflow": ("orchestrator/tracking/store.py",),
    "optuna": ("orchestrator/search/*", "orchestrator/readings/exports.py"),
    "sqlalchemy": ("orchestrator/ledger/sql*.py",),
    "fastapi": ("orchestrator/api/*", "dashboards/web/routes.py"),
    "starlette": ("orchestrator/api/*",),
    "uvicorn": ("orchestrator/server/process.py", "orchestrator/server/connections.py"),
    "plotly": ("dashboards/report/ink.py",),
    "httpx": ("orchestrator/client/*",),
    "pytest": ("orchestrator/testing/*",),
    "hypothesis": ("orchestrator/testing/*",),
    "jinja2": ("dashboards/report/pages.py",),
    "jax": ("trainer/*",),
    "flax": ("trainer/*",),
    "optax": ("trainer/*",),
}
NOT_IN_THE_TRAINER = {"ray", "mlflow", "optuna", "fastapi", "sqlalchemy", "pydantic"}

MOST_LINES_A_FILE, MOST_LINES_A_FUNCTION = 450, 80
NAMES_THAT_SAY_NOTHING = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}


def files(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, *, package: str = "") -> set[str]:
    """The full names of all modules that a source imports, anywhere in it; `package` is its own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names = {f"{module}.{alias.name}" for alias in node.names}
            # `from a import b` may name a module b or something inside a.
            found |= {name for name in names if _is_ours(name)} or {module}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return found


def _is_ours(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports_of(path: Path) -> set[str]:
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return imported(path.read_text(), package=package)


def under(name: str, *packages: str) -> bool:
    """Is this module one of these packages, or inside one?"""
    return any(name == package or name.startswith(package + ".") for package in packages)


def place_of(name: str) -> tuple[str, int] | None:
    """The top package of a module and where its own stands in the order; None where that is not listed."""
    top, _, rest = name.partition(".")
    own = rest.partition(".")[0]
    return (top, ORDER[top].index(own)) if top in ORDER and own in ORDER[top] else None


def trespasses(name: str, imports: set[str]) -> Iterator[str]:
    """The imports of our own modules that the module `name` may not have."""
    for other in sorted(i for i in imports if under(i, *ALL)):
        here, there = place_of(name), place_of(other)
        if under(other, "tests", "benchmarks"):
            allowed = False
        elif name in ENTRIES:
            allowed = under(other, name.partition(".")[0])
        elif here and there and here[0] == there[0]:
            allowed = there[1] <= here[1]
        elif under(name, "studies"):
            # `errors` too: an unknown preset is the NotFound that the service knows.
            words = ("orchestrator.study.spec", "orchestrator.study.resources", "orchestrator.ground.errors")
            allowed = under(other, "studies", *words)
        elif under(other, "trainer"):
            allowed = under(other, *WORDS) or SCORING.get(name) == other
        elif under(name, "dashboards"):
            allowed = under(other, "orchestrator") and not under(other, *OUTER)
        else:
            allowed = under(name, *SHOWING) and under(other, "dashboards", "studies")
        if not allowed:
            yield f"{name} imports {other}"


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which leads to all others of its group."""
    reached: dict[str, set[str]] = {}
    for name in imports:
        seen: set[str] = set()
        ahead = [name]
        while ahead:
            for other in imports.get(ahead.pop(), set()) - seen:
                seen.add(other)
                ahead.append(other)
        reached[name] = seen
    found = {
        tuple(sorted({name, *(other for other in reached[name] if name in reached.get(other, ()))}))
        for name in imports
        if name in reached[name]
    }
    return [list(group) for group in sorted(found)]


def closed_doors(path: str, imports: set[str]) -> Iterator[str]:
    """The imports of outside libraries that may not happen in this file."""
    roots = {i.split(".")[0] for i in imports}
    for library in sorted(roots & DOORS.keys()):
        if not any(fnmatch(path, door) for door in DOORS[library]):
            yield f"{path} imports {library}"
    if path.startswith("trainer/"):
        yield from (f"{path} imports {library}" for library in sorted(roots & NOT_IN_THE_TRAINER))


# -- the code as it stands -------------------------------------------------------------------------------


def test_every_package_imports_only_from_those_before_it() -> None:
    assert [t for path in files(*PRODUCT) for t in trespasses(module_name(path), imports_of(path))] == []


def test_every_module_is_in_a_package_of_the_list() -> None:
    homeless = [
        name
        for name in map(module_name, files(*ORDER))
        if name not in ORDER and name not in ENTRIES and place_of(name) is None
    ]
    assert homeless == []


def test_an_entry_holds_nothing_but_the_names_it_keeps() -> None:
    for name in ENTRIES:
        tree = ast.parse((ROOT / f"{name.replace('.', '/')}.py").read_text())
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)], name


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {module_name(path): imports_of(path) for path in files(*PRODUCT)}
    # A package's own file gathers the names of what is inside, which does not ask it back.
    assert circles(modules) == []


def test_every_outside_library_has_one_door() -> None:
    found = [
        opened
        for path in files(*PRODUCT)
        for opened in closed_doors(path.relative_to(ROOT).as_posix(), imports_of(path))
    ]
    assert found == []


def test_the_words_need_the_standard_library_only_and_curves_numpy() -> None:
    spelt = [ROOT / "trainer/protocol.py", *files("trainer/config")]
    outside = {
        (path.stem, i)
        for path in spelt
        for i in imports_of(path)
        if i.split(".")[0] not in sys.stdlib_module_names and not under(i, *WORDS)
    }
    assert outside == {("inherit", "numpy")}


def test_the_trainers_data_and_tasks_need_no_jax() -> None:
    ours = files("trainer/data", "trainer/tasks")
    roots = {i.split(".")[0] for path in ours for i in imports_of(path)}
    assert not roots & {"jax", "flax", "optax"}


def test_importing_the_packages_or_the_command_line_loads_nothing_heavy() -> None:
    packages = [p for p in PRODUCT if (ROOT / p / "__init__.py").exists()]
    light = [*packages, *WORDS, "studies.catalog"]
    light += [module_name(p) for p in files("orchestrator/cli", "dashboards")]
    light = [name for name in light if not name.endswith("__main__")]  # importing that would run it
    code = (
        "import importlib, sys\n"
        f"for name in {light!r}: importlib.import_module(name)\n"
        f"print(sorted({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_help_takes_under_half_a_second_of_cpu() -> None:
    def cpu_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "--help"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_s() for _ in range(3)) < 0.5  # the first may still have to compile


def test_every_file_says_first_which_question_it_answers() -> None:
    silent = [p for p in files(*ALL) if not ast.get_docstring(ast.parse(p.read_text()))]
    assert [str(p.relative_to(ROOT)) for p in silent if p.read_text().strip()] == []


def test_no_file_is_longer_than_450_lines() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in files(*ALL)}
    assert {path: n for path, n in lengths.items() if n > MOST_LINES_A_FILE} == {}


def test_no_function_is_longer_than_80_lines() -> None:
    long = {
        f"{path.relative_to(ROOT)}: {node.name}": length
        for path in files(*ALL)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and (length := node.end_lineno - node.lineno + 1) > MOST_LINES_A_FUNCTION
    }
    assert long == {}


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    named = [
        path.relative_to(ROOT)
        for path in files(*ALL)
        if NAMES_THAT_SAY_NOTHING & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    ]
    assert named == []


def test_no_key_of_a_service_is_among_the_files() -> None:
    key = re.compile(rb"(?<![\w-])orch_[\w-]{43}(?![\w-])")
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT, check=True).stdout
    paths = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    assert [str(p) for p in paths if p.is_file() and key.search(p.read_bytes())] == []


# -- the checks themselves -------------------------------------------------------------------------------


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "import a.b, c\n"
        "from orchestrator.study import spec\n"
        "from orchestrator.study.spec import Arm\n"
        "def f():\n"
        "    import ray\n"
        "    importlib.import_module('optuna')\n"
        "if TYPE_CHECKING:\n"
        "    from . import base\n"
    )
    assert imported(source, package="orchestrator.search") == {
        "a.b",
        "c",
        "orchestrator.study.spec",
        "ray",
        "optuna",
        "orchestrator.search.base",
    }


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("trainer.training.loop", "orchestrator.study.spec"),
        ("orchestrator.engine.tick", "trainer.training.loop"),
        ("orchestrator.engine.tick", "trainer"),
        ("orchestrator.engine.tick", "studies.catalog"),
        ("orchestrator.engine.tick", "dashboards.evidence.frames"),
        ("orchestrator.engine.tick", "orchestrator.service.host"),
        ("orchestrator.ledger.sql", "orchestrator.cli.study"),
        ("orchestrator.cli.study", "trainer.training.loop"),
        ("orchestrator.cli.study", "tests.conftest"),
        ("studies.catalog", "orchestrator.study.plan"),
        ("studies.catalog", "trainer.config"),
        ("studies.catalog", "dashboards.evidence.frames"),
        ("dashboards.evidence.frames", "studies.catalog"),
        ("dashboards.evidence.frames", "dashboards.web.routes"),
        ("orchestrator.ledger.base", "orchestrator.runs.contract"),
        ("orchestrator.service.host", "dashboards.evidence.frames"),
        ("trainer.models.layers", "trainer.training.step"),
        ("trainer.run", "orchestrator.study.spec"),
        ("dashboards.evidence.frames", "orchestrator.api.routes"),
        ("orchestrator.cli.study", "orchestrator.testing.searchers"),
        ("dashboards.evidence.frames", "orchestrator.testing.searchers"),
    ],
)
def test_a_forbidden_import_is_noticed(name: str, other: str) -> None:
    assert list(trespasses(name, {other})) == [f"{name} imports {other}"]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("trainer.training.loop", "trainer.training.step"),
        ("orchestrator.engine.tick", "trainer.protocol"),
        ("orchestrator.engine.tick", "orchestrator.ledger.base"),
        ("orchestrator.cli.study", "studies.catalog"),
        ("orchestrator.cli.study", "orchestrator.service.host"),
        ("studies.catalog", "orchestrator.study.spec"),
        ("dashboards.evidence.frames", "orchestrator.ledger.base"),
        ("orchestrator.engine.tick", "json"),
        ("orchestrator.backends.tune", "orchestrator.entrypoints.tune"),
        ("orchestrator.api.results", "dashboards.report.answer"),
    ],
)
def test_an_allowed_import_is_allowed(name: str, other: str) -> None:
    assert list(trespasses(name, {other})) == []


def test_a_circle_is_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"e"}}) == [["a", "b", "c"], ["e"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("path", "library"),
    [
        ("orchestrator/engine/tick.py", "ray"),
        ("orchestrator/backends/ray.py", "optuna"),
        ("orchestrator/ledger/memory.py", "sqlalchemy"),
        ("orchestrator/runs/worker.py", "jax"),
        ("orchestrator/search/drawn.py", "pytest"),
        ("trainer/training/loop.py", "pydantic"),
    ],
)
def test_a_library_at_another_door_is_noticed(path: str, library: str) -> None:
    assert list(closed_doors(path, {f"{library}.inner"})) == [f"{path} imports {library}"]


def test_a_library_at_its_own_door_passes() -> None:
    assert list(closed_doors("orchestrator/backends/ray.py", {"ray", "ray.util"})) == []
    assert list(closed_doors("orchestrator/ledger/sql_postgres.py", {"sqlalchemy"})) == []
