"""Drawings of the page about scores: reliability diagrams and oLRP, as Plotly figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detzoo.comparison.figures import ALL, Spec, bar, bars, in_order, layout, line, plain_text


def reliability_lines(diagrams: Mapping[str, Mapping[str, Any]], index: Mapping[str, int]) -> dict[str, Spec]:
    """Precision of detections over their score, one line per detector; on the diagonal it is as often right as it says.

    Args:
        diagrams: detector -> class, or ALL -> ``d_ece``, and ``reliability``: counts, score, precision of each bin.
        index: detector -> its number, for the colour.
    """
    found = {}
    for which in in_order(c for of_one in diagrams.values() for c in of_one):
        look = {"color": "#888888", "dash": "dot", "width": 1.5}
        traces: list[Spec] = [
            {"type": "scatter", "mode": "lines", "name": "as it says", "x": [0, 1], "y": [0, 1], "line": look}
            | {"hoverinfo": "skip"}
        ]
        for name, of_one in diagrams.items():
            if which in of_one and of_one[which]["d_ece"] is not None:
                traces.append(reliability_line(name, index[name], of_one[which]))
        shape = layout("mean score of a bin", "precision")
        shape["xaxis"]["range"], shape["yaxis"]["range"] = [0, 1], [0, 1.02]
        found[which] = {"data": traces, "layout": shape}
    return found


def reliability_line(name: str, place: int, record: Mapping[str, Any]) -> Spec:
    """One detector's diagram; pointing at a bin tells how many detections are in it."""
    bins = [row for row in zip(*(record["reliability"][key] for key in ("score", "precision", "counts")), strict=True)]
    score, precision, counts = zip(*(row for row in bins if row[2]), strict=True)
    told = f"{plain_text(name)}<br>D-ECE {100 * record['d_ece']:.1f} %"
    curve = line(name, place, [round(x, 4) for x in score], [round(y, 4) for y in precision], markers=True)
    shown = {"name": told, "customdata": counts, "hovertemplate": "score %{x:.2f}: %{y:.2f} right of %{customdata}"}
    return curve | shown


def lrp_bars(errors: Mapping[str, Mapping[str, Mapping[str, Any]]], index: Mapping[str, int]) -> dict[str, Spec]:
    """oLRP of each class, and of one class alone; pointing at a bar tells the score from which detections are kept.

    Args:
        errors: class -> detector -> record with ``olrp``, ``threshold``.
        index: detector -> its number, for the colour.
    """

    def spec(shown: Sequence[str]) -> Spec:
        traces = []
        for name in in_order(name for of_class in errors.values() for name in of_class):
            own = [errors[c].get(name, {}) for c in shown]
            values = [None if one.get("olrp") is None else 100 * one["olrp"] for one in own]
            told = ["" if one.get("threshold") is None else f"from score {one['threshold']:.3f}" for one in own]
            hover = "%{x}: %{y:.1f} %{customdata}<extra>%{fullData.name}</extra>"
            traces.append(bar(name, index[name], shown, values) | {"customdata": told, "hovertemplate": hover})
        return bars("oLRP % (lower is better)", traces)

    return {ALL: spec(list(errors))} | {c: spec([c]) for c in errors} if errors else {}
