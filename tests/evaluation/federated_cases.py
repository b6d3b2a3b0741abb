"""Federated ground truth and detections, the same on every machine: made of ``random.Random.random`` alone.

Boxes lie on a grid of 4 px and scores take few values, so that ties of scores and overlaps of exactly .5 happen.
``python -m tests.evaluation.federated_cases`` writes what lvis-api 0.5.3 says of each case to
lvis_api_figures.json; it needs the package ``lvis``, whose ``np.float`` (gone since NumPy 1.24) is put back.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any, Final

from pycocotools import mask as run_lengths

HEIGHT, WIDTH = 240, 320
SIZES: Final = (8, 24, 60, 120, 200)
FIGURES: Final = Path(__file__).with_name("lvis_api_figures.json")
CASES: Final = tuple((seed, kind) for seed in range(6) for kind in ("bbox", "segm"))


class Dice:
    """Choices of a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def below(self, most: int) -> int:
        """0..most-1."""
        return int(self.random() * most)

    def some(self, values: list[int], share: float) -> list[int]:
        """Each with the same chance."""
        return [value for value in values if self.random() < share]


def case(seed: int, *, masks: bool = False) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(ground truth, result rows): 6 images, one with over 300 detections; 9 classes, one without object.

    With masks, rows have no box, as lvis-api then takes sizes from the masks.
    """
    dice = Dice(seed)
    classes = [3 * n + 2 for n in range(9)]
    images: list[dict[str, Any]] = [{"id": 7 * n + 1, "height": HEIGHT, "width": WIDTH} for n in range(6)]
    truth: dict[str, Any] = {
        "images": images,
        "annotations": [],
        "categories": [{"id": c, "name": f"class {c}", "frequency": "rcf"[n % 3]} for n, c in enumerate(classes)],
    }
    found = []
    for n, image in enumerate(images):
        present = dice.some(classes[:-1], 0.4) if n else []
        boxes = [(c, random_box(dice)) for c in present for _ in range(1 + dice.below(3))]
        truth["annotations"] += [
            {
                "id": len(truth["annotations"]) + k, "image_id": image["id"], "category_id": c, "bbox": box,
                "area": box[2] * box[3] * (0.75 if masks else 1.0), "segmentation": [octagon(box)],
                "ignore": int(dice.random() < 0.1),
            }
            for k, (c, box) in enumerate(boxes, start=1)
        ]  # fmt: skip
        image["neg_category_ids"] = dice.some([c for c in classes if c not in present], 0.4)
        image["not_exhaustive_category_ids"] = dice.some(present, 0.3)
        strays = 330 if n == 2 else 12
        rows = [(c, moved(dice, box)) for c, box in boxes for _ in range(2)]
        rows += [(classes[dice.below(9)], random_box(dice)) for _ in range(strays)]
        for c, box in rows:
            score = (1 + dice.below(20)) / 20
            found.append({"image_id": image["id"], "category_id": c, "score": score} | shape(box, masks=masks))
    return truth, found


def shape(box: list[float], *, masks: bool) -> dict[str, Any]:
    if not masks:
        return {"bbox": box}
    packed = run_lengths.frPyObjects([octagon(box)], HEIGHT, WIDTH)[0]
    return {"segmentation": {"size": packed["size"], "counts": packed["counts"].decode()}}


def random_box(dice: Dice) -> list[float]:
    """xywh px within the image."""
    width, height = (SIZES[dice.below(len(SIZES))] for _ in range(2))
    left, top = (4 * dice.below((side - own) // 4 + 1) for side, own in ((WIDTH, width), (HEIGHT, height)))
    return [float(value) for value in (left, top, width, height)]


def moved(dice: Dice, box: list[float]) -> list[float]:
    """The same box, its left half, or one moved by up to a quarter; inside the image."""
    x, y, width, height = box
    kind = dice.below(4)
    if kind == 0:
        return box
    if kind == 1:
        return [x, y, width / 2, height]
    x = min(max(x + (dice.below(5) - 2) * width / 8, 0.0), WIDTH - width)
    y = min(max(y + (dice.below(5) - 2) * height / 8, 0.0), HEIGHT - height)
    return [x, y, width, height]


def octagon(box: list[float]) -> list[float]:
    """An outline without the corners of a box."""
    x, y, width, height = box
    a, b = width / 4, height / 4
    points = [
        (a, 0.0), (3 * a, 0.0), (width, b), (width, 3 * b), (3 * a, height), (a, height), (0.0, 3 * b), (0.0, b),
    ]  # fmt: skip
    return [value for dx, dy in points for value in (x + dx, y + dy)]


def figures_of_lvis_api() -> dict[str, dict[str, float]]:
    """Metrics by case, -1 where there is no ground truth."""
    import numpy as np

    np.float = float  # type: ignore[attr-defined]
    from lvis import LVIS, LVISEval  # type: ignore[import-not-found]

    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed, kind in CASES:
            truth, rows = case(seed, masks=kind == "segm")
            file = Path(folder) / "truth.json"
            file.write_text(json.dumps(truth))
            counted = LVISEval(LVIS(str(file)), rows, kind)
            counted.run()
            figures[f"{seed} {kind}"] = {name: float(value) for name, value in counted.get_results().items()}
    return figures


if __name__ == "__main__":
    FIGURES.write_text(json.dumps(figures_of_lvis_api(), indent=1) + "\n")
