"""Does the answer stand on the first screen of a real browser, on the live page and in the report's file, on
a desk and on a phone, with nothing on the console?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.report import answer, files
from orchestrator.ledger import open_ledger
from tests.dashboards.ledgers import Run, fill, repeated, runs, searched, spec
from tests.e2e import rehearsing

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

WAIT_MS = 60_000
BO = [0.10, 0.11, 0.12, 0.13, 0.10, 0.11]
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
FIRST_ROWS = 3


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of one study that has ended: its live page, and its report."""
    home = tmp_path_factory.mktemp("first")
    named = ("a row with a rather long name of its own", "replay", "constant = mean", "matched decay")
    more = [repeated(f"more-{i}", name, column="alpha", phase="control") for i, name in enumerate(named)]
    study = spec(entrypoint="trainer.run", more_arms=more)
    losses = {"guided": [2 * v for v in BO], "bo": BO, "base": [3 * v for v in BO]}
    said = [(20, "eval", {"loss": 0.9}, {"alpha": 0.9}), (40, "eval", {"loss": 0.7}, {"alpha": 0.8})]
    results = {
        **searched(),
        "guided": [Run(r.value, point=r.point, said=said) for r in searched()["guided"]],
        **{f"confirm-{arm}": runs(*values) for arm, values in losses.items()},
        **{f"more-{i}": runs(*((1.2 + i / 5) * v for v in BO), hours=1 + i / 9) for i in range(len(named))},
    }
    ledger = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    fill(ledger, study, results)
    report = files.write(answer.gather(ledger, "s1", slots=2), home / "report")
    ledger.close()
    with rehearsing.serving(Path(home), "--api-only", "--open") as address:
        yield {"live": f"{address.rstrip('/')}/studies/synthetic", "report": report.as_uri()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def pages(browser: Any) -> Iterator[Any]:
    """Opens a page of that size; an error or a warning on a console fails the test."""
    said: list[str] = []
    contexts = []

    def opened(address: str, size: dict[str, int], scheme: str = "light") -> Any:
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and said.append(m.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.set_default_timeout(WAIT_MS)
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


@pytest.mark.parametrize(("where", "scheme"), [("live", "light"), ("report", "dark")])
def test_the_answer_is_within_the_window_without_scrolling(
    addresses: dict[str, str], pages: Any, where: str, scheme: str
) -> None:
    page = pages(addresses[where], DESK, scheme)
    page.locator("#figure-pairs .points path").first.wait_for()
    page.locator("#figure-tradeoff .annotation-text").first.wait_for()
    parts = {
        "headline": "#verdict",
        "strip": "#answer .facts",
        "left": "#figure-pairs .plot",
        "right": "#figure-tradeoff .plot",
        **{f"row {i}": f"#answer .answer-table tbody tr >> nth={i}" for i in range(FIRST_ROWS)},
    }
    boxes = {name: page.locator(at).bounding_box() for name, at in parts.items()}
    for name, box in boxes.items():
        assert box is not None, name
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= DESK["width"], name
        assert box["y"] + box["height"] <= DESK["height"], name
    assert boxes["left"]["x"] + boxes["left"]["width"] <= boxes["right"]["x"]
    assert boxes["left"]["y"] + boxes["left"]["height"] <= boxes["strip"]["y"] < boxes["row 0"]["y"]
    assert "did not beat BO" in page.locator("#verdict").inner_text()
    assert page.evaluate("getComputedStyle(document.getElementById('verdict')).fontSize") == "32px"
    labels = page.locator("#figure-tradeoff .annotation-text").all_text_contents()
    assert {"BO", "guided", "base"} <= set(labels)


@pytest.mark.parametrize("where", ["live", "report"])
def test_a_phone_shows_headline_strip_plot_and_table_and_does_not_scroll_sideways(
    addresses: dict[str, str], pages: Any, where: str
) -> None:
    page = pages(addresses[where], PHONE)
    page.locator("#figure-pairs .points path").first.wait_for()
    order = ["#verdict", "#answer .facts", "#figure-pairs .plot", "#answer .answer-table"]
    tops = [page.locator(at).bounding_box()["y"] for at in order]
    assert tops == sorted(tops)
    for summary in page.locator("details.fold > summary").all():  # whatever is opened
        if not summary.evaluate("summary => summary.parentElement.open"):
            summary.click()
    height = page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height, 800):  # figures are drawn as they come into sight
        page.evaluate("top => window.scrollTo(0, top)", top)
        page.wait_for_function("new Promise((done) => requestAnimationFrame(() => done(true)))")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    table = page.locator("#answer .answer-table").first
    assert table.locator("thead th").nth(1).inner_text() == "α"
    assert "run" in table.locator("tbody th .under").first.inner_text()
    scroller = page.locator("#answer .scroll").first
    scroller.evaluate("each => { each.scrollLeft = 1000; }")
    assert table.locator("tbody th").first.bounding_box()["x"] >= scroller.bounding_box()["x"]


@pytest.mark.parametrize("where", ["live", "report"])
def test_a_picture_can_be_saved(addresses: dict[str, str], pages: Any, where: str) -> None:
    page = pages(addresses[where], DESK)
    page.locator("#figure-tradeoff .annotation-text").first.wait_for()
    with page.expect_download() as waited:
        page.locator("#figure-tradeoff button.png").click()
    assert waited.value.suggested_filename == "synthetic-tradeoff.png"
    assert Path(waited.value.path()).read_bytes().startswith(b"\x89PNG")


def test_a_plot_has_room_enough_and_one_legend(addresses: dict[str, str], pages: Any) -> None:
    page = pages(addresses["report"], PHONE)
    anytime = page.locator("#figure-anytime")
    anytime.locator(".plot").first.scroll_into_view_if_needed()
    anytime.locator(".xtitle").first.wait_for()
    assert page.locator("#figure-anytime .plot g.legend").count() == 0
    assert anytime.locator("ul.legend").count() == 1
    for figure in ("pairs", "tradeoff", "anytime"):
        plot = page.locator(f"#figure-{figure} .plot").first
        plot.scroll_into_view_if_needed()
        plot.locator(".xtitle").first.wait_for()
        assert plot.evaluate("div => div._fullLayout._size.h") >= 220, figure


def test_the_report_says_so_where_a_browser_cannot_unpack_its_script(browser: Any, addresses: Any) -> None:
    page = browser.new_page()
    page.add_init_script("delete globalThis.DecompressionStream")
    page.goto(addresses["report"])
    page.get_by_text("This browser cannot unpack the script").wait_for()
    assert "did not beat BO" in page.locator("#verdict").inner_text()
    page.close()
