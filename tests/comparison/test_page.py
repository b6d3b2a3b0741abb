"""The HTML page: well formed, self-contained, nothing unescaped."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np

from detzoo.comparison.figures import ALL, class_bars
from detzoo.comparison.html_page import CLASS, Menu, Page, Plot, Section, packed_library
from detzoo.comparison.image_grid import Box, WallImage
from detzoo.comparison.ranking import Ranked, RankedRows
from detzoo.runtime.html_images import data_url
from detzoo.runtime.text_table import MEASURED, Table

VOID = {"meta", "img", "image", "use", "br", "rect", "input", "wbr"}
IMAGE = np.full((60, 80, 3), 200, np.uint8)
CLASSES: dict[str, dict[str, float | None]] = {"cat": {"<b>ssd</b>": 50.0, "fast": 40.0}, "dog": {"fast": 10.0}}
PAGE = Page(
    title="bccd <test>",
    table=Table(
        "bccd",
        MEASURED,
        [
            {"name": "<b>ssd</b>", "AP": 0.5, "AP50": 0.8, "latency_p50_ms": 40.0},
            {"name": "fast", "AP": 0.4, "AP50": 0.9, "latency_p50_ms": 4.0},
            {"name": "file", "AP": 0.7},
            {"name": "unknown", "AP": float("nan")},
        ],
        ["batch 1 & fp32", "a: accuracy under another protocol: device cuda <0>"],
        marks=[{}, {}, {"AP": "a"}, {"AP": "a"}],
        absent=[{}, {}, {"latency_p50_ms": "not timed"}, {}],
    ),
    protocols=Table("Protocol of each row", MEASURED[:1], [{"name": "fast"}]),
    sections=[
        Section(
            "AP of each class",
            [Plot("classes", "AP of each class", class_bars(CLASSES, ["<b>ssd</b>", "fast"]), (CLASS,))],
            [Menu(CLASS, "class", [ALL, "cat", "dog"])],
            "a note & more",
        ),
        Section("Nothing to draw", [Plot("none", "none", {})], [Menu(CLASS, "class", ["a", "b"])]),
    ],
    wall=[
        WallImage(
            "7.jpg",
            IMAGE,
            {
                "ground truth": [Box([1, 2, 30, 40], "truth", "cat", "cat")],
                "fast": [Box([1, 2, 30, 41], "true", "cat", "cat 0.90"), Box([0, 0, 9, 9], "false", "<dog>", "<dog>")],
            },
            0.5,
        )
    ],
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
        if tag not in VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.seen)


def parsed(page: Page) -> Checker:
    checker = Checker()
    checker.feed(page.html())
    assert checker.open == []
    return checker


def test_page_of_nothing() -> None:
    page = Page(title="empty", table=Table("t", MEASURED, []))
    seen = parsed(page)
    assert (seen.count("svg"), seen.count("section")) == (0, 1)  # the table of all numbers
    assert len(page.html()) < 30_000  # without a drawing the library stays away


def test_structure() -> None:
    page = parsed(PAGE)
    assert page.count("section") == 3  # the table, the bars and the images; a section of nothing is none
    assert [a["id"] for tag, a in page.seen if tag == "div" and a.get("class") == "plot"] == ["classes"]
    assert page.count("tr") == 5 + 2
    assert page.count("select") == 1
    assert PAGE.html().count('class="number best"') == 3  # AP (the best one has a mark), AP50, and the time
    assert '<td class="number absent">not timed</td>' in PAGE.html()


def test_the_verdict_comes_first_and_the_command_last() -> None:
    ranking = RankedRows([Ranked("<b>ssd</b>", 0.5, 0.4, 0.6, "A", 0, 40.0), Ranked("fast", 0.4, 0.3, 0.5, "A")], 72)
    page = dataclasses.replace(PAGE, verdict="take <this>", ranking=ranking, command="detzoo compare 'a b' --data <x>")
    html = page.html()
    places = [
        html.index(words) for words in ("take &lt;this&gt;", 'class="ranking"', "All numbers", "--data &lt;x&gt;")
    ]
    assert places == sorted(places)
    parsed(page)


def test_an_image_is_embedded_once_and_boxes_are_drawn_over_it() -> None:
    page = parsed(PAGE)
    assert [a["href"] for tag, a in page.seen if tag == "use"] == ["#photo0"]
    assert [a["class"] for tag, a in page.seen if tag == "g"] == ["box truth", "box true", "box false"]
    (wall,) = (a for tag, a in page.seen if tag == "article")
    assert json.loads(wall["data-classes"] or "") == ["<dog>", "cat"]
    assert "<title>cat 0.90</title>" in PAGE.html()


def test_drawings_lie_in_the_page() -> None:
    text = re.search(r'id="figures">(.*?)</script>', PAGE.html())
    assert text is not None
    figures = json.loads(text[1])
    assert list(figures) == ["classes"]
    assert list(figures["classes"]) == [ALL, "cat", "dog"]
    # The dog has no AP for one detector.
    assert [trace["y"] for trace in figures["classes"][ALL]["data"]] == [[50.0, None], [40.0, 10.0]]


def test_the_library_is_whole() -> None:
    from plotly.offline import get_plotlyjs

    assert gzip.decompress(base64.b64decode(packed_library())).decode() == get_plotlyjs()


def test_nothing_is_requested_from_elsewhere() -> None:
    links = [v for _, attributes in parsed(PAGE).seen for k, v in attributes.items() if k in ("src", "href")]
    assert len(links) == 2
    assert all(v is not None and v.startswith(("data:image/jpeg;base64,", "#photo")) for v in links)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttp", PAGE.html())


def test_text_is_escaped() -> None:
    text = PAGE.html()
    for wrong, right in (("<b>ssd", "&lt;b&gt;ssd"), ("1 & fp32", "1 &amp; fp32"), ("cuda <0>", "cuda &lt;0&gt;")):
        assert wrong not in text
        assert right in text
    assert "<dog>" not in text


def test_the_protocol_stands_on_the_page() -> None:
    assert '<ul class="notes"><li>batch 1 &amp; fp32</li>' in PAGE.html()
    assert (
        'data-value="0.7" class="number">70.0'
        '<sup title="a: accuracy under another protocol: device cuda &lt;0&gt;">a</sup></td>' in PAGE.html()
    )
    assert '<td class="number absent">–</td>' in PAGE.html()  # no number, no mark


def test_images_are_made_small() -> None:
    wide = np.zeros((500, 1000, 3), np.uint8)
    wide[..., 0] = 255
    jpeg = base64.b64decode(data_url(wide, widest=800).split(",")[1])
    back = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert back is not None
    assert back.shape == (400, 800, 3)
    assert back[0, 0, 2] > 240  # red stays red
    assert data_url(IMAGE, widest=800).startswith("data:image/jpeg;base64,")
