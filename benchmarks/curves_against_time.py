"""AP over training time of what was trained on bccd: RT-DETR beside RetinaNet, Faster R-CNN, YOLOX and RTMDet.

    python benchmarks/curves_against_time.py [--out docs/results/bccd-curves] [--steps 8]

The APs are those of the curves in docs/results/bccd-*. Their trainings ran beside other work, so the time is measured
here, on a quiet machine: forward, backward and AdamW of 8 images on one thread, the detectors in turn, the median of
the steps; loading images is not in it. A point's time is its epoch times the images of an epoch times that. One seed
each: lines that lie close together say nothing of which detector is better.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from real_photographs import EXPERIMENTS, start_of  # type: ignore[import-not-found]

import detzoo
from detzoo.comparison.plots import figure, save
from detzoo.prediction.prepare import collate
from detzoo.runtime.atomic_files import write_bytes

RESULTS: Final = Path(__file__).parents[1] / "docs" / "results"
DETECTORS: Final = (
    "rtdetr_mobilenet_v2", "yolox_mobilenet_v2", "rtmdet_mobilenet_v2", "retinanet_mobilenet_v2",
    "fasterrcnn_mobilenet_v2_fpn",
)  # fmt: skip
BATCH: Final = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "bccd-curves")
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    bccd = EXPERIMENTS["bccd"]
    data = detzoo.open_dataset(bccd.data, bccd.train)
    seconds = taking_turns({name: step(name, data) for name in DETECTORS}, args.steps)
    curves = {name: curve(name, len(data) * seconds[name] / BATCH / 60) for name in DETECTORS}
    found = {"torch": torch.__version__, "threads": 1, "images": len(data), "seconds per step of 8": seconds}
    write_bytes(args.out.with_suffix(".json"), json.dumps(found | {"curves": curves}, indent=1).encode() + b"\n")
    draw(curves, args.out.with_suffix(".png"))
    print(json.dumps(found))


def step(name: str, data: Any) -> Callable[[], None]:
    """A training step of the detector on the first images."""
    detector = detzoo.build(
        name, classes=data.classes, overrides=[*start_of(name, None), *EXPERIMENTS["bccd"].overrides]
    ).train()
    batch, targets = collate([data[place] for place in range(BATCH)], detector.input)
    optimizer = torch.optim.AdamW([value for value in detector.parameters() if value.requires_grad], lr=0.0)

    def run() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(list(detector.losses(batch, targets).values()))
        optimizer.step()

    return run


def taking_turns(steps: dict[str, Callable[[], None]], count: int) -> dict[str, float]:
    """Median seconds of each."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(count + 1):
        for name, run in steps.items():
            start = time.perf_counter()
            run()
            if turn:  # the first one warms up
                taken[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(values), 3) for name, values in taken.items()}


def curve(name: str, minutes: float) -> list[dict[str, float]]:
    """The evaluated epochs, with the minutes until then."""
    with (RESULTS / f"bccd-{name}" / "curve.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["AP"]]
    return [
        {"epoch": int(row["epoch"]), "minutes": round(int(row["epoch"]) * minutes, 2)}
        | {metric: round(float(row[metric]), 4) for metric in ("AP", "AP50")}
        for row in rows
    ]


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    made, axes = figure()
    for name, points in curves.items():
        axes.plot([p["minutes"] for p in points], [100 * p["AP50"] for p in points], marker="o", label=name)
    axes.set(xlabel="minutes of training, one thread", ylabel="AP50 on bccd test, %", xlim=(0, None))
    axes.legend(loc="lower right")
    save(made, path)


if __name__ == "__main__":
    main()
