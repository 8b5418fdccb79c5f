"""How large is an installation, and how long does it take? Each on a fresh environment, with nothing cached.

    python -m benchmarks.install_size            # all rows: some 15 minutes, 12 GB of temporary disk
    python -m benchmarks.install_size base run   # those

Of the committed state of this checkout. What is printed is the table of RESULTS.md. Sizes are what pip added
to the environment, in MB of 10^6 bytes. Where packages come from is pip's own setting (PIP_INDEX_URL,
PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS; of torch for make: TORCH_INDEX).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
WANTED = {"base": "≤ 100"}
ROWS = {
    "base": "`pip install orch-studies`",
    "run": "`pip install 'orch-studies[run]'`",
    "all": "`pip install 'orch-studies[all]'`",
    "setup": "`make setup`, which `make study` begins with",
    "setup-dev": "`make setup-dev`, which `make test` begins with",
}


def called(*words: str, cwd: Path) -> None:
    subprocess.run(words, cwd=cwd, env=ENVIRONMENT, check=True, stdout=sys.stderr)


def size_mb(environment: Path) -> float:
    (site,) = (environment / "lib").glob("python3*/site-packages")
    return sum(p.lstat().st_size for p in site.rglob("*") if p.is_file() or p.is_symlink()) / 1e6


def fresh(folder: Path) -> float:
    """A new environment, and how large it is before anything is installed: pip itself."""
    venv.create(folder, with_pip=True)
    return size_mb(folder)


def installed(wheel: Path, extras: str, folder: Path) -> tuple[float, float]:
    """MB and seconds of the wheel with these extras."""
    before, begun = fresh(folder), time.monotonic()
    called(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"{wheel}{extras}", cwd=ROOT)
    return size_mb(folder) - before, time.monotonic() - begun


def made(checkout: Path, target: str) -> tuple[float, float]:
    """MB and seconds of a target of the Makefile in a fresh checkout, with all that it begins with."""
    before, begun = fresh(checkout.parent / f"{target}-empty"), time.monotonic()
    called("make", "--silent", target, f"PYTHON={sys.executable}", cwd=checkout)
    return size_mb(checkout / ".venv") - before, time.monotonic() - begun


def measured(names: list[str], folder: Path) -> dict[str, tuple[float, float]]:
    def checkout(name: str) -> Path:
        called("git", "clone", "--quiet", str(ROOT), name, cwd=folder)
        return folder / name

    called(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(checkout("source")), cwd=folder)
    (wheel,) = folder.glob("*.whl")
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "base": lambda: installed(wheel, "", folder / "base"),
        "run": lambda: installed(wheel, "[run]", folder / "run"),
        "all": lambda: installed(wheel, "[all]", folder / "all"),
        "setup": lambda: made(checkout("for-setup"), "setup"),
        "setup-dev": lambda: made(checkout("for-setup-dev"), "setup-dev"),
    }
    return {name: ways[name]() for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description="Sizes and seconds of installing.")
    parser.add_argument("rows", nargs="*", help=f"some of {', '.join(ROWS)} (default: all)")
    names = parser.parse_args().rows or list(ROWS)
    if unknown := set(names) - ROWS.keys():
        parser.error(f"There is no row {min(unknown)!r}. Allowed: {', '.join(ROWS)}.")
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="orch-install-") as folder:
        found = measured(names, Path(folder))
    cores = len(os.sched_getaffinity(0))
    print(f"Commit {commit}, {date.today()}, {platform.machine()}, {cores} cores, ", end="")
    print(f"Python {platform.python_version()}.\n\n| what | MB | wanted | seconds |\n|---|---|---|---|")
    for name, (mb, seconds) in found.items():
        print(f"| {ROWS[name]} | {mb:,.0f} | {WANTED.get(name, '')} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
