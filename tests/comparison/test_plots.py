"""Figures are drawn without a display, from nothing too."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from detzoo.comparison.plots import pr_figure, save, speed_ap_figure
from detzoo.comparison.tradeoff import PALE, TradeoffPoint

A = TradeoffPoint({"name": "a", "latency_p50_ms": 10.0, "AP": 0.3}, "ssd", "vgg16", 300.0)
B = TradeoffPoint({"name": "b", "latency_p50_ms": 40.0, "AP": 0.5}, "ssd", "resnet50", 512.0)
WORSE = TradeoffPoint({"name": "worse", "latency_p50_ms": 50.0, "AP": 0.4}, "retinanet", "resnet50", 512.0)
UNTIMED = TradeoffPoint({"name": "untimed", "AP": 0.3})


@pytest.mark.parametrize(("points", "marks"), [([], 0), ([UNTIMED], 0), ([A, B, WORSE, UNTIMED], 3)])
def test_speed_against_ap(points: list[TradeoffPoint], marks: int, tmp_path: Path) -> None:
    figure = speed_ap_figure(points, note="batch 1")
    drawn = [line for line in figure.axes[0].lines if line.get_marker() not in {"None", None, ""}]
    assert len(drawn) == marks
    assert save(figure, tmp_path / "new" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in save(figure, tmp_path / "plot.svg").read_bytes()


def test_colour_is_the_architecture_and_symbol_the_backbone_and_what_is_beaten_is_pale() -> None:
    axes = speed_ap_figure([A, B, WORSE]).axes[0]
    a, b, worse = axes.lines
    assert a.get_color() == b.get_color() != worse.get_color()
    assert b.get_marker() == worse.get_marker() != a.get_marker()
    assert a.get_markersize() < b.get_markersize()
    assert [text.get_text() for text in axes.texts] == ["a", "b", "worse"]
    assert [line.get_alpha() for line in (a, b, worse)] == [1.0, 1.0, PALE]


def test_intervals_are_lines_through_the_marks() -> None:
    sure = dataclasses.replace(A, intervals={"AP": (0.27, 0.34), "AP50": (0.5, 0.6)})
    moving = dataclasses.replace(B, row={**B.row, "latency_spread": 0.25})
    figure = speed_ap_figure([sure, moving, WORSE])
    drawn = [np.asarray(one.get_segments()[0]).tolist() for one in figure_lines(figure)]
    assert drawn == [[[10.0, 27.0], [10.0, 34.0]], [[30.0, 50.0], [50.0, 50.0]]]
    assert "95 % confidence interval" in figure.get_supxlabel()
    assert not figure_lines(speed_ap_figure([A, B]))


def figure_lines(figure: Figure) -> list[LineCollection]:
    return [one for one in figure.axes[0].collections if isinstance(one, LineCollection)]


def test_the_objects_behind_ap_are_told() -> None:
    assert speed_ap_figure([A, B], objects=384).axes[0].get_ylabel() == "AP % (n=384)"


def test_among_many_what_is_beaten_has_no_name() -> None:
    axes = speed_ap_figure([A, B, *[WORSE] * 7]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["a", "b"]


def test_what_cannot_be_drawn_is_in_no_legend() -> None:
    rows = [{"name": "timeless", "AP": 0.5}, {"name": "at once", "AP": 0.5, "latency_p50_ms": 0.0}]
    figure = speed_ap_figure([A, *(TradeoffPoint(row, architecture="Other", backbone="other") for row in rows)])
    assert len(figure.axes[0].texts) == 1
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert not {"Other", "other"} & set(labels)
    assert labels


def test_ticks_are_round_and_few() -> None:
    slow = TradeoffPoint({"name": "slow", "latency_p50_ms": 1400.0, "AP": 0.4})
    labels = [label.get_text() for label in speed_ap_figure([A, slow]).axes[0].get_xticklabels()]
    assert labels == ["10", "20", "50", "100", "200", "500", "1,000", "2,000"]


def test_another_protocol_is_hollow() -> None:
    figure = speed_ap_figure([A, dataclasses.replace(B, other_speed=True)], note="batch 1")
    assert [line.get_fillstyle() for line in figure.axes[0].lines] == ["full", "none"]
    assert figure.get_supxlabel() == "batch 1; hollow: measured under another protocol"


def test_curves_of_nothing() -> None:
    assert len(pr_figure([]).axes) == 1
