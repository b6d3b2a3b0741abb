"""What an evaluation of proposals writes in addition to results.json: the table, and the plots of Hosang et al."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from detzoo.comparison.plots import save
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.text_table import Column, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE_COUNTS: Final = (100, 300, 500, 1000, 2000)
CURVES: Final = (
    ("recall_50", "recall at IoU 0.5"),
    ("recall_70", "recall at IoU 0.7"),
    ("average_recall", "average recall"),
)
CHANGES: Final = {
    "scale": "scale of the sides",
    "rotation": "rotation, degrees",
    "jpeg": "JPEG quality",
    "blur": "blur, standard deviation px",
}
_STYLES: Final = ("-", "--", "-.", ":")


def write_report(out: Path, results: Mapping[str, Any]) -> list[Path]:
    """Write table.md, table.csv and the plots; returns their paths."""
    table = proposal_table(results)
    write_text(out / "table.md", table.markdown())
    write_text(out / "table.csv", table.csv())
    paths = [out / "table.md", out / "table.csv"]
    paths.append(save(count_figure(results), out / "recall.png"))
    paths.append(save(iou_figure(results), out / "recall_iou.png"))
    if any(row["repeatability"] for row in results["methods"]):
        paths.append(save(repeat_figure(results), out / "repeatability.png"))
    return paths


def proposal_table(results: Mapping[str, Any]) -> Table:
    """One row per method; recall and AR in percent."""
    counts = [count for count in results["counts"] if count in TABLE_COUNTS] or list(results["counts"])[-5:]
    columns = [
        Column("name", "method", None),
        Column("boxes", "boxes", 0),
        Column("seconds", "s/image", 3, best="low"),
    ]
    titles = {"average_recall": "AR", "recall_50": "R.5", "recall_70": "R.7"}
    for key, title in titles.items():
        columns += [Column(f"{key}@{count}", f"{title}@{count} %", 1, 100.0, "high") for count in counts]
    columns += [Column(f"repeat_{kind}", f"repeat {kind} %", 1, 100.0, "high") for kind in CHANGES]
    columns += [Column("AP", "AP %", 1, 100.0, "high"), Column("AP50", "AP50 %", 1, 100.0, "high")]
    rows = [_row(row, titles, list(results["counts"])) for row in results["methods"]]
    data = results["data"]
    title = f"{data['name']} {data['split']}: {data['images']} images, {data['objects']} objects"
    return Table(title, columns, rows, _notes(results))


def _row(row: Mapping[str, Any], titles: Mapping[str, str], counts: Sequence[int]) -> dict[str, Any]:
    cells: dict[str, Any] = {name: row.get(name) for name in ("name", "boxes", "seconds", "AP", "AP50")}
    for key in titles:
        cells |= {f"{key}@{count}": value for count, value in zip(counts, row[key], strict=True)}
    for kind, levels in (row["repeatability"] or {}).items():
        values = [value for value in levels.values() if value is not None]
        cells[f"repeat_{kind}"] = sum(values) / len(values) if values else None
    return cells


def _notes(results: Mapping[str, Any]) -> list[str]:
    notes = [
        "AR: average recall over IoU 0.5 to 1, R.5 and R.7: recall at IoU 0.5 and 0.7, of the best so many proposals "
        "of each image; difficult and crowd boxes are left out",
        f"s/image: in the proposer alone, {results['workers']} images at once, one core each; empty for files",
    ]
    if any(row["repeatability"] for row in results["methods"]):
        notes.append(
            f"repeat: mean repeatability over the levels of repeatability.png, {results['repeat_images']} images"
        )
    if results["detector"]:
        notes.append(f"AP, AP50: {results['detector']} fed by each method, pycocotools' protocol")
    if results["data"]["broken"]:
        notes.append(f"{len(results['data']['broken'])} images could not be read and are left out")
    return notes


def count_figure(results: Mapping[str, Any]) -> Figure:
    """Recall at IoU 0.5, at 0.7 and average recall over the mean number of proposals (log)."""
    made = Figure(figsize=(13, 4.2), layout="constrained")
    for axes, (key, title) in zip(made.subplots(1, 3), CURVES, strict=True):
        for number, row in enumerate(results["methods"]):
            axes.plot(row["mean_counts"], row[key], **_line(number), label=row["name"], marker="o", markersize=3)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set(xlabel="proposals per image (log)", ylabel=title, ylim=(0, 1))
        _plain_axes(axes)
    made.axes[-1].legend(fontsize=8)
    return made


def iou_figure(results: Mapping[str, Any]) -> Figure:
    """Recall over IoU at three numbers of proposals."""
    counts = list(results["counts"])
    shown = [count for count in (100, 1000, 2000) if count in counts] or counts[-1:]
    made = Figure(figsize=(13 / 3 * len(shown) + 0.4, 4.2), layout="constrained")
    for axes, count in zip(made.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for number, row in enumerate(results["methods"]):
            values = [by_count[counts.index(count)] for by_count in row["recall_by_iou"]]
            axes.plot(results["ious"], values, **_line(number), label=row["name"])
        axes.set(xlabel="IoU", ylabel=f"recall of {count} proposals", ylim=(0, 1))
        _plain_axes(axes)
    made.axes[-1].legend(fontsize=8)
    return made


def repeat_figure(results: Mapping[str, Any]) -> Figure:
    """Repeatability under each change, one line per method."""
    made = Figure(figsize=(13, 3.6), layout="constrained")
    for axes, (kind, label) in zip(made.subplots(1, len(CHANGES)), CHANGES.items(), strict=True):
        for number, row in enumerate(results["methods"]):
            levels = (row["repeatability"] or {}).get(kind, {})
            points = [(float(level), value) for level, value in levels.items() if value is not None]
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, **_line(number), label=row["name"], marker="o", markersize=3)
        axes.set(xlabel=label, ylabel="repeatability", ylim=(0, 1.02))
        _plain_axes(axes)
    made.axes[0].legend(fontsize=8)
    return made


def _line(number: int) -> dict[str, Any]:
    """Colours repeat after ten lines, with another stroke."""
    return {"color": f"C{number % 10}", "linestyle": _STYLES[number // 10 % len(_STYLES)]}


def _plain_axes(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
