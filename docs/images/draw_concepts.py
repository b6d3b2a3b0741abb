"""Draw the images of docs/concepts/ with the project's own operations: suppression, RoI pooling, receptive fields.

    python docs/images/draw_concepts.py

Priors and matches are drawn by `detzoo show --priors` and `--matches`; see the page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from detzoo import build
from detzoo.comparison.plots import save
from detzoo.components.roi_pools import RoiAlign, RoiMaxPool
from detzoo.components.suppress import Nms, SoftNms
from detzoo.inspection.receptive_fields import receptive_fields
from detzoo.ops.boxes import iou_matrix
from detzoo.types import Candidates, FeatureSpec

HERE: Final = Path(__file__).parent
FIRST, SECOND, GONE = "#0b7285", "#d9480f", "#adb5bd"

CROWD: Final = torch.tensor(
    [[20.0, 20, 70, 130], [24, 16, 74, 128], [16, 26, 66, 132], [42, 18, 92, 128], [46, 24, 96, 132], [40, 30, 90, 126]]
)
"""Six detections of two people, one partly before the other: three boxes each."""
SCORES: Final = torch.tensor([0.95, 0.80, 0.60, 0.90, 0.75, 0.55])


def nms_image() -> Figure:
    """The same six boxes: as they come, after hard NMS at two thresholds, after Soft-NMS."""
    made = Figure(figsize=(12, 3.6), layout="constrained")
    axes = made.subplots(1, 4)
    between = float(iou_matrix(CROWD[:1], CROWD[3:4]))
    soft = SoftNms(method="gaussian", sigma=0.5, min_score=0.2)
    panels = (
        (f"two people, IoU {between:.2f}: six boxes", SCORES),
        ("hard NMS, IoU 0.3: one person is lost", suppressed(Nms(iou=0.3))),
        ("hard NMS, IoU 0.5: two people", suppressed(Nms(iou=0.5))),
        ("Soft-NMS: the second is kept, weaker", suppressed(soft)),
    )
    for place, (title, scores) in zip(axes, panels, strict=True):
        draw_boxes(place, scores)
        place.set_title(title, fontsize=9)
    return made


def suppressed(method: Nms | SoftNms) -> Tensor:
    group = torch.zeros(1, len(CROWD), dtype=torch.int64)
    kept: Tensor = method(CROWD[None], SCORES[None], group, torch.ones(1, len(CROWD), dtype=torch.bool))
    return kept[0]


def draw_boxes(axes: Axes, scores: Tensor) -> None:
    for index, (box, score) in enumerate(zip(CROWD.tolist(), scores.tolist(), strict=True)):
        if score == 0:
            continue
        first = index < 3
        colour = FIRST if first else SECOND
        x, y, right, bottom = box
        width = 0.5 + 2 * score
        axes.add_patch(Rectangle((x, y), right - x, bottom - y, fill=False, edgecolor=colour, linewidth=width))
        side = "left" if first else "right"
        axes.text(
            x + 2 if first else right - 2, 128 - 30 * (index % 3), f"{score:.2f}", color=colour, fontsize=8, ha=side
        )
    axes.set(xlim=(8, 104), ylim=(138, 8), aspect="equal", xticks=[], yticks=[])


REGION: Final = (1.4, 2.3, 6.2, 6.6)
"""Left, top, right, bottom in cells of the map."""


def pooling_image() -> Figure:
    """One region on one map: the cells that RoIPool takes, the points that RoIAlign samples, and the error of each."""
    made = Figure(figsize=(12, 3.9), layout="constrained")
    left, middle, right = made.subplots(1, 3)
    x, y, end_x, end_y = REGION
    for axes in (left, middle):
        axes.set(xlim=(0, 8), ylim=(8, 0), aspect="equal", xticks=range(9), yticks=range(9))
        axes.grid(color="#dee2e6")
        axes.add_patch(Rectangle((x, y), end_x - x, end_y - y, fill=False, edgecolor=FIRST, linewidth=2))
    draw_bins(left)
    draw_samples(middle)
    shifts, pooled, aligned = errors()
    right.plot(shifts, pooled, color=SECOND, label="RoIPool")
    right.plot(shifts, aligned, color=FIRST, label="RoIAlign")
    right.set(xlabel="the region moves to the right, px (a cell is 16)", ylabel="error of its middle, px")
    right.set_title("pooled from a map of its own x: the error", fontsize=9)
    right.legend(fontsize=8)
    right.spines[["top", "right"]].set_visible(False)
    right.grid(alpha=0.25)
    return made


def draw_bins(axes: Axes) -> None:
    """2x2 bins over the cells from the rounded first to the rounded last one, both included; bins share cells."""
    first_x, first_y, last_x, last_y = (round(value) for value in REGION)
    columns, rows = np.linspace(first_x, last_x + 1, 3), np.linspace(first_y, last_y + 1, 3)
    for row in range(2):
        for column in range(2):
            low = np.floor((columns[column], rows[row]))
            high = np.ceil((columns[column + 1], rows[row + 1]))
            hatch = ("//", "\\\\")[(row + column) % 2]
            size = high - low
            axes.add_patch(Rectangle(tuple(low), *size, fill=False, hatch=hatch, edgecolor=SECOND, alpha=0.6))
    axes.set_title("RoIPool: rounded to cells; maxima", fontsize=9)


def draw_samples(axes: Axes) -> None:
    """2x2 bins of the region as it is, four points in each."""
    x, y, end_x, end_y = REGION
    places = (np.arange(4) + 0.5) / 4
    columns, rows = np.meshgrid(x + (end_x - x) * places, y + (end_y - y) * places)
    axes.plot(columns.ravel(), rows.ravel(), "o", color=SECOND)
    axes.plot([(x + end_x) / 2] * 2, [y, end_y], "--", color=FIRST)
    axes.plot([x, end_x], [(y + end_y) / 2] * 2, "--", color=FIRST)
    axes.set_title("RoIAlign: bilinear samples; means", fontsize=9)


def errors() -> tuple[list[float], list[float], list[float]]:
    """Regions that move over a ramp, pooled to one value, minus the middle that the ramp has there."""
    features = {"s16": FeatureSpec(channels=1, stride=16)}
    ramp = ((torch.arange(24.0) + 0.5) * 16).expand(1, 1, 24, 24)  # each cell holds the x of its middle
    shifts = [float(value) for value in np.arange(0, 48, 0.5)]
    boxes = torch.tensor([[64.0 + shift, 64, 64 + shift + 96, 160] for shift in shifts])[None]
    candidates = Candidates(boxes=boxes, valid=torch.ones(boxes.shape[:2], dtype=torch.bool))
    middles = (boxes[0, :, 0] + boxes[0, :, 2]) / 2
    aligned = RoiAlign(features, output=(1, 1), sampling_ratio=2)({"s16": ramp}, candidates)
    # the maximum of a rising ramp is its last cell; of a falling one its first: their mean is the middle that is seen
    pool = RoiMaxPool(features, output=(1, 1))
    high, low = pool({"s16": ramp}, candidates), -pool({"s16": -ramp}, candidates)
    pooled = (high + low).flatten() / 2 - middles
    return shifts, pooled.tolist(), (aligned.flatten() - middles).tolist()


SEEN: Final = ("ssd300_vgg16", "ssd_mobilenet_v2_fpn", "retinanet_resnet50_fpn")


def fields_image() -> Figure:
    """For each level: what a cell sees, and the candidates that stand on it."""
    made = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, name in zip(made.subplots(1, len(SEEN)), SEEN, strict=True):
        fields = receptive_fields(build(name, weights=None))
        for row, field in enumerate(fields):
            if field.width is not None:
                axes.barh(row, field.width, height=0.6, color=GONE, label="a cell sees" if row == 0 else None)
            if field.smallest is not None and field.largest is not None:
                axes.barh(row, field.largest - field.smallest, left=field.smallest, height=0.6, color=FIRST,
                          label="candidates" if row == 0 else None)  # fmt: skip
        axes.set(
            yticks=range(len(fields)), yticklabels=[field.level for field in fields], xlabel="network px", title=name
        )
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8)
    return made


def main() -> None:
    for name, image in (("nms", nms_image), ("roi-pooling", pooling_image), ("receptive-fields", fields_image)):
        print(save(image(), HERE / f"{name}.png"))


if __name__ == "__main__":
    main()
