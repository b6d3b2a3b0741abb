"""What to take, in words, from numbers made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from detzoo.comparison.ranking import UNKNOWN_SPREAD, Ranked, RankedRows, ranked
from detzoo.comparison.ranking_html import ranking_html, scale
from detzoo.comparison.ties import letters_apart, letters_of, tie_letters
from detzoo.comparison.verdict import verdict


def row(name: str, ap: float, letters: str = "", **facts: Any) -> Ranked:
    return Ranked(name, ap, ap - 0.04, ap + 0.03, letters, **facts)


def said(*rows: Ranked, **facts: Any) -> str:
    return verdict(RankedRows(rows, 72, **facts), "bccd test")


def test_nothing_to_rank() -> None:
    words = verdict(RankedRows(left_out=["file"]), "bccd test")
    assert "nothing can be ranked" in words
    assert "take" not in words
    assert ranking_html(RankedRows()) == ""


def test_one_detector() -> None:
    words = said(row("ssd", 0.41))
    assert "ssd has an AP of 41.0 (37.0 to 44.0)" in words
    assert "nothing to compare" in words


def test_too_few_objects() -> None:
    words = said(Ranked("ssd", 0.41), Ranked("yolo", 0.3))
    assert "too few images" in words
    assert "no reason to take it" in words


def test_one_is_the_best() -> None:
    best, quick = row("rtmdet", 0.6, "A", latency=40.0), row("ssd", 0.5, "B", latency=10.0)
    words = said(best, quick, row("rcnn", 0.45, "B", latency=90.0))
    assert "told from all 2 others: take rtmdet." in words
    assert "ssd is 4.0 times as fast (10 ms) and has 50.0 AP" in words
    assert "times as fast" not in said(best, row("ssd", 0.5, "B", latency=39.0))
    assert "times as fast" not in said(best, row("ssd", 0.5, "B", latency=30.0, latency_off=12.0))
    assert "told from ssd: take rtmdet" in said(best, row("ssd", 0.5, "B"))
    assert "ssd is the faster of the two (10 ms): take ssd" in said(best, row("ssd", 0.59, "A", latency=10.0, more=9))


def test_of_those_that_tie_the_fastest_is_taken() -> None:
    rows = [
        row("faster", 0.614, "A", latency=120.0),
        row("rtdetr", 0.611, "A", more=4000, latency=60.0),
        row("rtmdet", 0.607, "A", more=900, latency=20.0),
        row("yolox", 0.590, "AB", more=80, latency=30.0),
        row("ssd", 0.4, "B", more=0, latency=5.0),
    ]
    words = said(*rows)
    assert "faster has an AP of 61.4 (57.4 to 64.4); rtdetr, rtmdet and yolox cannot be told from it." in words
    assert "The other one is worse." in words
    assert "rtmdet is the fastest of them (20 ms): take rtmdet." in words
    assert "label 900 more test images: so many would settle faster against rtmdet." in words


def test_of_equally_fast_ones_the_better_number_is_taken() -> None:
    first = row("a", 0.6, "A", latency=21.0, latency_off=2.0)
    second = row("b", 0.59, "A", more=50, latency=20.0, latency_off=2.0)
    words = said(first, second)
    assert "about as fast (20 ms to 21 ms): take a." in words
    assert "label 50 more test images: so many would settle a against b" in words
    third = row("c", 0.58, "A", more=30, latency=60.0)
    assert "a and b are the fastest of them (21 ms): take a." in said(first, second, third)


def test_what_is_not_known_is_said() -> None:
    first, second = row("a", 0.6, "A"), row("b", 0.6, "A")
    words = said(first, second)
    assert "None of them was timed." in words
    assert "No number of test images" in words
    assert "tells a from b" in words
    assert "(a was not timed)" in said(first, row("b", 0.59, "A", latency=5.0, more=3))
    assert "old cannot be ranked with them" in said(first, second, left_out=["old"])
    assert "2 rows cannot be ranked" in said(first, second, left_out=["old", "older"])


def test_a_row_is_read_from_the_table() -> None:
    cells = {
        "name": "a",
        "AP": 0.6,
        "AP_low": 0.5,
        "AP_high": 0.7,
        "ties": "A",
        "more_images": 4,
        "latency_p50_ms": 200.0,
    }
    found = ranked(cells, {})
    assert (found.more, found.time) == (4, "200 ms")
    assert found.latency_off == pytest.approx(200 * UNKNOWN_SPREAD)
    assert ranked(cells | {"latency_spread": 0.01}, {}).latency_off == pytest.approx(2)
    assert ranked(cells, {"latency_p50_ms": "b"}).latency is None  # timed elsewhere
    assert (ranked({"name": "a", "AP": 0.6}, {}).time, ranked(cells | {"latency_p50_ms": 1234.5}, {}).time) == (
        "",
        "1,234 ms",
    )


def test_groups_and_many_names() -> None:
    rows = [row(f"d{n}", 0.6 - n / 1000, "A", more=9) for n in range(7)]
    words = said(*rows, drawn="scenes")
    assert "72 scenes" in words
    assert "d1, d2, d3 and 3 more cannot be told" in words
    assert "label" in words
    assert "more test scenes" in words


@pytest.mark.parametrize(
    ("text", "letters"), [("", set()), ("A", {"A"}), ("AB", {"A", "B"}), ("ZA1B1", {"Z", "A1", "B1"})]
)
def test_letters_are_read_as_they_were_written(text: str, letters: set[str]) -> None:
    assert letters_of(text) == letters


def test_sharing_a_letter_says_the_same_as_the_pairs() -> None:
    apart = {(0, 2), (0, 3), (1, 3), (2, 3)}
    letters = tie_letters(4, apart)
    for a in range(4):
        for b in range(a + 1, 4):
            assert letters_apart(letters[a], letters[b]) == ((a, b) in apart)
    assert not letters_apart("", "A")  # nothing is known


def test_bars_lie_where_the_numbers_are() -> None:
    rows = [row("<best>", 0.6, "A", latency=20.0), row("other", 0.5, "B")]
    assert scale(rows) == (45, 65)
    html = ranking_html(RankedRows(rows, 72, left_out=["old"]))
    assert "&lt;best&gt;" in html
    assert html.count('<li class="leading">') == 1
    assert f"left:{100 * (56 - 45) / 20:.2f}%;width:{100 * 7 / 20:.2f}%" in html
    assert "20 ms" in html
    assert "old" in html
    assert scale([Ranked("a", 0.5)]) == (50, 51)
