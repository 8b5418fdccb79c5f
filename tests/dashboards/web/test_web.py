"""Do the live page's routes show what the ledger holds, safely, to those who may see it?"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from markupsafe import escape

from dashboards.report import ink
from dashboards.web import routes, words
from dashboards.web.study import Kept
from orchestrator.ground.errors import LedgerBusy
from orchestrator.ledger import Store
from orchestrator.ledger.records import StudyState
from orchestrator.runs.contract import Ended
from orchestrator.runs.folders import Journal
from orchestrator.runs.output import OUTPUT
from tests.dashboards.asgi import Answer, get
from tests.dashboards.ledgers import FAILED, Run, diverged, ledger, runs, searched, spec
from tests.faults.world import created, small_study, world
from trainer.protocol import Outcome

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
PRESETS = [routes.Preset("bo-vs-guided", "Which is better?", ("smoke", "quick"))]


def served(store: Store, *, role: str | None = "admin", **more: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(routes.router(store, presets=PRESETS, slots=2, role_of=lambda _: role, **more))
    return app


def filled(**changes: Any) -> Store:
    """A study whose searches have ended; the guided runs say two steps each."""
    results = searched()
    said = [
        (10, "eval", {"loss": 1.0, "train_loss": 1.1}, {"alpha": 1.2}),
        (20, "eval", {"loss": 0.8, "train_loss": 0.9}, {"alpha": 1.4}),
    ]
    results["guided"] = [Run(run.value, point=run.point, said=said) for run in results["guided"]]
    return ledger(spec(**changes.pop("spec", {})), results, **changes)


def regions(html: str) -> set[str]:
    return set(re.findall(r'data-region="([a-z]+)"', html))


def drawings(html: str) -> tuple[str, dict[str, Any]]:
    found = re.search(r'id="drawings" data-version="(\w+)">(.*?)</script>', html, re.S)
    assert found is not None
    return found[1], json.loads(found[2])


def trials(answer: Answer) -> list[str]:
    """The names in the table of trials, as they stand."""
    return re.findall(r'id="trial-s1\.([\w.-]+)"', answer.text)


# -- what is shown -----------------------------------------------------------------------------------------
def test_without_a_study_the_page_says_how_to_begin() -> None:
    app = served(world(Path("unused")).store)
    text = get(app, "/").text
    assert "There is no study yet." in text
    assert "orch study create bo-vs-guided --size smoke" in text
    assert 'href="/new"' in text


def test_the_list_shows_progress_best_and_spend() -> None:
    text = get(served(filled(state=StudyState.RUNNING)), "/").text
    assert 'href="/studies/synthetic"' in text
    assert "<span>8 / 26</span>" in text  # 1 + 4 + 3 of the searches, and 18 confirmations asked for
    assert "8 of 26 runs ended: 8 completed" in text
    assert "0.70000" in text  # the best of the search
    assert "8.00 h" in text


def test_the_list_shows_the_answer_of_a_study_that_has_completed() -> None:
    running = get(served(filled(state=StudyState.RUNNING)), "/").text
    assert 'class="answered' not in running
    won = ledger(spec(), {**searched(), "confirm-bo": runs(*[0.80] * 6), "confirm-guided": runs(*[0.60] * 6)})
    assert '<span class="answered supported">supported</span>' in get(served(won), "/").text


def test_the_list_can_be_narrowed_to_a_state() -> None:
    app = served(filled(state=StudyState.PAUSED))
    assert 'href="/studies/synthetic"' in get(app, "/?state=paused").text
    running = get(app, "/?state=running").text
    assert 'href="/studies/synthetic"' not in running
    assert "No study is running." in running
    assert 'href="/studies/synthetic"' in get(app, "/?state=nonsense&start=-4").text


def test_a_study_s_page_has_the_verdict_the_table_the_curve_the_arms_and_the_trials() -> None:
    text = get(served(filled(state=StudyState.RUNNING, spec={"confirmations": 5})), "/studies/synthetic").text
    for title in ("No verdict yet", "Best loss so far against cost", "Arms", "Trials"):
        assert title in text
    for unit in ("chip-hours", "runs", "steps", "run-hours"):
        assert f'value="{unit}"' in text
    assert "The study is waiting. The claim is judged once all of its runs have ended." in text
    assert "<summary>too few seeds</summary>" in text  # five
    assert len(trials(Answer(200, {}, text.encode()))) == 8
    assert get(served(filled()), "/studies/s1").status == 200  # by its id too


def test_a_trial_s_page_has_its_curves_attempts_and_log() -> None:
    text = get(served(filled()), "/trials/synthetic.guided.0.1").text
    _, drawn = drawings(text)
    (alpha,) = drawn["trajectories"]
    assert alpha["data"][0]["x"] == [0, 10, 20]
    assert alpha["data"][0]["y"] == [1.0, 1.2, 1.4]  # from the configuration's start
    losses = {trace["name"]: trace["y"] for trace in drawn["learning"][0]["data"]}
    assert losses == {"loss": [1.0, 0.8], "train_loss": [1.1, 0.9]}
    assert "loss 0.8, train_loss 0.9, alpha 1.4" in text
    assert 'href="/api/v1/trials/s1.guided.0.1/logs"' in text


def test_a_trial_s_page_has_the_end_of_its_output_and_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "s1" / "s1.guided.0.1" / "attempt-1"
    folder.mkdir(parents=True)
    app = served(filled(), runs=tmp_path)
    assert "Nothing printed so far." in get(app, "/trials/s1.guided.0.1").text
    (folder / "model.pt").write_bytes(b"1")
    Journal(folder).end(Ended("outcome", outcome=Outcome("completed", files=("model.pt", "../secret"))))
    lines = [f"line {i}" for i in range(400)]
    (folder / OUTPUT).write_text("\n".join([*lines, f"\x1b[1m{EVIL}\x1b[0m"]))
    for path in ("/trials/s1.guided.0.1", "/trials/s1.guided.0.1/live"):
        text = get(app, path).text
        shown = re.search(r'id="output-scroll".*?<code>(.*?)</code>', text, re.S)
        assert shown is not None
        assert shown[1].split("\n") == [*lines[-199:], str(escape(EVIL))]
        assert "The last 200 lines that attempt 1 printed" in text
        assert 'href="/api/v1/trials/s1.guided.0.1/output?format=text&amp;attempt=1"' in text
        assert 'href="/api/v1/trials/s1.guided.0.1/artifacts/model.pt" download' in text
        assert "secret" not in text


def test_a_trial_that_failed_shows_why_and_can_be_tried_again() -> None:
    results = {**searched(), "guided": [*searched()["guided"][:2], FAILED]}
    store = ledger(spec(), results)
    assert 'data-ask="/api/v1/trials/s1.guided.0.2/retry"' in get(served(store), "/trials/s1.guided.0.2").text
    assert "data-ask" not in get(served(store), "/trials/s1.guided.0.1").text
    assert "data-ask" not in get(served(store, role="read"), "/trials/s1.guided.0.2").text


def test_trials_are_sorted_by_number_and_those_without_one_come_last() -> None:
    results = {**searched(), "bo": [Run(10.0), Run(9.0), diverged(), Run(0.5)]}
    app = served(ledger(spec(), results))
    up = trials(get(app, "/studies/s1?arm=bo&sort=value"))
    assert up == ["bo.0.3", "bo.0.1", "bo.0.0", "bo.0.2"]
    down = get(app, "/studies/s1?arm=bo&sort=-value")
    assert trials(down) == ["bo.0.0", "bo.0.1", "bo.0.3", "bo.0.2"]
    assert re.findall(r'aria-sort="(\w+)"><a id="by-(\w+)"', down.text) == [("descending", "value")]
    assert trials(get(app, "/studies/s1?state=diverged")) == ["bo.0.2"]
    plain = trials(get(app, "/studies/s1"))
    assert plain[0] == "base.0.0"
    assert trials(get(app, "/studies/s1?sort=nonsense&start=x&state=no")) == plain


def test_the_new_page_offers_the_presets_it_was_given() -> None:
    text = get(served(filled()), "/new").text
    assert 'value="bo-vs-guided" data-sizes="smoke quick" checked' in text
    assert "Which is better?" in text


# -- what changes ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", ["/", "/studies/s1", "/trials/s1.guided.0.1"])
def test_a_fragment_has_every_part_of_its_page_that_changes(page: str) -> None:
    app = served(filled())
    whole, live = get(app, page).text, get(app, f"{page.rstrip('/')}/live").text
    assert regions(live) == regions(whole) != set()
    assert f'data-live="{page.rstrip("/")}/live"' in whole
    assert "<html" not in live


@pytest.mark.parametrize("page", ["/studies/s1", "/trials/s1.guided.0.1"])
def test_figures_are_sent_again_only_when_they_changed(page: str) -> None:
    app = served(filled())
    version, _ = drawings(get(app, page).text)
    assert 'id="drawings"' not in get(app, f"{page}/live?figures={version}").text
    assert drawings(get(app, f"{page}/live?figures=0").text)[0] == version


def test_a_number_moves_when_the_study_does(tmp_path: Path) -> None:
    place = world(tmp_path)
    created(place, small_study())
    app, engine = served(place.store), place.engine()
    before = get(app, "/studies/s1/live").text
    assert '<span id="ended">0</span>' in before
    place.drive(engine, "s1")
    after = get(app, "/studies/s1/live").text
    assert '<span id="ended">0</span>' not in after
    assert drawings(before)[0] != drawings(after)[0]
    assert drawings(after)[1]["anytime"]


def test_buttons_are_those_that_the_state_and_the_role_allow() -> None:
    def buttons(state: StudyState, role: str) -> list[str]:
        return re.findall(
            r'data-verb="(\w+)"', get(served(filled(state=state), role=role), "/studies/s1").text
        )

    assert buttons(StudyState.RUNNING, "run") == ["pause", "drain", "cancel"]
    assert buttons(StudyState.PAUSED, "admin") == ["resume", "cancel"]
    assert buttons(StudyState.DRAINED, "run") == ["resume", "cancel"]  # nothing runs that could be paused
    assert buttons(StudyState.COMPLETED, "admin") == ["delete"]
    assert buttons(StudyState.CANCELLED, "run") == []  # to delete takes an admin
    assert buttons(StudyState.RUNNING, "read") == []


def test_a_study_is_deleted_by_another_verb_and_left_for_the_list() -> None:
    (button,) = re.findall(r'<button[^>]*data-verb="delete"[^>]*>', get(served(filled()), "/studies/s1").text)
    assert 'data-ask="/api/v1/studies/s1"' in button
    assert 'data-method="DELETE"' in button
    assert 'data-then="/"' in button
    assert "data-sure=" in button


def test_trials_can_be_added_to_arms_that_are_open_and_cost_what_their_runs_took() -> None:
    def offered(store: Store, **more: Any) -> dict[str, tuple[str, ...]]:
        found = r'<option data-replicates="(\d+)" data-most="(\d+)"[^>]*data-hours="([\d.]*)">([\w-]+)<'
        text = get(served(store, **more), "/studies/s1").text
        assert ("ask-extend" in text) == ('id="extend"' in text)
        return {arm: rest for *rest, arm in re.findall(found, text)}

    waiting = {"confirm-base": ["1", "994", ""], "confirm-bo": ["1", "994", ""]}
    open_ones = {
        "base": ["1", "999999", "1.0"],
        "bo": ["1", "999994", "2.0"],  # four, and two that were added before
        **waiting,
        "confirm-guided": ["1", "994", ""],
    }
    slow = searched(bo_hours=2.0)
    assert offered(ledger(spec(), slow, added={"bo": 2})) == open_ones  # guided is a grid
    begun = ledger(spec(), {**slow, "confirm-bo": runs(0.8)})
    assert "bo" not in offered(begun)
    assert offered(filled(state=StudyState.CANCELLED)) == {}
    assert offered(filled(), role="read") == {}


def test_who_came_with_a_token_can_sign_out_and_a_reader_is_told_so() -> None:
    assert "Sign out" not in get(served(filled()), "/").text
    text = get(served(filled(), role="read", signed_in=lambda _: True), "/").text
    assert 'id="sign-out"' in text
    assert "read only" in text
    assert "Sign out" not in get(served(filled(), role=None, signed_in=lambda _: True), "/login").text


def test_what_was_asked_for_is_shown_until_it_is_answered() -> None:
    store = filled(state=StudyState.RUNNING)
    store.wish("s1", "pause", {}, asked_at=1.0, asked_by="ann")
    text = get(served(store), "/studies/s1").text
    assert "pause requested, not yet done" in text
    assert "ann" in text


# -- safety ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", ["/", "/studies/s1", "/trials/s1.guided.0.1", "/new", "/login"])
def test_no_page_holds_a_script_or_a_style_that_its_policy_refuses(page: str) -> None:
    answer = get(served(filled()), page)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    scripts = re.findall(r"<script([^>]*)>", answer.text)
    assert all("src=" in script or 'type="application/json"' in script for script in scripts)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|https?://", answer.text)


@pytest.mark.fault(26)
def test_words_of_the_ledger_cannot_become_markup() -> None:
    study = spec(question=EVIL)
    arms = [{**arm.model_dump(), "row": f"{EVIL}{arm.row}"} for arm in study.arms]
    app = served(filled(spec={"question": EVIL, "arms": arms}))
    for page in ("/", "/studies/s1", "/studies/s1/live", "/trials/s1.guided.0.1"):
        text = get(app, page).text
        assert "<script>alert" not in text
        assert "<img" not in text
    _, drawn = drawings(get(app, "/studies/s1").text)  # whole: no text in it ended the element
    assert any(EVIL in trace["name"] for trace in drawn["anytime"][0]["data"])


def test_what_stands_in_an_address_cannot_become_markup() -> None:
    app = served(filled())
    for page in (
        f"/studies/s1?arm={quote(EVIL)}",
        f"/studies/{quote(EVIL, safe='')}",
        f"/new?preset={quote(EVIL)}",
    ):
        assert "<script>alert" not in get(app, page).text


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("/studies/synthetik", "synthetic"),
        ("/trials/s1.guided.0.99", "s1.guided.0.99"),
        ("/trials/none", "none"),
    ],
)
def test_what_is_not_there_is_a_page_of_its_own(page: str, why: str) -> None:
    answer = get(served(filled()), page)
    assert answer.status == 404
    assert "Not found" in answer.text
    assert why in answer.text


def test_a_ledger_that_does_not_answer_is_told_and_asked_again_later() -> None:
    class Busy:
        def study(self, name: str) -> Any:
            raise LedgerBusy("The ledger is locked by somebody else.")

    answer = get(served(Busy()), "/studies/s1")  # type: ignore[arg-type]
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert "locked by somebody else" in answer.text


@pytest.mark.parametrize("page", ["/", "/studies/s1/live", "/login", "/trials/s1.guided.0.1/mlflow"])
def test_a_ledger_that_cannot_say_who_looks_is_told_too(page: str) -> None:
    def away(_: Any) -> str:
        raise LedgerBusy("The ledger is locked by somebody else.")

    app = FastAPI()
    app.include_router(routes.router(filled(), presets=PRESETS, slots=2, role_of=away))
    answer = get(app, page)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert "The ledger does not answer" in answer.text
    assert "locked by somebody else" in answer.text
    assert "Sign out" not in answer.text


def test_the_sign_in_form_keeps_the_token_out_of_addresses() -> None:
    form = re.search(r"<form id=\"login\"[^>]*>", get(served(filled(), role=None), "/login").text)
    assert form is not None
    assert 'method="post" action="/session"' in form[0]


def test_signing_in_asks_for_a_token_only_where_one_is_needed() -> None:
    open_to_all = get(served(filled()), "/login").text
    assert "This service asks for no token" in open_to_all
    assert "<form id" not in open_to_all
    for asked in (served(filled(), role=None), served(filled(), signed_in=lambda _: True)):
        assert '<form id="login"' in get(asked, "/login").text


def test_somebody_unknown_is_sent_to_sign_in_and_back() -> None:
    app = served(filled(), role=None)
    answer = get(app, "/studies/s1?sort=-value")
    assert (answer.status, answer.headers["location"]) == (303, "/login?next=%2Fstudies%2Fs1%3Fsort%3D-value")
    assert get(app, "/studies/s1/live").status == 401
    assert get(app, "/login").status == 200
    assert get(app, "/static/page.js").status == 200


# -- files and links ---------------------------------------------------------------------------------------
def test_files_are_kept_by_browsers_under_an_address_that_changes_with_them() -> None:
    app = served(filled())
    text = get(app, "/studies/s1").text
    addresses = re.findall(r'"(/static/[^"]+)"', text)
    assert {a.partition("?")[0] for a in addresses} >= {
        "/static/page.js",
        "/static/page.css",
        "/static/plotly.min.js",
    }
    for address in addresses:
        whole = get(app, address)
        assert "immutable" in whole.headers["cache-control"]
        packed = get(app, address, accept_encoding="gzip")
        assert gzip.decompress(packed.body) == whole.body
        assert get(app, address, if_none_match=whole.headers["etag"]).status == 304
        assert get(app, address.partition("?")[0]).headers["cache-control"] == "no-cache"
    assert get(app, "/static/..%2Fweb.py").status == 404
    assert get(app, "/static/web.py").status == 404


def test_every_style_that_plotly_would_add_has_its_place_taken() -> None:
    script = ink.plotly_script()
    ids = ink.plotly_styles(script)
    assert len(ids) == script.count('createElement("style")')
    text = get(served(filled()), "/studies/s1").text
    assert all(f'<meta id="{each}"' in text for each in ids)


# -- words -------------------------------------------------------------------------------------------------
def test_numbers_are_spelt_alike() -> None:
    assert [words.digits(v) for v in (2.0, 12.3456789, 12345.0, None)] == [
        "2.0000",
        "12.346",
        "12345",
        "–",
    ]
    assert [words.duration(h) for h in (7.1, 0.5, 0.0005, 1234.5, 0.0)] == [
        "7.10 h", "30.0 min", "1.80 s", "1,234 h", "0 s",
    ]  # fmt: skip
    assert [words.stopwatch(s) for s in (7, 760, 11100)] == ["0:07", "12:40", "3:05:00"]
    assert words.point({"optimizer.alpha": 1.5, "guidance.eta": 0.01}) == "α 1.5, η̂ 0.01"
    assert words.point({}) == "–"


def test_runs_of_an_arm_are_counted_in_its_bar() -> None:
    text = get(served(ledger(spec(), {"base": runs(1.0), "bo": [Run(1.0), diverged()]})), "/studies/s1").text
    assert "2 of 4 runs ended: 1 completed, 1 diverged" in text


# -- what need not be read twice ---------------------------------------------------------------------------
def test_a_value_is_made_again_for_a_new_version_but_rests_in_between() -> None:
    clock = [0.0]
    kept: Kept[int] = Kept(2, now=lambda: clock[0])
    made: list[int] = []

    def make() -> int:
        clock[0] += 1.0  # it takes a second, so it rests for ten
        made.append(len(made))
        return made[-1]

    assert [kept.get("a", 1, make), kept.get("a", 1, make)] == [0, 0]
    assert kept.get("a", 2, make, at_once=False) == 0
    clock[0] = 10.9
    assert kept.get("a", 2, make, at_once=False) == 0
    clock[0] = 11.0
    assert kept.get("a", 2, make, at_once=False) == 1
    assert kept.get("a", 3, make) == 2
    for name in ("b", "c"):
        kept.get(name, 1, make)
    assert kept.get("a", 3, make) == 5  # it was the oldest of three, and two are kept
