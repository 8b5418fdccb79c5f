"""Can every page of the docs be found? In two steps from the README, on one shelf, by sound links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README, DOCS = ROOT / "README.md", ROOT / "docs"
INDEX = DOCS / "README.md"
PAGES = sorted(DOCS.rglob("*.md"))
LINKING = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "RESULTS.md",
    *PAGES,
]
SHELVES = ("Start", "Your model", "Understand", "Operate")


def prose(page: Path) -> str:
    """A page without its fenced code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def links(text: str, page: Path) -> Iterator[tuple[Path, str]]:
    """The files that a text links to, with their anchors, if any; addresses on the web are left out."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield ((page.parent / path).resolve() if path else page), anchor


def anchor_of(heading: str) -> str:
    shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub makes of a page's headings."""
    plain = [anchor_of(heading) for heading in re.findall(r"^#+ (.+)$", prose(page), re.M)]
    again = (plain[:place].count(anchor) for place, anchor in enumerate(plain))
    return frozenset(f"{anchor}-{n}" if n else anchor for anchor, n in zip(plain, again, strict=True))


def shelves() -> dict[str, list[Path]]:
    """The pages on each shelf of the index, in its order."""
    _, *parts = re.split(r"^## ", prose(INDEX), flags=re.M)
    return {
        part.splitlines()[0]: [path for path, _ in links(part, INDEX) if DOCS in path.parents]
        for part in parts
    }


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_their_anchors_lead_somewhere(page: Path) -> None:
    for path, anchor in links(prose(page), page):
        assert path.exists(), f"{page.name} points at {path}"
        assert not anchor or anchor in anchors(path), f"{page.name} points at #{anchor} of {path.name}"


def test_every_page_is_on_one_shelf() -> None:
    assert tuple(shelves()) == SHELVES
    shelved = [path for pages in shelves().values() for path in pages]
    assert sorted(shelved) == [page for page in PAGES if page != INDEX]


def test_every_page_can_be_reached_from_the_readme_in_two_steps() -> None:
    first = {path for path, _ in links(prose(README), README) if path.suffix == ".md"}
    second = {path for page in first for path, _ in links(prose(page), page)}
    assert set(PAGES) - first - second == set()


def test_the_readme_leads_to_each_shelf_and_to_its_first_page() -> None:
    linked = list(links(prose(README), README))
    for shelf, pages in shelves().items():
        assert (INDEX, anchor_of(shelf)) in linked
        assert pages[0] in {path for path, _ in linked}


def test_every_page_leads_back_to_its_shelf() -> None:
    for shelf, pages in shelves().items():
        for page in pages:
            if page.parent == DOCS:  # the results of a study are reports, and end as such
                last = page.read_text(encoding="utf-8").splitlines()[-1]
                assert last == f"Up: [{shelf}](README.md#{anchor_of(shelf)})", page.name


def test_the_index_tells_each_page_by_its_own_title() -> None:
    for text, target in re.findall(r"^- \[([^]]+)\]\(([^)]+)\)", prose(INDEX), re.M):
        title = (DOCS / target).read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert title.startswith(text), f"{target} is called {title!r}, and {text!r} in the index"


def test_the_first_screen_of_the_readme_has_the_picture_and_three_commands() -> None:
    screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:40])
    assert "](docs/images/cost-against-quality.png)" in screen
    assert len(re.findall(r"^    (make|\.venv/bin/orch) \w+", screen, re.M)) == 3
    assert all(f"[{shelf}](" in screen for shelf in SHELVES)
    assert "✗ Claim refuted" in screen


def test_an_anchor_is_made_as_github_makes_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# `Lagged`, the estimator\n\n## [A](a.md) & b: c_d\n\n## Same\n\n## Same\n\n```\n# no\n```\n"
    )
    assert anchors(page) == {"lagged-the-estimator", "a--b-c_d", "same", "same-1"}
