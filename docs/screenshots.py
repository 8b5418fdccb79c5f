"""Take the pictures in docs/images: python docs/screenshots.py HOME STUDY

HOME is an ORCH_HOME whose ledger holds the finished study STUDY. Every page is taken at 1440 and 390 pixels,
light and dark, and so is the ending of the study on a terminal of 100 and of 48 columns. Exits with 1 where a
page has a console error, or scrolls sideways.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI, TerminalTheme
from rich.text import Text

OUT = Path(__file__).parent / "images"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = {1440: 900, 390: 844}
THEMES = ("light", "dark")
COLUMNS = {1440: 100, 390: 48}
INKS = [(0, 0, 0), (190, 30, 40), (20, 120, 60), (150, 100, 0), (0, 90, 180), (140, 50, 140), (0, 120, 130)]
LIGHT = TerminalTheme((255, 255, 255), (36, 36, 36), [*INKS, (90, 90, 90)])
ORCH = [sys.executable, "-m", "orchestrator.cli"]


def ending(home: Path, study: str, columns: int) -> str:
    """What `orch study watch` of a finished study prints on a terminal, with its colours."""
    env = {
        **os.environ,
        "ORCH_HOME": str(home),
        "COLUMNS": str(columns),
        "LINES": "50",
        "TERM": "xterm-256color",
    }
    reader, writer = pty.openpty()
    with subprocess.Popen([*ORCH, "study", "watch", study], env=env, cwd=home, stdout=writer) as running:
        os.close(writer)
        told = b"".join(iter(lambda: _read(reader), b""))
        running.wait()
    os.close(reader)
    return told.decode().replace("\r\n", "\n")


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 65536)
    except OSError:  # the other end is closed
        return b""


def drawn(text: str, columns: int, theme: str) -> str:
    """Terminal output as SVG."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=columns, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(text))
        return console.export_svg(title="orch", theme=LIGHT if theme == "light" else DIMMED_MONOKAI)


@contextmanager
def served(home: Path) -> Iterator[tuple[str, str]]:
    """The address of a service on that home, and a link that logs in."""
    env = {**os.environ, "ORCH_HOME": str(home), "ORCH_WORKERS": "1"}
    command = [*ORCH, "serve", "--port", "0", "--api-only"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        link = running.stdout.readline().strip()
        try:
            yield link.partition("/login")[0], link
        finally:
            running.terminate()


def best_trial(home: Path, study: str) -> str:
    """The trial with the best value of the search, as its page's address names it."""
    env = {**os.environ, "ORCH_HOME": str(home)}
    told = subprocess.run(
        [*ORCH, "study", "show", study, "--json"], env=env, stdout=subprocess.PIPE, check=True
    )
    arms = [arm for arm in json.loads(told.stdout)["arms"] if arm["row"] == "guided" and arm["best_trial"]]
    return str(arms[-1]["best_trial"])


def photograph(browser: Browser, name: str, address: str, *, link: str = "") -> list[str]:
    """Every size and theme; what went wrong."""
    wrong: list[str] = []
    for width, height in SIZES.items():
        for theme in THEMES:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if theme == "dark" else "light",
                storage_state=link or None,
            )
            page = context.new_page()
            where = f"{name} at {width}, {theme}"
            page.on("console", lambda said, where=where: wrong.append(f"{where}: {said.text}"))
            page.on("pageerror", lambda error, where=where: wrong.append(f"{where}: {error}"))
            page.goto(address)
            page.wait_for_timeout(2500)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                wrong.append(f"{where}: {wide} pixels wide")
            page.screenshot(path=OUT / f"{name}-{width}-{theme}.png")
            context.close()
    return wrong


def main(home: Path, study: str) -> int:
    OUT.mkdir(exist_ok=True)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for width, columns in COLUMNS.items():
            text = ending(home, study, columns)
            for theme in THEMES:
                page = browser.new_page(viewport={"width": width, "height": 900})
                page.set_content(f"<body style='margin:0'>{drawn(text, columns, theme)}")
                page.locator("svg").first.screenshot(path=OUT / f"ending-{width}-{theme}.png")
                page.close()
        with served(home) as (base, link):
            login = browser.new_context()
            login.new_page().goto(link)
            state = str(Path(folder) / "state.json")
            login.storage_state(path=state)
            pages = {"list": "/", "study": f"/studies/{study}", "new": "/new"}
            pages["trial"] = f"/trials/{best_trial(home, study)}"
            for name, address in pages.items():
                wrong += photograph(browser, name, base + address, link=state)
        wrong += photograph(browser, "report", (home / "reports" / study / "report.html").as_uri())
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto((home / "reports" / study / "report.html").as_uri())
        page.wait_for_timeout(2500)
        page.locator("#figure-tradeoff").screenshot(path=OUT / "cost-against-quality.png")
        browser.close()
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2]))
