"""AP over the number of training images, drawn: for the page, and as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detzoo.comparison.data_curve import DataCurve, DataCurves
from detzoo.comparison.figures import Spec, colour, layout, line, pale, plain_text
from detzoo.comparison.html_page import Plot, Section
from detzoo.comparison.plots import figure
from detzoo.evaluation.intervals import LEVEL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTE = (
    f"Marks: mean over seeds, with the {100 * LEVEL:g} % interval over test images and seeds. Line and band: the power "
    "law through them and its interval, beyond the last mark as far as twice its images. "
)


def data_section(curves: DataCurves) -> Section:
    """A heading, what more images give, and the drawing."""
    plot = Plot("data", "AP over the number of training images", {"": data_spec(curves)})
    return Section("Training images", [plot], note=NOTE + ". ".join(curves.words) + ".")


def data_spec(curves: DataCurves) -> Spec:
    """Points, fits and bands, as Plotly draws them."""
    traces = []
    for n, one in enumerate(curves.curves):
        traces += [*band_traces(one, n), points_trace(one, n)]
    shape = layout("training images", "AP %")
    shape["xaxis"] |= {"type": "log"}
    return {"data": traces, "layout": shape}


def points_trace(one: DataCurve, n: int) -> Spec:
    """Marks with their intervals."""
    points, ends = one.curve.points, intervals(one)
    up = [high - 100 * p.values.number for p, (_, high) in zip(points, ends, strict=True)]
    down = [100 * p.values.number - low for p, (low, _) in zip(points, ends, strict=True)]
    bars = {"type": "data", "symmetric": False, "array": up, "arrayminus": down}
    trace = line(one.name, n, [p.images for p in points], [100 * p.values.number for p in points], markers=True)
    mode = "lines+markers" if one.curve.law is None else "markers"
    return trace | {"mode": mode, "error_y": bars, "marker": {"size": 9}, "legendgroup": plain_text(one.name)}


def band_traces(one: DataCurve, n: int) -> list[Spec]:
    """The fit and its band; nothing where there is none."""
    if one.curve.law is None:
        return []
    asked = one.asked()
    middle, low, high = ((100 * values).tolist() for values in one.curve.band(asked))
    hidden: Spec = {"showlegend": False, "hoverinfo": "skip", "legendgroup": plain_text(one.name)}
    edge: Spec = {"line": {"width": 0}, **hidden}
    tone = colour(n)
    fill = {"fill": "tonexty", "fillcolor": pale(tone)}
    return [
        line(one.name, n, asked, low, **edge),
        line(one.name, n, asked, high, **edge) | fill,
        line(one.name, n, asked, middle, **hidden),
    ]


def intervals(one: DataCurve) -> list[tuple[float, float]]:
    """Ends of each point's interval in percent; the point itself where there is none."""
    found = []
    for point in one.curve.points:
        own = point.values.interval(one.support, one.units)
        here = 100 * point.values.number
        found.append((here, here) if own is None else (100 * own.low, 100 * own.high))
    return found


def data_figure(curves: DataCurves) -> Figure:
    """The same as a file."""
    made, axes = figure()
    for n, one in enumerate(curves.curves):
        points, ends = one.curve.points, intervals(one)
        x, y = [p.images for p in points], [100 * p.values.number for p in points]
        down = [here - low for here, (low, _) in zip(y, ends, strict=True)]
        up = [high - here for here, (_, high) in zip(y, ends, strict=True)]
        style = "o-" if one.curve.law is None else "o"
        axes.errorbar(x, y, [down, up], fmt=style, color=colour(n), capsize=3, label=one.name)
        if one.curve.law is not None:
            middle, low, high = one.curve.band(one.asked())
            axes.plot(one.asked(), 100 * middle, color=colour(n))
            axes.fill_between(one.asked(), 100 * low, 100 * high, color=colour(n), alpha=0.18, linewidth=0)
    axes.set_xscale("log")
    axes.set(xlabel="training images (log)", ylabel="AP %")
    axes.legend(fontsize=7)
    return made
