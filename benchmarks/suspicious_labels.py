"""How many of 20 labels that were made wrong does ``detzoo data check --with`` put first?

    python benchmarks/suspicious_labels.py --weights yolo-fastest-1.1-xl.weights \
        --results docs/results/suspicious-labels.json

Of the labels of coco128 (in ``../shared``, beside the checkout) five are removed, five get another class, five are
moved by 0.4 of their width and 0.3 of their height, and five are put beside the real ones at a random place; all of
32 x 32 px and more. The detector sees the images once; each seed makes other labels wrong. COCO's own mistakes stay in,
and count as false alarms.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np

import detzoo
from detzoo.evaluation import collect
from detzoo.evaluation.classes import map_classes
from detzoo.evaluation.judging import boxes_xyxy
from detzoo.evaluation.voc_map import iou_xyxy
from detzoo.inspection.label_check import strength_of
from detzoo.inspection.label_doubts import Doubt, doubted_labels

RECIPE: Final = "yolo_fastest_xl_coco"
DATA: Final = "../shared/data/coco128/object_detection"
KINDS: Final = ("removed", "class", "moved", "invented")
FIRST: Final = (20, 50, 100, 200)
OF_EACH: Final = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="darknet's file of Yolo-Fastest 1.1 XL, COCO")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    detector = detzoo.build(RECIPE, weights=None)
    detzoo.convert_weights(detector, args.weights, source="darknet")
    rows = [measured(detector, split, args.seeds) for split in ("train", "val")]
    text = json.dumps({"detector": RECIPE, "data": "coco128", "seeds": args.seeds, "rows": rows}, indent=1)
    print(text)
    if args.results:
        args.results.write_text(text + "\n", encoding="utf-8")


def measured(detector: Any, split: str, seeds: int) -> dict[str, Any]:
    """Mean number of wrong labels among the first 20, 50, ... of a split, of all kinds and of each."""
    data = detzoo.open_dataset(DATA, split)
    classes = map_classes(detector.classes, data.classes, data.category_ids)
    found = collect(detector, data, classes.category_of).rows
    truth = data.coco_ground_truth()
    ranks: dict[str, list[int]] = defaultdict(list)
    for seed in range(seeds):
        corrupted, wrong = made_wrong(truth, np.random.default_rng(seed))
        doubts = doubted_labels(found, corrupted)
        for kind, image, annotation, box in wrong:
            ranks[kind].append(rank(doubts, kind, image, annotation, box))
    whole = [one for of_kind in ranks.values() for one in of_kind]
    boxes = len(truth["annotations"])
    return {
        "split": split,
        "boxes": boxes,
        "detector": str(strength_of(found, truth)),
        "first": list(FIRST),
        "by_chance": [round(len(KINDS) * OF_EACH * n / boxes, 1) for n in FIRST],
        "all": [round(sum(one < n for one in whole) / seeds, 1) for n in FIRST],
        **{kind: [round(sum(one < n for one in ranks[kind]) / seeds, 1) for n in FIRST] for kind in KINDS},
    }


def made_wrong(truth: dict[str, Any], rng: np.random.Generator) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Ground truth with some labels made wrong, and (kind, image, annotation id or None, right box) of each."""
    labels = truth["annotations"]
    large = [n for n, row in enumerate(labels) if row["area"] >= 32**2 and not row["iscrowd"]]
    chosen = rng.choice(large, OF_EACH * len(KINDS), replace=False)
    kinds = {int(n): KINDS[place % len(KINDS)] for place, n in enumerate(chosen)}
    categories = sorted({row["category_id"] for row in labels})
    sizes = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
    kept, wrong = [], []
    for n, row in enumerate(labels):
        kind, (x, y, width, height) = kinds.get(n), row["bbox"]
        if kind is None or kind == "invented":
            kept.append(row)
        if kind is None:
            continue
        changed = dict(row)
        if kind == "class":
            changed["category_id"] = int(rng.choice([c for c in categories if c != row["category_id"]]))
        elif kind == "moved":
            right, down = rng.choice([-1, 1], 2)
            changed["bbox"] = [x + 0.4 * width * right, y + 0.3 * height * down, width, height]
        elif kind == "invented":
            limits = [max(1.0, side - own) for side, own in zip(sizes[row["image_id"]], (width, height), strict=True)]
            changed |= {"id": len(labels) + n + 1, "bbox": [*rng.uniform(0, limits), width, height]}
        if kind != "removed":
            kept.append(changed)
        wrong.append((kind, row["image_id"], None if kind == "removed" else changed["id"], row["bbox"]))
    return truth | {"annotations": kept}, wrong


def rank(doubts: list[Doubt], kind: str, image: Any, annotation: int | None, box: list[float]) -> int:
    """Place of the first doubt about a wrong label, from 0: about itself, or where the object lies without it."""
    for place, doubt in enumerate(doubts):
        if doubt.image_id != image:
            continue
        if doubt.annotation is not None and doubt.annotation["id"] == annotation:
            return place
        if doubt.annotation is None and kind in ("removed", "moved"):
            overlap = iou_xyxy(boxes_xyxy([doubt.detection or {}]), boxes_xyxy([{"bbox": box}]))
            if overlap[0, 0] >= 0.5:
                return place
    return len(doubts) + max(FIRST)


if __name__ == "__main__":
    main()
