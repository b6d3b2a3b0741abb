"""The best recall that YOLOv1's grid allows: one object per cell, on datasets and grids.

    python benchmarks/yolo_grid_recall.py --data ../shared/data/bccd:test ../shared/data/playing-cards:test --out FILE

An object is lost where the cell of its centre has an earlier one. Which of them is kept depends on their order, not how
many, so the number is exact.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import detzoo

GRIDS = ((7, 7), (10, 13), (13, 10), (14, 14))
"""(rows, columns): the paper's, those of yolov1_mobilenet_v2 at 320x416 and 416x320 px, and of 448 px at stride 32."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="DATA:SPLIT")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    for spec in args.data:
        name, _, split = spec.rpartition(":")
        data = detzoo.open_dataset(name, split, quiet=True)
        for grid in GRIDS:
            kept, objects = count(data, grid)
            rows.append(
                {"data": data.name, "split": split, "grid": list(grid), "objects": objects, "recall": kept / objects}
            )
            print(
                f"{data.name} {split}: {grid[0]}x{grid[1]} cells hold {kept} of {objects} objects, {kept / objects:.3f}"
            )
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def count(data: detzoo.data.Dataset, grid: tuple[int, int]) -> tuple[int, int]:
    """Cells that hold the centre of an object, and objects, over all images."""
    index = data.annotations()
    image = np.repeat(np.arange(len(index)), np.diff(index.ends, prepend=0))
    sizes = index.sizes[image].astype(float)  # (height, width)
    centre = (index.boxes[:, :2] + index.boxes[:, 2:]) / 2
    row = np.clip((centre[:, 1] / sizes[:, 0] * grid[0]).astype(int), 0, grid[0] - 1)
    column = np.clip((centre[:, 0] / sizes[:, 1] * grid[1]).astype(int), 0, grid[1] - 1)
    return len(np.unique((image * grid[0] + row) * grid[1] + column)), len(image)


if __name__ == "__main__":
    main()
