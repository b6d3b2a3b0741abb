"""Ties of a comparison: letters by hand, intervals of rows whose resamples are given."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from detzoo.comparison.entry import ComparisonEntry
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare
from detzoo.comparison.ties import Ties, letter, shares_best, tie_letters, ties_of
from detzoo.data import open_dataset
from tests.comparison.result_folders import found_in, write_results

NORMAL = [0.01 * NormalDist().inv_cdf((n + 0.5) / 400) for n in range(400)]
NOISE = np.random.default_rng(0).permuted(np.tile(NORMAL, (4, 1)), axis=1)


def entry(ap: float | None, values: Any = None, **changes: Any) -> ComparisonEntry:
    """A row with some AP and its resamples."""
    fact = {"images": "x", "drawn": "images", "number": 60, "resamples": 400, "seed": 0, "groups": [50, 40], "AP": ap}
    fact["values"] = None if values is None else np.asarray(values).tolist()
    analysis = {} if values is None else {"resampled": fact | changes}
    return ComparisonEntry("it", "somewhere", {}, {}, [], Path(), None, analysis=analysis)


def row(ap: float, number: int, **changes: Any) -> ComparisonEntry:
    return entry(ap, ap + NOISE[number], **changes)


def keys(ties: Ties) -> list[set[str]]:
    return [set(cells) for cells in ties.cells]


def test_no_rows_and_rows_without_detections() -> None:
    assert tie_letters(0, []) == []
    assert ties_of([]) == Ties([], [])
    assert ties_of([entry(None), entry(None)]) == Ties([{}, {}], [{}, {}])


@pytest.mark.parametrize(
    ("number", "apart", "letters"),
    [
        (1, [], ["A"]),
        (3, [], ["A", "A", "A"]),
        (3, [(0, 1), (0, 2), (1, 2)], ["A", "B", "C"]),
        (3, [(0, 2)], ["A", "AB", "B"]),
        (4, [(0, 2), (0, 3), (1, 3)], ["A", "AB", "BC", "C"]),
        (3, [(1, 2)], ["AB", "A", "B"]),  # the noisy first is like both
        (4, [(0, 3), (1, 2)], ["AB", "AC", "BD", "CD"]),
    ],
)
def test_letters(number: int, apart: list[tuple[int, int]], letters: list[str]) -> None:
    assert tie_letters(number, apart) == letters


def test_rows_share_a_letter_exactly_if_they_are_not_apart() -> None:
    rng = np.random.default_rng(4)
    for number in (5, 9, 14):
        pairs = [(a, b) for a in range(number) for b in range(a + 1, number)]
        apart = {pair for pair in pairs if rng.random() < 0.5}
        letters = tie_letters(number, apart)
        for a, b in pairs:
            assert bool(set(letters[a]) & set(letters[b])) == ((a, b) not in apart)


def test_more_groups_than_letters() -> None:
    assert [letter(place) for place in (0, 25, 26, 53)] == ["A", "Z", "A1", "B2"]


def test_rows_are_ranked_by_their_ap() -> None:
    ties = ties_of([row(0.40, 0), row(0.61, 1), row(0.60, 2), entry(None)])
    # Differences have a deviation of .014: .01 is nothing, .2 is much.
    assert [cells.get("ties") for cells in ties.cells] == ["B", "A", "A", None]
    assert ties.leading == frozenset({1, 2})
    low, high = ties.cells[1]["AP_low"], ties.cells[1]["AP_high"]
    assert ties.cells[1]["AP_interval"] == f"{100 * low:.1f} to {100 * high:.1f}"
    assert [low, high] == pytest.approx([0.59, 0.63], abs=0.002)
    assert ties.cells[0]["p_best"] == 0
    assert ties.cells[1]["p_best"] + ties.cells[2]["p_best"] == pytest.approx(1)
    # 2.0 deviations of .014 for half the interval, .84 more for 80 %; .01 of them needs (2.8 x .014 / .01)^2 = 15 times
    # the 60 images: 0 for those told apart by these already.
    assert "a difference of 2.8 AP, once seen, is told from none" in ties.notes[2]
    assert "truly 4.0 AP is seen by 80 % of such test sets" in ties.notes[2]
    assert [cells.get("more_images") for cells in ties.cells[:2]] == [0, None]
    assert ties.absent[1] == {"more_images": "the best"}
    assert ties.cells[2]["more_images"] == pytest.approx(15.4 * 60 - 60, rel=0.05)
    assert (
        f"images to settle: {ties.cells[2]['more_images']} more test images would settle it against it" in ties.notes[3]
    )


def test_rows_that_are_as_good_as_equal() -> None:
    ties = ties_of([row(0.60, 0), row(0.60, 1)])
    assert "more_images" not in ties.cells[1]
    assert ties.absent[1] == {"more_images": "over 1000 times as many"}
    assert len(ties.notes) == 3


def test_what_is_the_same_in_both_falls_out_of_a_difference() -> None:
    ties = ties_of([entry(0.60, 0.60 + NOISE[0]), entry(0.595, 0.595 + NOISE[0] + 0.05 * NOISE[1])])
    assert [cells["ties"] for cells in ties.cells] == ["A", "B"]


def test_rows_of_other_images_are_left_out() -> None:
    ties = ties_of([row(0.5, 0), row(0.6, 1, images="y"), row(0.7, 2)])
    assert keys(ties) == [keys(ties)[2] | {"more_images"}, set(), keys(ties)[2]]
    assert ties.absent[1]["ties"] == "other images"
    assert ties.leading == frozenset({2})


def test_too_few_images_mark_nothing() -> None:
    ties = ties_of([row(0.5, 0, groups=[50, 3]), row(0.9, 1, groups=[50, 3])])
    assert (keys(ties), ties.leading) == ([set(), set()], frozenset())
    assert ties.notes == ["no interval of AP: too few of the 60 images have objects of a class"]


def test_one_row_has_an_interval_and_no_letter() -> None:
    ties = ties_of([row(0.5, 0)])
    assert keys(ties) == [{"AP_interval", "AP_low", "AP_high"}]
    assert ties.leading is None


def test_equal_rows_share_the_lead() -> None:
    assert shares_best(np.array([[0.5, 0.7], [0.5, 0.6]])) == [0.75, 0.25]


def test_a_comparison_of_folders(tmp_path: Path) -> None:
    data = "shapes:size=64,train=2,val=2,test=40"
    dataset = open_dataset(data, "test")
    rows = {
        "good": found_in(dataset, shift=0.5, wrong=None),
        "equal": found_in(dataset, shift=0.5, wrong=None),
        "poor": found_in(dataset, shift=4, wrong=3),
    }
    folders = [write_results(tmp_path / n, dataset, own, architecture="ssd", side=64) for n, own in rows.items()]
    done = compare(ComparisonPlan(targets=[str(f) for f in folders], data=data, out=tmp_path / "out"), lambda _: None)
    table = json.loads((tmp_path / "out" / "table.json").read_text())["rows"]
    assert [own["ties"] for own in table] == ["A", "A", "B"]
    assert all(own["AP_low"] < own["AP"] < own["AP_high"] for own in table)
    assert [own["p_best"] for own in table] == [0.5, 0.5, 0]
    ap = next(column for column in done.table.columns if column.key == "AP")
    assert done.table.best_rows(ap) == {0, 1}
    lines = done.table.markdown().splitlines()
    good, poor = (next(line for line in lines if line.startswith(f"| {name} ")) for name in ("good", "poor"))
    assert f"| **{100 * table[0]['AP']:.1f}** |" in good
    assert f"| {100 * table[2]['AP']:.1f} |" in poor
    page = (tmp_path / "out" / "index.html").read_text()
    assert f'<td data-value="{table[0]["AP_interval"]}" class="text">{table[0]["AP_interval"]}</td>' in page
