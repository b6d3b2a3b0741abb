"""How long intervals take: resamples of many images, classes and detectors, and whether the numbers are pycocotools'.

    python benchmarks/interval_speed.py --out docs/results/speed/intervals.json        # the goal: 60 s on two cores
    python benchmarks/interval_speed.py --detectors 1                                  # about a twentieth of it
    python benchmarks/interval_speed.py --images 60 --classes 4 --detectors 2 --resamples 50     # a look

Detections are matched once, by pycocotools; that is timed by itself and is not part of the goal. Then all numbers of
all detectors are counted again for every resample, the same images for all. With every image drawn once the numbers
must be pycocotools' own. Processor seconds hardly depend on what else a machine does; wall seconds do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from evaluator import case  # type: ignore[import-not-found]

from detzoo.evaluation.coco_map import coco_map
from detzoo.evaluation.coco_truth import CocoGroundTruth
from detzoo.evaluation.matches import Matches, Rules, matches_of
from detzoo.evaluation.resampling import resampled, values_of
from detzoo.evaluation.weighted_precision import Draws

GOAL_SECONDS: Final = 60.0
"""Wall seconds on two cores at the default sizes."""


class Clock:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), self._processor()

    @staticmethod
    def _processor() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def seconds(self) -> dict[str, float]:
        """``wall`` and ``processor``."""
        wall, processor = self._start
        return {
            "wall": round(time.perf_counter() - wall, 2),
            "processor": round(self._processor() - processor, 2),
        }


def matched(options: argparse.Namespace) -> tuple[list[Matches], float]:
    """The matches of each detector, and how far the numbers with every image drawn once are from pycocotools'."""
    truth, found = case(options.images, options.detections, options.classes)
    rng, off = np.random.default_rng(1), 0.0
    matches = []
    for _ in range(options.detectors):
        rows = [row | {"score": score} for row, score in zip(found, rng.random(len(found)).tolist(), strict=True)]
        counted = coco_map(rows, CocoGroundTruth(truth))
        own = matches_of(rows, truth, Rules(), boxes=counted)
        (again,) = values_of([own], Draws(np.ones((options.images, 1)), exact=True))
        off = max(off, *(abs(float(again.metrics[k][0]) - v) for k, v in counted.metrics.items() if not np.isnan(v)))
        matches.append(own)
    return matches, off


def main() -> int:
    """Measure, print, and leave with 1 where the numbers are not pycocotools'."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in (("images", 5000), ("classes", 80), ("detectors", 19), ("resamples", 2000), ("detections", 100)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    clock = Clock()
    matches, off = matched(options)
    matching = clock.seconds()
    clock = Clock()
    resampled(matches, resamples=options.resamples)
    resampling = clock.seconds()
    sizes = {key: value for key, value in vars(options).items() if key != "out"}
    whole = all(sizes[key] == parser.get_default(key) for key in sizes)
    figures: dict[str, Any] = {
        **sizes, "cores": os.cpu_count(), "matching_seconds": matching, "resampling_seconds": resampling,
        "largest_difference_from_pycocotools": off, "goal_wall_seconds": GOAL_SECONDS if whole else None,
        "versions": {name: version(name) for name in ("pycocotools", "numpy", "torch")},
    }  # fmt: skip
    print(json.dumps(figures, indent=1))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(off > 1e-12)


if __name__ == "__main__":
    sys.exit(main())
