"""Figures are drawn without a display, from nothing too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detzoo.report.plots import learning_figure, pr_figure, save, speed_ap_figure

ROWS = [{"name": "a", "latency_p50_ms": 10.0, "AP": 0.3}, {"name": "b", "latency_p50_ms": 40.0, "AP": 0.5}]


@pytest.mark.parametrize("rows", [[], ROWS, [{"name": "a", "AP": 0.3}]])
def test_speed_against_ap(rows: list[dict[str, object]], tmp_path: Path) -> None:
    figure = speed_ap_figure(rows, note="batch 1")
    assert len(figure.axes[0].lines) == sum("latency_p50_ms" in row for row in rows)
    assert save(figure, tmp_path / "new" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in save(figure, tmp_path / "plot.svg").read_bytes()


def test_trap_40_another_protocol_is_hollow() -> None:
    figure = speed_ap_figure(ROWS, note="batch 1", others=["b"])
    assert [line.get_fillstyle() for line in figure.axes[0].lines] == ["full", "none"]
    assert figure.get_supxlabel() == "batch 1; hollow: measured under another protocol"


def test_curves_of_nothing() -> None:
    assert len(pr_figure([]).axes) == 1
    assert len(learning_figure({}).axes[0].lines) == 0


def test_learning_curves() -> None:
    figure = learning_figure({"a": [(1, 10), (2, 20)], "b": []})
    assert [np.asarray(line.get_xydata()).tolist() for line in figure.axes[0].lines] == [[[1, 10], [2, 20]]]
