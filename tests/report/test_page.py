"""The HTML page: well formed, self-contained, nothing unescaped."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np

from detzoo.report import svg
from detzoo.report.page import Example, Page, data_url
from detzoo.report.table import MEASURED, Table

VOID = {"meta", "img", "line", "rect", "circle", "polyline", "br"}
PICTURE = np.full((60, 80, 3), 200, np.uint8)
PAGE = Page(
    title="bccd <test>",
    table=Table(
        "bccd",
        MEASURED,
        [
            {"name": "<b>ssd</b>", "AP": 0.5, "AP50": 0.8, "latency_p50_ms": 40.0},
            {"name": "fast", "AP": 0.4, "AP50": 0.9, "latency_p50_ms": 4.0},
            {"name": "unknown", "AP": float("nan")},
        ],
        ["batch 1 & fp32"],
    ),
    classes={"<b>ssd</b>": {"cat": 0.5, "dog": None}, "fast": {"cat": 0.4, "dog": 0.1}},
    curves={"fast": [(1, 0.1), (2, 0.3)]},
    examples=[Example("7.jpg", {"ground truth": PICTURE, "fast": PICTURE})],
    footer="torch",
)


class Checker(HTMLParser):
    """Collects tags and checks that they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.seen)


def parsed(page: Page) -> Checker:
    checker = Checker()
    checker.feed(page.html())
    assert checker.open == []
    return checker


def test_page_of_nothing() -> None:
    page = parsed(Page(title="empty", table=Table("t", MEASURED, [])))
    assert page.count("svg") == page.count("img") == 0


def test_structure() -> None:
    page = parsed(PAGE)
    assert page.count("svg") == 3  # speed, classes, curves
    assert page.count("img") == 2
    assert page.count("circle") == 2  # the detector without numbers has no point
    assert page.count("rect") == 3  # dog has no AP for one detector
    assert page.count("tr") == 4
    assert PAGE.html().count('class="best"') == 3  # AP, AP50, and the time


def test_nothing_is_requested_from_elsewhere() -> None:
    text = PAGE.html()
    links = [v for _, attributes in parsed(PAGE).seen for k, v in attributes.items() if k in ("src", "href")]
    assert links
    assert all(v is not None and v.startswith("data:image/jpeg;base64,") for v in links)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttp", text)


def test_text_is_escaped() -> None:
    text = PAGE.html()
    assert "<b>ssd" not in text
    assert "&lt;b&gt;ssd" in text
    assert "batch 1 &amp; fp32" in text


def test_trap_40_the_protocol_stands_on_the_page() -> None:
    assert '<ul class="notes"><li>batch 1 &amp; fp32</li></ul>' in PAGE.html()


def test_pictures_are_made_small() -> None:
    wide = np.zeros((500, 1000, 3), np.uint8)
    wide[..., 0] = 255
    jpeg = base64.b64decode(data_url(wide).split(",")[1])
    back = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert back is not None
    assert back.shape == (240, 480, 3)
    assert back[0, 0, 2] > 240  # red stays red
    assert data_url(PICTURE).startswith("data:image/jpeg;base64,")


def test_axes() -> None:
    plain = svg.Axis(0, 10, 100, 200)
    assert plain.px(5) == 150
    assert plain.ticks() == [0, 2, 4, 6, 8, 10]
    logarithmic = svg.Axis(1, 100, 0, 200, log=True)
    assert logarithmic.px(10) == 100
    assert logarithmic.ticks() == [1, 2, 5, 10, 20, 50, 100]
    assert svg.span([3.0, 3.0]) == (2.0, 4.0)
