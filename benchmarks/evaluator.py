"""The engine ``faster`` against ``pycocotools``: 1,000 images x 100 detections x 80 classes, in pairs in one process.

    python benchmarks/evaluator.py --pairs 3 --out docs/results/speed/evaluator.json

What is timed is ``coco_map`` from result rows to the twelve numbers, the ground truth prepared again each time; both
must give the same numbers to the last digit. The ratio of user CPU times hardly depends on what else a machine does.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from detzoo.evaluation.coco_map import CocoResult, coco_map
from detzoo.evaluation.coco_truth import CocoGroundTruth
from detzoo.evaluation.engines import Engine

ENGINES: Final[tuple[Engine, ...]] = ("pycocotools", "faster")
LIMIT: Final = 5.0
HEIGHT, WIDTH = 480, 640


def boxes(rng: np.random.Generator, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Random xywh px [count,4], sides 8 to 300 px."""
    sides = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * (np.array([WIDTH, HEIGHT]) - sides)
    return np.concatenate([corner, sides], axis=1)


def case(images: int, detections: int, classes: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth of 7 boxes per image (COCO has 7.3), each found about five times; the rest is found in nothing."""
    rng = np.random.default_rng(0)
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        own, labels = boxes(rng, 7), rng.integers(1, classes + 1, 7)
        for box, label in zip(own.tolist(), labels.tolist(), strict=True):
            row = {"id": len(truth) + 1, "image_id": image, "category_id": label, "bbox": box, "iscrowd": 0}
            truth.append(row | {"area": box[2] * box[3]})
        near = np.repeat(own, 5, axis=0) * rng.uniform(0.85, 1.15, (35, 4))
        guessed = np.concatenate([near, boxes(rng, detections - 35)])
        named = np.concatenate([np.repeat(labels, 5), rng.integers(1, classes + 1, detections - 35)])
        for box, label, score in zip(guessed.tolist(), named.tolist(), rng.random(detections).tolist(), strict=True):
            found.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    return {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in range(1, images + 1)],
        "categories": [{"id": c, "name": str(c)} for c in range(1, classes + 1)],
        "annotations": truth,
    }, found


def timed(truth: dict[str, Any], found: list[dict[str, Any]], engine: Engine) -> tuple[float, float, CocoResult]:
    """(wall seconds, user CPU seconds, numbers)."""
    wall, user = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    result = coco_map(found, CocoGroundTruth(truth), engine=engine)
    return time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_SELF).ru_utime - user, result


def main() -> int:
    """Measure, print, and leave with 1 where the limit is missed or the numbers differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    truth, found = case(options.images, options.detections, options.classes)
    wall: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    user: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    same = True
    for _ in range(options.pairs):
        results = []
        for engine in ENGINES:
            seconds, cpu, result = timed(truth, found, engine)
            wall[engine].append(seconds)
            user[engine].append(cpu)
            results.append(result)
        same &= results[0].metrics == results[1].metrics
        same &= results[0].precision.tobytes() == results[1].precision.tobytes()
    ratios = {
        name: statistics.median(times["pycocotools"]) / statistics.median(times["faster"])
        for name, times in (("wall", wall), ("user_cpu", user))
    }
    figures = {
        "images": options.images, "detections_per_image": options.detections, "classes": options.classes,
        "pairs": options.pairs, "wall_seconds": wall, "user_cpu_seconds": user, "pycocotools_over_faster": ratios,
        "equal_to_the_last_digit": same, "limit": LIMIT,
        "versions": {name: version(name) for name in ("pycocotools", "faster-coco-eval", "numpy")},
    }  # fmt: skip
    print(json.dumps(figures, indent=1))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(not same or ratios["user_cpu"] < LIMIT)


if __name__ == "__main__":
    sys.exit(main())
