"""What does a reader see of a part of a page, without its script?"""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "hr", "img"}
UNSEEN = {"script", "style", "svg", "button"}


class _Part(HTMLParser):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.words = name, list[str]()
        self.open: list[bool] = []  # of each element around: is it the part, or in it
        self.unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID or "/" in tag:
            return
        self.open.append(("id", self.name) in attrs or (bool(self.open) and self.open[-1]))
        self.unseen += tag in UNSEEN

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            self.open.pop()
            self.unseen -= tag in UNSEEN

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] and not self.unseen:
            self.words += data.split()


def text_of(html: str, name: str) -> str:
    """The words in the element of that id, folded ones among them."""
    part = _Part(name)
    part.feed(html)
    return " ".join(part.words)
