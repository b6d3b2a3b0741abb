"""The drawings of the page, as data that Plotly accepts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
import pytest

from detzoo.comparison import figures
from detzoo.comparison.figures import ALL
from detzoo.comparison.page import comparison_page
from detzoo.comparison.tradeoff import (
    COSTS,
    GAINS,
    MOST_NAMED,
    PALE,
    TradeoffPoint,
    log_range,
    mark_size,
    may_be_best,
    tradeoffs,
)
from tests.comparison.result_folders import DATA, Compared


def point(name: str, ms: float | None, ap: float | None, **changes: Any) -> TradeoffPoint:
    return TradeoffPoint({"name": name, "latency_p50_ms": ms, "AP": ap}, **changes)


def traces(spec: Mapping[str, Any], kind: str = "markers+text") -> list[dict[str, Any]]:
    return [trace for trace in spec["data"] if trace["mode"] == kind]


def test_nothing_to_draw() -> None:
    assert tradeoffs([]) == {}
    assert tradeoffs([point("a", None, 0.5), point("b", math.nan, 0.5), point("c", 0.0, 0.5)]) == {}
    assert figures.class_bars({}, []) == figures.precision_curves({}, {}) == figures.confusions({}) == {}
    assert figures.size_bars({ALL: {"a": [None, None, None]}}) == figures.learning({"AP": {"a": [], "b": [[]]}}) == {}
    assert figures.error_bars({ALL: {}}, {}) == {}


def test_marks_say_architecture_backbone_and_size() -> None:
    points = [
        point("a", 10, 0.3, architecture="ssd", backbone="vgg16", side=300, size="300x300"),
        point("b<", 20, 0.4, architecture="rpn", backbone="vgg16", side=600, size="600..1000"),
        point("c", 40, 0.2, architecture="ssd", backbone="resnet50", side=300, size="300x300", other_speed=True),
        point("d", None, 0.9),
    ]
    found = tradeoffs(points)
    assert list(found) == ["median latency, ms|AP %"]
    spec = found["median latency, ms|AP %"]
    a, b, c = traces(spec)
    assert (a["x"], a["y"]) == ([10], [30.0])
    assert b["text"] == ["b&lt;"]
    assert a["marker"]["color"] == c["marker"]["color"] != b["marker"]["color"]
    assert (a["marker"]["symbol"], b["marker"]["symbol"], c["marker"]["symbol"]) == ("circle", "circle", "square-open")
    assert a["marker"]["size"] == c["marker"]["size"] < b["marker"]["size"]
    assert "measured under another protocol" in c["hovertemplate"]
    keys = {trace["name"]: trace["legendgroup"] for trace in traces(spec, "markers")}
    assert keys == {"ssd": "architecture", "rpn": "architecture", "vgg16": "backbone", "resnet50": "backbone"}
    go.Figure(spec)
    # Parameters are the same on every machine.
    assert [points[2].is_other(cost) for cost in COSTS] == [True, True, False, False, True]


def test_error_bars() -> None:
    row = {"name": "a", "latency_p50_ms": 10.0, "AP": 0.3, "params_m": 4.0, "latency_spread": 0.1}
    sure, other = TradeoffPoint(row, intervals={"AP": (0.27, 0.35)}), point("b", 20.0, 0.5)
    plots = tradeoffs([sure, other])
    by_time = plots["median latency, ms|AP %"]
    first, second = (next(t for t in by_time["data"] if t["name"] == name) for name in "ab")
    assert first["error_y"]["array"] == [pytest.approx(5)]
    assert first["error_y"]["arrayminus"] == [pytest.approx(3)]
    assert first["error_x"]["array"] == [pytest.approx(1)]
    assert "(27.0 to 35.0)" in first["hovertemplate"]
    assert not {"error_x", "error_y"} & set(second)
    by_size = plots["parameters, millions|AP %"]["data"]
    assert "error_x" not in next(t for t in by_size if t["name"] == "a")  # only times were off
    low, high = by_time["layout"]["yaxis"]["range"]
    assert low < 27
    assert high > 50


def test_without_intervals_the_numbers_decide_which_may_be_the_best() -> None:
    spots = [(10.0, 30.0), (20.0, 40.0), (30.0, 40.0), (5.0, 10.0), (10.0, 20.0), (1.0, 90.0), (20.0, 40.0)]
    points = [point(str(n), x, y, other_accuracy=n == 5) for n, (x, y) in enumerate(spots)]
    # 4 is as fast as 0 and worse; 2 is slower than 1 and as good, which may be chance; 5 is of another protocol
    assert may_be_best(points, COSTS[0], GAINS[0]) == [0, 1, 2, 3, 6]
    spec = tradeoffs(points)["median latency, ms|AP %"]
    assert not [trace for trace in spec["data"] if trace["mode"] == "lines"]
    assert [trace.get("opacity") for trace in traces(spec)] == [None, None, None, None, PALE, None, None]
    # more images/s are better: 2 has most of them, and 1 is as good
    rates = [
        TradeoffPoint({"name": p.row["name"], "best_images_per_s": p.row["latency_p50_ms"], "AP": p.row["AP"]})
        for p in points
    ]
    assert may_be_best(rates[:5], COSTS[1], GAINS[0]) == [1, 2]


def test_only_what_is_surely_faster_and_better_beats() -> None:
    rows: dict[str, dict[str, Any]] = {
        "best": {"latency_p50_ms": 20.0, "AP": 0.50, "ties": "A", "latency_spread": 0.1},
        "tied": {"latency_p50_ms": 30.0, "AP": 0.48, "ties": "AB", "latency_spread": 0.1},
        "worse": {"latency_p50_ms": 30.0, "AP": 0.40, "ties": "B", "latency_spread": 0.1},
        "about as fast": {"latency_p50_ms": 22.0, "AP": 0.30, "ties": "C", "latency_spread": 0.1},
        "fast": {"latency_p50_ms": 5.0, "AP": 0.30, "ties": "C", "latency_spread": 0.1},
    }
    points = [TradeoffPoint({"name": name, **row}) for name, row in rows.items()]
    assert [points[n].row["name"] for n in may_be_best(points, COSTS[0], GAINS[0])] == [
        "best",
        "tied",
        "about as fast",
        "fast",
    ]
    ends = [(0.45, 0.55), (0.41, 0.53), (0.30, 0.44)]
    by_half = [
        TradeoffPoint({"name": str(n), "params_m": 1.0 + n, "AP50": sum(end) / 2}, intervals={"AP50": end})
        for n, end in enumerate(ends)
    ]
    # the last interval meets the second, and lies below the first
    assert may_be_best(by_half, COSTS[2], GAINS[1]) == [0, 1]


def test_among_many_detectors_the_front_alone_is_named() -> None:
    few = [point(str(n), 10.0 + n, 0.5 - n / 100) for n in range(MOST_NAMED)]
    many = [*few, point("accurate", 90.0, 0.9)]
    named = [
        [text for mark in traces(tradeoffs(points)["median latency, ms|AP %"]) for text in mark["text"] if text]
        for points in (few, many)
    ]
    assert named == [[str(n) for n in range(8)], ["0", "accurate"]]
    hidden = traces(tradeoffs(many)["median latency, ms|AP %"])[3]
    assert (hidden["name"], "<b>3</b>" in hidden["hovertemplate"]) == ("3", True)


def test_a_learning_curve_of_several_seeds_has_a_band() -> None:
    seeds = [[(1.0, 10.0), (2.0, 30.0), (3.0, 50.0)], [(1.0, 20.0), (2.0, 20.0)], []]
    spec = figures.learning({"AP %": {"one": [[(5.0, 7.0)]], "two": seeds}})["AP %"]
    one, low, high, middle = spec["data"]
    assert (one["x"], one["y"]) == ([5.0], [7.0])
    assert (low["y"], high["y"], middle["y"]) == ([10.0, 20.0], [20.0, 30.0], [15.0, 25.0])
    assert low["x"] == middle["x"] == [1.0, 2.0]  # that both have
    assert [trace.get("showlegend") for trace in spec["data"]] == [None, False, False, None]
    assert middle["line"]["color"] == figures.colour(1)
    go.Figure(spec)


def test_sizes_of_marks() -> None:
    assert [mark_size(side) for side in (None, 100, 224, 1000, 5000)] == [10, 7, 8, 22, 24]


def test_ticks_are_round() -> None:
    wide, narrow = log_range([1.0, 100.0]), log_range([800.0, 1100.0])
    assert wide["range"] == pytest.approx([-0.24, 2.24])
    assert {"1", "2", "5", "10"} < set(wide["ticktext"])
    assert "900" in narrow["ticktext"]


def test_bars_curves_and_confusion() -> None:
    bars = figures.class_bars({"cat": {"a": 50.0, "b": None}, "dog": {"a": 10.0}}, ["a", "b"])
    assert [trace["y"] for trace in bars[ALL]["data"]] == [[50.0, 10.0], [None, None]]
    assert [trace["x"] for trace in bars["dog"]["data"]] == [["dog"], ["dog"]]
    curves = figures.precision_curves({"a": {"cat": {"50": [1.0] * 101}, "dog": {"50": [0.5] * 101}}}, {"a": 0})
    assert curves[ALL]["data"][0]["y"] == [0.75] * 101  # the mean of the classes
    assert curves["dog"]["data"][0]["y"] == [0.5] * 101
    counted = figures.class_bars({"cat": {"a": 50.0}}, ["a"], {"cat": {"AP": 12}})
    assert counted[ALL]["layout"]["xaxis"]["ticktext"] == ["cat<br>n=12"]
    sizes = figures.size_bars({ALL: {"a": [1.0, None, 3.0]}}, {ALL: {"APs": 5, "APm": 0, "APl": 7}})
    assert sizes[ALL]["layout"]["xaxis"]["ticktext"] == ["small<br>n=5", "medium<br>n=0", "large<br>n=7"]
    errors = figures.error_bars({ALL: {"b": {"missed": 0.25}}}, {"a": 0, "b": 1})
    assert errors[ALL]["data"][0]["y"] == [25.0]
    assert errors[ALL]["data"][0]["marker"]["color"] == figures.colour(1)  # b's colour everywhere
    matrix = figures.confusions({"a": {"classes": ["cat", "background"], "counts": [[3, 1], [0, 0]]}})
    assert matrix["a"]["data"][0]["z"] == [[0.75, 0.25], [0, 0]]


def test_f1_tells_the_best_threshold() -> None:
    curve = {"f1": [0.5] * 101, "threshold": 0.25, "best": 0.5}
    assert figures.f1_lines({"a": {}}, {"a": 0}) == {}
    found = figures.f1_lines({"a": {}, "b": {ALL: curve, "cat": curve}}, {"a": 0, "b": 1})
    assert list(found) == [ALL, "cat"]
    whole, mark = found["cat"]["data"]
    assert "0.50" in whole["name"]
    assert "0.25" in whole["name"]
    assert (mark["x"], mark["y"], mark["marker"]["color"]) == ([0.25], [0.5], figures.colour(1))


def test_every_drawing_of_a_page_is_one_that_plotly_knows(compared: Compared) -> None:
    from detzoo.data import open_dataset

    page = comparison_page(open_dataset(DATA, "test"), compared.done.entries, compared.done.table, 0)
    plots = {plot.name: plot.variants for section in page.sections for plot in section.plots}
    assert {name: len(variants) for name, variants in plots.items()} == {
        "tradeoff": 5 * 5 - 5,  # four costs (no best batch in files), five accuracies that exist
        "learning": 3,
        "classes": 6,
        "sizes": 6,
        "differences": 4 * 3,
        "precision": 6,
        "f1": 6,
        "calibration": 6,
        "lrp": 6,
        "errors": 6,
        "confusion": 4,
    }
    for variants in plots.values():
        for spec in variants.values():
            go.Figure(spec)  # refuses what it does not know
    menus = {menu.name: list(menu.options) for section in page.sections for menu in section.menus}
    assert {f"{cost}|{gain}" for cost in menus["cost"] for gain in menus["gain"]} == set(plots["tradeoff"])
    assert menus["class"] == list(plots["classes"])
