"""How are the sdist and the wheel made, and an environment in which only some extras are installed?

The packages of such an environment are links to those of this one, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path

    def metadata(self) -> Mapping[str, list[str]]:
        """The wheel's, each field with all of its values."""
        with ZipFile(self.wheel) as files:
            (name,) = (n for n in files.namelist() if n.endswith(".dist-info/METADATA"))
            fields = HeaderParser().parsestr(files.read(name).decode())
        return {name: fields.get_all(name, []) for name in set(fields)}


def build(folder: Path) -> Built:
    """The sdist of a copy of this checkout, and the wheel of what the sdist holds."""
    checkout, unpacked, out = folder / "checkout", folder / "unpacked", folder / "dist"
    out.mkdir(parents=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name)
    sdist = out / _made(checkout, "build_sdist", out)
    shutil.unpack_archive(sdist, unpacked)
    (inside,) = unpacked.iterdir()
    return Built(sdist, out / _made(inside, "build_wheel", out))


def _made(source: Path, hook: str, out: Path) -> str:
    """By the hook that pip would call."""
    code = f"import setuptools.build_meta as b; print('made', b.{hook}({str(out)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1].removeprefix("made ")


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and how to call what is in it from outside the checkout."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def orch(
        self, *words: str, cwd: Path, within_s: float = 300, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """`environ`: beside PATH and HOME; nothing else of this process's reaches it."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return subprocess.run(
            [str(self.folder / "bin" / "orch"), *words],
            cwd=cwd,
            env={**kept, **environ},
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )


def environment(folder: Path, built: Built, *extras: str) -> Environment:
    """One with the wheel, installed by pip, and the packages of the base and of these extras alone."""
    venv.create(folder, with_pip=False, symlinks=True)
    made = Environment(folder)
    pip = [sys.executable, "-m", "pip", "--python", made.python, "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(built.wheel)], check=True)
    (site,) = (folder / "lib").glob("python3*/site-packages")
    for name in packages(built.metadata()["Requires-Dist"], extras):
        for top in tops(metadata.distribution(name)):
            if not (site / top.name).exists():
                (site / top.name).symlink_to(top)
    return made


def packages(wanted: Iterable[str], extras: Iterable[str]) -> set[str]:
    """The names of all packages that these requirements lead to, with these extras."""
    found: dict[str, set[str]] = {}
    ahead = [(text, tuple(extras)) for text in wanted]
    while ahead:
        text, given = ahead.pop()
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in (*given, "")):
            continue
        name, own = canonicalize_name(requirement.name), requirement.extras | {""}
        if own <= found.get(name, set()):
            continue
        found[name] = found.get(name, set()) | own
        ahead += [(each, tuple(own)) for each in metadata.distribution(name).requires or ()]
    return set(found)


def tops(distribution: metadata.Distribution) -> Iterator[Path]:
    """The files and folders of a package directly under site-packages."""
    files = distribution.files or ()
    for name in sorted({file.parts[0] for file in files} - {"..", "__pycache__"}):
        place = Path(str(distribution.locate_file(name)))
        if place.exists() and place.suffix != ".pth":
            yield place
