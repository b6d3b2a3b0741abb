"""Recall of selective search's boxes on real photographs, beside OpenCV contrib's in the same mode.

    python -m venv contrib && contrib/bin/pip install opencv-contrib-python-headless
    python benchmarks/proposal_recall.py --contrib contrib/bin/python [--images 64] [--seeds 1 2 3] [--out FILE]

For each dataset the share of annotated objects that one of the first N boxes overlaps by an IoU of 0.5, and the mean
of that share over IoU 0.5, 0.55, ... 0.95 (average recall). Both orders are random: each seed gives another order, and
the mean over seeds is reported; OpenCV draws from C's rand(), which the script beside this one seeds. ``same settings``
are ours with OpenCV's k, minimum size and 4 neighbours.

Then the two photographs of Fast R-CNN's demo: which share of the boxes of its authors' MATLAB code ours overlap, and
the other way round, at IoU 0.5 and 0.7 (``scipy`` reads them; they have no annotations).

Photographs: playing-cards and COCO128 in ``../shared``, beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

import detzoo
from detzoo.runtime.images import read_image
from detzoo_rcnn.selective_search import SelectiveSearch

Boxes = NDArray[np.float64]

SHARED: Final = Path(__file__).parents[2] / "shared" / "data"
DATA: Final = {
    "playing-cards": (SHARED / "playing-cards", "test"),
    "coco128": (SHARED / "coco128" / "object_detection", "val"),
}
COUNTS: Final = (100, 500, 1000, 2000)
THRESHOLDS: Final = np.arange(0.5, 0.96, 0.05)
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "detzoo fast": {"mode": "fast"},
    "detzoo fast, the paper's order": {"mode": "fast", "order": "rank", "near": 1.0},
    "detzoo, OpenCV's settings": {"mode": "fast", "k": (150, 300, 450), "min_size": 100, "graph": "grid4"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contrib", required=True, help="a Python with opencv-contrib-python-headless")
    parser.add_argument("--images", type=int, default=64, help="of each dataset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    for name in DATA:
        images = annotated(name, args.images)
        rows += [row(name, "OpenCV contrib fast", images, [contrib(args, images, seed) for seed in args.seeds])]
        for what, fields in SETTINGS.items():
            found = [[boxes_of(path, SelectiveSearch(**fields, seed=s)) for path, _ in images] for s in args.seeds]
            rows += [row(name, what, images, found)]
    result = {"seeds": args.seeds, "rows": rows, "authors": beside_the_authors(args)}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def annotated(name: str, most: int) -> list[tuple[Path, Boxes]]:
    """Photographs with their objects [M,4] xyxy px; those without any are left out."""
    folder, split = DATA[name]
    dataset = detzoo.open_dataset(str(folder), split)
    samples = (dataset.sample(position) for position in range(min(most, len(dataset))))
    return [(Path(s.path), s.boxes[~s.crowd].astype(np.float64)) for s in samples if (~s.crowd).any()]


def contrib(args: Any, images: list[tuple[Path, Boxes]], seed: int) -> list[Boxes]:
    """OpenCV contrib's boxes [P,4] xyxy px of each photograph."""
    helper = [args.contrib, str(Path(__file__).with_name("contrib_selective_search.py")), "fast", str(seed), "1"]
    paths = "".join(f"{path}\n" for path, _ in images)
    done = subprocess.run(helper, input=paths, capture_output=True, text=True, check=True)
    found = [np.array(json.loads(line)["boxes"], np.float64).reshape(-1, 4) for line in done.stdout.splitlines()]
    return [np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) for boxes in found]


def boxes_of(path: Path, search: SelectiveSearch) -> Boxes:
    return search(read_image(path))[0].astype(np.float64)


def row(data: str, what: str, images: list[tuple[Path, Boxes]], found: list[list[Boxes]]) -> dict[str, Any]:
    """Means over seeds."""
    table: dict[str, Any] = {"data": data, "what": what, "images": len(images)}
    table["objects"] = sum(len(objects) for _, objects in images)
    table["boxes"] = round(float(np.mean([len(boxes) for boxes in found[0]])))
    overlaps = [best_overlaps([objects for _, objects in images], boxes) for boxes in found]
    for column, count in enumerate(COUNTS):
        recalls = [[(best[:, column] >= t).mean() for t in THRESHOLDS] for best in overlaps]
        table[f"recall_{count}"] = round(float(np.mean([shares[0] for shares in recalls])), 4)
        table[f"average_recall_{count}"] = round(float(np.mean(recalls)), 4)
    print(json.dumps(table), flush=True)
    return table


def best_overlaps(objects: list[Boxes], proposals: list[Boxes]) -> Boxes:
    """IoU of each object with the best of the first N boxes, [objects, COUNTS]."""
    found = [np.zeros((0, len(COUNTS)))]
    for own, boxes in zip(objects, proposals, strict=True):
        best = np.maximum.accumulate(iou(own, boxes), axis=1) if len(boxes) else np.zeros((len(own), 1))
        found.append(best[:, np.minimum(COUNTS, best.shape[1]) - 1])
    return np.concatenate(found)


def iou(a: Boxes, b: Boxes) -> Boxes:
    """[A,B] of boxes [A,4] and [B,4] xyxy px."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area, other = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b))
    return np.asarray(shared / (area[:, None] + other[None] - shared))


def beside_the_authors(args: Any) -> list[dict[str, Any]]:
    """Shares of boxes that the other side has too, for the two photographs of which the authors' boxes are known."""
    folder = SHARED / "oracle-selective-search" / "demo"
    tables = []
    for name in ("000004", "001551"):
        theirs = loadmat(folder / f"{name}_boxes.mat")["boxes"].astype(np.float64)
        theirs[:, 2:] += 1  # they are inclusive
        path = folder / f"{name}.jpg"
        sides = {"OpenCV contrib fast": contrib(args, [(path, theirs)], args.seeds[0])[0]}
        sides |= {what: boxes_of(path, SelectiveSearch(**fields)) for what, fields in SETTINGS.items()}
        table: dict[str, Any] = {"photograph": name, "authors_boxes": len(theirs)}
        tables.append(table | {what: shares(theirs, boxes) for what, boxes in sides.items()})
        print(json.dumps(tables[-1]), flush=True)
    return tables


def shares(theirs: Boxes, ours: Boxes) -> dict[str, float]:
    """How many boxes of each side overlap one of the other by a threshold."""
    overlap = iou(theirs, ours)
    found: dict[str, float] = {"boxes": len(ours)}
    for threshold in (0.5, 0.7):
        found[f"of_authors_{threshold}"] = round(float((overlap.max(axis=1) >= threshold).mean()), 3)
        found[f"of_ours_{threshold}"] = round(float((overlap.max(axis=0) >= threshold).mean()), 3)
    return found


if __name__ == "__main__":
    main()
