"""The drawings of the page, as Plotly figures: data and layout only, so that the page draws them offline.

A drawing has variants (a class, a pair of axes, a detector) among which the page's menus choose. Colours of text, grid
and background are the page's: it sets them for light and for dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

PALETTE: Final = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b5a300", "#888888", "#8c4a2f", "#7d5fb2",
)  # fmt: skip
"""Okabe and Ito's eight: distinguishable with the common colour-vision deficiencies, on white and on black. After
them brown and violet, for further entries."""
ALL: Final = "all classes"
UNKNOWN: Final = "not recorded"
MOST_VALUES: Final = 24
"""Bars of a drawing up to which their values are written above them."""
RECALL: Final = [n / 100 for n in range(101)]
SCORES: Final = [n / 100 for n in range(101)]

Spec = dict[str, Any]


def colour(index: int) -> str:
    """Of a detector, the same in every drawing that has one colour per detector."""
    return PALETTE[index % len(PALETTE)]


def layout(x: str, y: str, *, height: int = 420, **more: Any) -> Spec:
    """Axes with titles, the legend below.

    The title of the vertical axis lies above it: turned by a right angle it would be cut off where the plot is low.
    """
    return {
        "height": height,
        "margin": {"l": 40, "r": 16, "t": 36, "b": 50},
        "title": {"text": y, "x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 4, "t": 6}}
        | {"yref": "container", "y": 1, "yanchor": "top", "font": {"size": 13}},
        "xaxis": {"title": {"text": x, "standoff": 10, "font": {"size": 13}}, "automargin": True},
        "yaxis": {"automargin": True},
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        **more,
    }


def plain_text(text: object) -> str:
    """Names within Plotly's small HTML."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def counted(label: str, objects: int | None) -> str:
    """A label with the number of objects behind it below."""
    return label if objects is None else f"{label}<br>n={objects}"


def in_order(names: Iterable[str | None]) -> list[str]:
    """Each once, as they come."""
    return list(dict.fromkeys(name or UNKNOWN for name in names))


def learning(series: Mapping[str, Mapping[str, Sequence[Sequence[tuple[float, float]]]]]) -> dict[str, Spec]:
    """Learning curves, overlaid; of several seeds their mean, and a band from the lowest to the highest.

    Args:
        series: quantity -> detector -> the curve of each seed, (epoch, value) points.
    """
    found = {}
    for title, of_detectors in series.items():
        traces = [
            trace for n, (name, seeds) in enumerate(of_detectors.items()) for trace in curve_traces(name, n, seeds)
        ]
        if traces:
            found[title] = {"data": traces, "layout": layout("epoch", title)}
    return found


def curve_traces(name: str, index: int, seeds: Sequence[Sequence[tuple[float, float]]]) -> list[Spec]:
    """One detector's mean curve, at the epochs that all its seeds have, after its band; nothing without points."""
    known = [dict(points) for points in seeds if points]
    epochs = sorted(set.intersection(*map(set, known))) if known else []
    if not epochs:
        return []
    values = [[one[epoch] for one in known] for epoch in epochs]
    middle = line(name, index, epochs, [sum(own) / len(own) for own in values], markers=True)
    if len(known) == 1:
        return [middle]
    group = {"legendgroup": plain_text(name)}
    hidden: Spec = {"showlegend": False, "hoverinfo": "skip", "mode": "lines", "line": {"width": 0}, **group}
    fill = {"fill": "tonexty", "fillcolor": pale(colour(index))}
    return [
        {"type": "scatter", "x": epochs, "y": [min(own) for own in values], **hidden},
        {"type": "scatter", "x": epochs, "y": [max(own) for own in values], **hidden, **fill},
        middle | group,
    ]


