"""Does /docs show what the API takes, in a real browser, with files of this machine alone?"""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from tests.orchestrator.api.conftest import Make

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT_MS = 60_000


@pytest.fixture
def address(make: Make) -> Iterator[str]:
    """A service that asks for a token, on a port of this machine."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    server = uvicorn.Server(uvicorn.Config(make().ask.app, log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_page_and_its_files_want_no_token_and_load_nothing_from_elsewhere(make: Make) -> None:
    ask = make().anybody
    page = ask("GET", "/docs")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = page.body.decode()
    assert not re.search(r"<script(?![^>]*src=)|<style|style=|://", text)  # nothing in the page itself
    loaded = re.findall(r'(?:src|href)="(/[^"]*)"', text)
    assert len(loaded) == 3
    for path in (*loaded, "/api/v1/openapi.json"):
        said = ask("GET", path)
        assert (said.status, said.headers["x-content-type-options"]) == (200, "nosniff")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    for name in ("nothing.js", "..%2fcore.py", "favicon.png"):
        assert ask("GET", f"/docs/{name}").status == 404


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_shows_the_operations_and_says_nothing_on_its_console(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    said: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and said.append(m.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: r.url.startswith((address, "data:")) or said.append(r.url))
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{address}/docs")
        operation = page.locator("#operations-studies-create_study")
        operation.get_by_text("Create a study").wait_for()
        operation.locator(".opblock-summary-control").click()
        operation.get_by_text('"eta-sweep"').first.wait_for()  # the body's example
        browser.close()
    assert said == []
