"""Seeded cases for the evaluators: whatever a COCO file may hold, small enough that hundreds are counted in seconds.

Coordinates lie on a coarse grid and scores on a few values, so that ties of scores and of overlaps, and overlaps of
exactly .5, happen all the time.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.random import Generator
from pycocotools import mask as run_lengths

HEIGHT, WIDTH = 160, 240
SIZES: Final = ((4, 28), (32, 96), (96, 150))
"""Sides of boxes in px: small (below 32 squared), medium, large (above 96 squared)."""
FEATURES: Final = ("crowd", "ignore", "empty images", "tied scores", "absent class", "over 100", "masks", "no area")


def case(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]], set[str]]:
    """(COCO ground truth, result rows, which of FEATURES it has)."""
    rng = np.random.default_rng([20, seed])
    features = {name for name in FEATURES if rng.random() < 0.5}
    classes = [int(c) for c in rng.choice(np.arange(1, 91), rng.integers(1, 5), replace=False)]
    images = [int(i) for i in rng.choice(10_000, rng.integers(1, 7), replace=False)]
    truth: dict[str, Any] = {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in images],
        "categories": [{"id": c, "name": f"class {c}"} for c in classes],
        "annotations": boxes_of_truth(rng, images, classes, features),
    }
    found = [row for i in images for row in detections(rng, i, classes, truth["annotations"], features)]
    order = rng.permutation(len(found))
    return truth, [found[n] for n in order], features


def boxes_of_truth(rng: Generator, images: list[int], classes: list[int], features: set[str]) -> list[dict[str, Any]]:
    """Ground truth; with "absent class" none of the last class, with "empty images" some images have none."""
    present = classes[:-1] if "absent class" in features and len(classes) > 1 else classes
    made: list[dict[str, Any]] = []
    for image in images:
        if "empty images" in features and rng.random() < 0.5:
            continue
        for _ in range(rng.integers(1, 8)):
            box = random_box(rng)
            row: dict[str, Any] = {"id": len(made), "image_id": image, "category_id": int(rng.choice(present))}
            row |= {"bbox": box, "area": box[2] * box[3], "iscrowd": int("crowd" in features and rng.random() < 0.2)}
            if "ignore" in features:
                row["ignore"] = int(rng.random() < 0.3)
            if "masks" in features:
                row["segmentation"] = outline(rng, box, crowd=bool(row["iscrowd"]))
                row["area"] = round(box[2] * box[3] * 0.7, 2)
            if "no area" in features:
                del row["area"]
            made.append(row)
    return made


def detections(
    rng: Generator, image: int, classes: list[int], truth: list[dict[str, Any]], features: set[str]
) -> list[dict[str, Any]]:
    """Result rows of one image: shifted ground truth, copies of it, and boxes of nothing."""
    boxes = [(a["category_id"], shifted(rng, a["bbox"])) for a in truth if a["image_id"] == image for _ in range(3)]
    strays = 130 if "over 100" in features else int(rng.integers(0, 6))
    boxes += [(classes[0] if strays > 100 else int(rng.choice(classes)), random_box(rng)) for _ in range(strays)]
    rows = []
    for category, box in boxes:
        score = float(rng.integers(1, 6) / 5 if "tied scores" in features else rng.random())
        row = {"image_id": image, "category_id": category, "bbox": box, "score": score}
        if "masks" in features:
            row["segmentation"] = run_length(box)
        rows.append(row)
    return rows


def random_box(rng: Generator) -> list[float]:
    """xywh px on a grid of 4 px, within the image."""
    low, high = SIZES[rng.integers(len(SIZES))]
    width, height = (int(4 * rng.integers(low // 4, high // 4 + 1)) for _ in range(2))
    left, top = 4 * rng.integers(0, (WIDTH - width) // 4 + 1), 4 * rng.integers(0, (HEIGHT - height) // 4 + 1)
    return [float(left), float(top), float(width), float(height)]


def shifted(rng: Generator, box: list[float]) -> list[float]:
    """The same box (one time in four), one moved by an eighth of its size or more, or half of it: an IoU of .5."""
    x, y, w, h = box
    kind = rng.integers(4)
    if kind == 0:
        return list(box)
    if kind == 1:
        return [x, y, w / 2, h]
    dx, dy = (float(v) for v in rng.integers(-2, 3, 2) / 8)
    return [x + dx * w, y + dy * h, w * float(rng.uniform(0.8, 1.2)), h]


def outline(rng: Generator, box: list[float], *, crowd: bool) -> Any:
    """A polygon in a box, of two parts now and then; run lengths (uncompressed, as COCO's crowds) for a crowd."""
    x, y, w, h = box
    if crowd:
        inside = np.zeros((HEIGHT, WIDTH), np.uint8)
        inside[int(y) : int(y + h), int(x) : int(x + w)] = 1
        return {"size": [HEIGHT, WIDTH], "counts": counts(inside)}
    diamond = [x + w / 2, y, x + w, y + h / 2, x + w / 2, y + h, x, y + h / 2]
    corner = [x, y, x + w / 4, y, x, y + h / 4]
    return [diamond, corner] if rng.random() < 0.3 else [diamond]


def counts(inside: np.ndarray[Any, np.dtype[np.uint8]]) -> list[int]:
    """Lengths of runs of 0 and 1 in turn, column by column, beginning with 0."""
    flat = np.concatenate([[0], inside.T.ravel(), [2]])
    edges = np.flatnonzero(np.diff(flat))
    lengths = np.diff(np.concatenate([[0], edges]))
    return [int(n) for n in lengths]


def run_length(box: list[float]) -> dict[str, Any]:
    """A box as compressed run lengths, as result files hold them."""
    inside = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    x, y, w, h = box
    inside[max(0, round(y)) : max(0, round(y + h)), max(0, round(x)) : max(0, round(x + w))] = 1
    packed = run_lengths.encode(inside)
    return {"size": packed["size"], "counts": packed["counts"].decode()}
