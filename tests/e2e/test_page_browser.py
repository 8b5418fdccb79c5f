"""Does the page work in a real browser, on a real `orch serve`: create, watch, look closer, steer, sign out,
with nothing on the console?"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ground.clock import SystemClock
from orchestrator.ground.keys import digest, new_secret
from orchestrator.ledger import open_ledger
from orchestrator.ledger.records import Role, Token
from orchestrator.service import creation
from tests.e2e import rehearsing
from tests.faults.world import small_study

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

STUDY = "beta1-inits-smoke"
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service without studies, whose workers run what is created."""
    with rehearsing.serving(tmp_path_factory.mktemp("page"), "--open") as address:
        yield address.rstrip("/")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    expect.set_options(timeout=WAIT_MS)
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh page; an error or a warning on its console, or an answer from 400, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda m: m.type in ("error", "warning") and said.append(m.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on(
        "response", lambda answer: answer.status >= 400 and said.append(f"{answer.status} {answer.url}")
    )
    opened.set_default_timeout(WAIT_MS)
    yield opened
    context.close()
    assert said == []


def test_a_study_is_created_watched_and_looked_into_without_reloading(server: str, page: Any) -> None:
    page.goto(server)
    page.get_by_text("There is no study yet.").wait_for()
    page.get_by_role("link", name="New study").first.click()
    page.get_by_role("radio", name=re.compile("beta1-inits")).check()
    page.get_by_label("Size").select_option("smoke")
    page.get_by_text("Override the base config").click()
    page.locator("[name=set]").fill("rehearsal.pace_s = 0.005")  # 40 steps: 0.2 s a run
    button = page.get_by_role("button", name=re.compile(r"Create and start \d+ runs"))
    button.wait_for()
    (planned,) = re.findall(r"\d+", button.inner_text())
    assert "chip-hours" in page.locator("#plan").inner_text()
    button.click()

    page.wait_for_url("**/studies/*")
    page.evaluate("window.loadedOnce = true")
    before = page.locator("#ended").inner_text()
    expect(page.locator("#ended")).not_to_have_text(before)
    page.locator("#pulse[data-state=live]").wait_for()
    expect(page.locator("#ended")).to_have_text(planned)
    page.locator(".now .badge.completed").wait_for()
    assert page.evaluate("window.loadedOnce")  # all of that without a reload

    anytime = page.locator("#figure-anytime .plot").first
    anytime.scroll_into_view_if_needed()
    anytime.locator("text=chip-hours").first.wait_for()
    page.get_by_role("radio", name="runs", exact=True).check(force=True)
    anytime.locator(".xtitle", has_text=re.compile("^runs$")).wait_for()

    heading = page.get_by_role("link", name="run time", exact=True)
    heading.click()
    page.locator("th[aria-sort=ascending]", has_text="run time").wait_for()
    for trial in ("base.0.0", "guided-beta1-from-0-1.0.0"):
        page.get_by_role("checkbox", name=f"Compare {trial}", exact=True).focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Compare").press("Enter")
    page.wait_for_url("**/compare?trial=*&trial=*")
    page.locator("#figure-compared path.js-line").nth(1).wait_for()
    page.go_back()
    page.locator("#trials-scroll tbody a", has_text="guided-beta1-from-0-1.0.0").first.click()
    page.wait_for_url("**/trials/*")
    trajectory = page.get_by_role("img", name="Hyperparameters over training: β1")
    trajectory.scroll_into_view_if_needed()
    trajectory.locator("path.js-line").wait_for()  # a line that rises or falls: a level one has no height
    page.locator("#figure-learning path.js-line").first.wait_for()


def test_a_study_is_steered_extended_and_deleted_once_one_is_sure(server: str, page: Any) -> None:
    page.goto(f"{server}/new?preset=eta-sweep")
    page.get_by_label("Size").select_option("smoke")
    page.get_by_label("Replicates").fill("2")
    page.get_by_text("Override the base config").click()
    page.locator("[name=set]").fill("rehearsal.pace_s = 0.05")  # slow enough to be steered
    page.get_by_role("button", name=re.compile(r"Create and start \d+ runs")).click()
    page.wait_for_url("**/studies/*")
    page.get_by_role("button", name="Pause").click()
    page.locator(".now .badge.paused").wait_for()

    page.get_by_role("button", name="Add trials…").click()
    dialog = page.get_by_role("dialog", name="Add trials")
    offered = dialog.get_by_role("option").all_inner_texts()
    assert "guided-alpha" not in offered  # a grid
    dialog.get_by_label("Arm").select_option("confirm-base")
    dialog.get_by_label("More trials").fill("3")
    expect(dialog).to_contain_text("This adds 3 runs in each of 2 replicates, 6 in all")
    dialog.get_by_role("button", name="Add").click()
    page.get_by_text("extend confirm-base 3").wait_for()  # as what people asked for
    page.get_by_text("of 20", exact=True).wait_for()  # 14 were planned

    page.get_by_role("button", name="Resume").click()
    page.locator(".now .badge.running").wait_for()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Keep running").click()
    assert page.locator(".now .badge.running").count() == 1
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Yes, cancel").click()
    page.locator(".now .badge.cancelled").wait_for()
    assert page.get_by_role("button", name="Pause").count() == 0

    page.get_by_role("button", name="Delete…").click()  # there once its last run has stopped
    page.get_by_role("button", name="Yes, delete").click()
    page.wait_for_url(f"{server}/")
    page.get_by_role("heading", name="Studies").wait_for()
    assert page.get_by_role("link", name="eta-sweep-smoke").count() == 0


def test_what_cannot_be_run_is_said_beside_its_field(server: str, page: Any) -> None:
    page.goto(f"{server}/new")
    card = page.locator("label.start")
    expect(card).to_contain_text("Start here")
    expect(card.get_by_role("radio")).to_be_checked()
    create = page.locator("#create")
    for label, given, sentence in (
        ("Trials", "-3", "Trials must be at least 1."),
        ("Replicates", "1001", "Replicates must be at most 1000."),
        ("Languages", "german", "Languages must be two codes joined by a hyphen, such as de-en."),
    ):
        field = page.get_by_label(label)
        field.fill(given)
        page.get_by_text(sentence).wait_for()
        beside = page.locator(f"#{field.get_attribute('aria-describedby')}")
        expect(beside).to_have_text(sentence)
        expect(create).to_be_disabled()
        field.fill("")
        expect(beside).to_be_hidden()
        expect(create).to_be_enabled()


def test_a_reader_signs_in_sees_no_button_that_steers_and_signs_out(tmp_path: Path, page: Any) -> None:
    secret = new_secret()
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.add_token(Token("ada", digest(secret), Role.READ, created_at=1.0))
    creation.create(ledger, small_study(), clock=SystemClock())
    ledger.close()
    with rehearsing.serving(tmp_path, "--api-only") as link:
        address = link.partition("/login")[0]
        page.goto(f"{address}/studies/small")
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/studies/small")
        page.get_by_text("read only").wait_for()
        assert page.get_by_role("button").all_inner_texts() == ["Sign out"]
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login*")
        page.goto(f"{address}/studies/small")
        page.wait_for_url("**/login?next=*")
        page.goto("about:blank")  # or the service would wait for its streams


def test_the_printed_link_signs_a_browser_in_and_signing_out_is_for_good(tmp_path: Path, page: Any) -> None:
    with rehearsing.serving(tmp_path, "--api-only") as link:
        page.goto(link)
        page.get_by_text("There is no study yet.").wait_for()
        assert "key" not in page.url
        cookies = page.context.cookies()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login*")
        page.get_by_text("orch token link --server").first.wait_for()
        page.context.add_cookies(cookies)  # as whoever copied them would
        page.goto(link.partition("/login")[0])
        page.wait_for_url("**/login?next=*")
        page.goto("about:blank")


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_the_window(server: str, page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    trial = f"/trials/{STUDY}.base.0.0"
    compared = f"/studies/{STUDY}/compare?trial=base.0.0"
    for path in ("/", "/new", "/login", f"/studies/{STUDY}", trial, compared):
        page.goto(server + path)
        assert page.evaluate("document.documentElement.scrollWidth") == width, path
        if path in ("/", trial) and width < 600:  # the rows are stacked: nothing is cut on the right
            cut = "[...document.querySelectorAll('.scroll')].some((e) => e.scrollWidth > e.clientWidth)"
            assert not page.evaluate(cut), path