def pale(tone: str) -> str:
    """A colour that lets what is below it through."""
    red, green, blue = (int(tone[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def line(name: str, index: int, x: Sequence[float], y: Sequence[float], *, markers: bool = False, **more: Any) -> Spec:
    """One detector's line."""
    return {
        "type": "scatter",
        "mode": "lines+markers" if markers else "lines",
        "name": plain_text(name),
        "x": list(x),
        "y": list(y),
        "line": {"color": colour(index), "width": 2} | more.pop("line", {}),
        **more,
    }


def class_bars(
    classes: Mapping[str, Mapping[str, float | None]],
    names: Sequence[str],
    objects: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, Spec]:
    """AP of each class, one bar per detector; and of one class alone.

    Args:
        classes: class -> detector -> AP in percent.
        names: detectors.
        objects: class -> metric -> objects that count.
    """
    known = objects or {}

    def spec(shown: Sequence[str]) -> Spec:
        return bars(
            "AP %",
            [bar(name, n, shown, [classes[c].get(name) for c in shown]) for n, name in enumerate(names)],
            [known.get(c, {}).get("AP") for c in shown],
        )

    return {ALL: spec(list(classes))} | {c: spec([c]) for c in classes} if classes else {}


def size_bars(
    sizes: Mapping[str, Mapping[str, Sequence[float | None]]], objects: Mapping[str, Mapping[str, int]] | None = None
) -> dict[str, Spec]:
    """AP of small, medium and large objects.

    Args:
        sizes: class, or ALL -> detector -> the three, in percent.
        objects: class, or ALL -> metric -> objects that count.
    """
    titles = ("small", "medium", "large")
    known = objects or {}
    return {
        which: bars(
            "AP %",
            [bar(name, n, titles, values) for n, (name, values) in enumerate(of_detectors.items())],
            [known.get(which, {}).get(metric) for metric in ("APs", "APm", "APl")],
        )
        for which, of_detectors in sizes.items()
        if any(v is not None for values in of_detectors.values() for v in values)
    }


def error_bars(errors: Mapping[str, Mapping[str, Mapping[str, float]]], index: Mapping[str, int]) -> dict[str, Spec]:
    """AP50 that each kind of error costs.

    Args:
        errors: class, or ALL -> detector -> kind -> gain, 0..1.
        index: detector -> its number, for the colour.
    """
    return {
        which: bars(
            "AP50 % gained when mended",
            [
                bar(name, index[name], list(gains), [100 * gain for gain in gains.values()])
                for name, gains in of_detectors.items()
            ],
        )
        for which, of_detectors in errors.items()
        if of_detectors
    }


def bars(title: str, traces: Sequence[Spec], objects: Sequence[int | None] = ()) -> Spec:
    """Groups of bars, which say their values where there is room; below each group the number of its objects."""
    shape = layout("", title, barmode="group", uniformtext={"mode": "hide", "minsize": 10})
    shape["xaxis"]["showgrid"] = False
    if objects and traces:
        groups = list(traces[0]["x"])
        labels = [counted(label, count) for label, count in zip(groups, objects, strict=True)]
        shape["xaxis"] |= {"tickmode": "array", "tickvals": groups, "ticktext": labels}
    if sum(len(trace["x"]) for trace in traces) <= MOST_VALUES:
        traces = [
            {**trace, "texttemplate": "%{y:.1f}", "textposition": "outside", "textangle": 0, "cliponaxis": False}
            for trace in traces
        ]
    return {"data": list(traces), "layout": shape}


def bar(name: str, index: int, x: Sequence[str], y: Sequence[float | None]) -> Spec:
    """One detector's bars."""
    return {
        "type": "bar",
        "name": plain_text(name),
        "x": [plain_text(label) for label in x],
        "y": list(y),
        "marker": {"color": colour(index)},
        "hovertemplate": "%{x}: %{y:.1f}<extra>%{fullData.name}</extra>",
    }


def precision_curves(
    curves: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], index: Mapping[str, int]
) -> dict[str, Spec]:
    """Precision over recall of each class, solid at IoU .50, dashed at .75; and the mean of the classes.

    Args:
        curves: detector -> class -> IoU in percent -> precision at RECALL.
        index: detector -> its number, for the colour.
    """
    classes = in_order(c for of_one in curves.values() for c in of_one)
    found = {}
    for which in [ALL, *classes] if classes else []:
        traces = []
        for name, of_one in curves.items():
            chosen = list(of_one.values()) if which == ALL else [of_one[which]] if which in of_one else []
            for iou, dash in (("50", "solid"), ("75", "dash")):
                lines = [of_class[iou] for of_class in chosen if iou in of_class]
                if lines:
                    mean = [round(sum(values) / len(values), 4) for values in zip(*lines, strict=True)]
                    look: Spec = {"line": {"dash": dash, "width": 2 if iou == "50" else 1.5}, "legendgroup": name}
                    drawn = line(f"{name}, IoU .{iou}" if dash == "dash" else name, index[name], RECALL, mean, **look)
                    traces.append(drawn | {"showlegend": dash == "solid"})
        shape = layout("recall", "precision" + (", mean of the classes" if which == ALL else ""))
        shape["xaxis"]["range"], shape["yaxis"]["range"] = [0, 1], [0, 1.02]
        found[which] = {"data": traces, "layout": shape}
    return found


def f1_lines(curves: Mapping[str, Mapping[str, Any]], index: Mapping[str, int]) -> dict[str, Spec]:
    """F1 against confidence, one line per detector; its best threshold is marked, and told in the legend.

    Args:
        curves: detector -> class, or ALL -> ``f1`` at each threshold, ``threshold`` and ``best``.
        index: detector -> its number, for the colour.
    """
    classes = in_order(c for of_one in curves.values() for c in of_one)
    found = {}
    for which in classes:
        traces = []
        for name, of_one in curves.items():
            if which in of_one:
                best, threshold = of_one[which]["best"], of_one[which]["threshold"]
                told = f"{plain_text(name)}<br>best {best:.2f} at score {threshold:.2f}"
                curve = line(name, index[name], SCORES, of_one[which]["f1"], legendgroup=name)
                traces.append(curve | {"name": told})
                point = {"color": colour(index[name]), "size": 10}
                traces.append(
                    line(name, index[name], [threshold], [best], markers=True)
                    | {"mode": "markers", "marker": point, "showlegend": False, "legendgroup": name}
                )
        shape = layout("least score", "F1" + (", mean of the classes" if which == ALL else ""))
        shape["xaxis"]["range"], shape["yaxis"]["range"] = [0, 1], [0, 1.02]
        found[which] = {"data": traces, "layout": shape}
    return found


def confusions(matrices: Mapping[str, Mapping[str, Any]]) -> dict[str, Spec]:
    """What was taken for what, one variant per detector; colours are shares of the true class."""
    found = {}
    for name, matrix in matrices.items():
        classes, counts = [plain_text(c) for c in matrix["classes"]], matrix["counts"]
        share = [[value / max(1, sum(row)) for value in row] for row in counts]
        shape = layout("detected", "truth", height=min(900, 260 + 26 * len(classes)))
        shape["yaxis"] |= {"autorange": "reversed", "type": "category"}
        shape["xaxis"] |= {"type": "category"}
        found[name] = {
            "data": [
                {
                    "type": "heatmap",
                    "x": classes,
                    "y": classes,
                    "z": share,
                    "text": counts,
                    "texttemplate": "%{text}" if len(classes) <= 21 else "",
                    "zmin": 0,
                    "zmax": 1,
                    "xgap": 1,
                    "ygap": 1,
                    "showscale": False,
                    "hovertemplate": "truth %{y}, detected %{x}: %{text} (%{z:.0%})<extra></extra>",
                }
            ],
            "layout": shape,
        }
    return found
