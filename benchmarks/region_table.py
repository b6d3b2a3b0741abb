r"""R-CNN, SPP-net and Fast R-CNN beside each other: AP with and without their parts, and seconds per image.

    python benchmarks/region_table.py runs/rcnn runs/spp runs/fast --data ../shared/data/playing-cards --split test \\
        --out docs/results/regions-playing-cards.json

The runs were trained on the same regions. AP: pycocotools and VOC, SVM against softmax, boxes corrected or not; the
network looks at each window once, and the four answers are made of that. Seconds: one image at a time, with regions
made by ``--proposer`` and without (bench's columns ``proposals`` and ``without_proposals``); detectors take turns in
every repetition, so that a machine that is busy for a while slows all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import detzoo
from detzoo.benchmark import TimingOptions, benchmark
from detzoo.benchmark.bench_command import images_of
from detzoo.builder import build_component
from detzoo.data.dataset import Dataset
from detzoo.interfaces import Detector
from detzoo.runtime.environment import device_facts, versions
from detzoo.types import Candidates, ImageBatch
from detzoo_rcnn.region_svm import RegionSvm

METRICS = ("AP", "AP50", "AP75", "voc07_AP50", "voc10_AP50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--proposer", default="selective_search")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--images", type=int, default=8, help="that are timed")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--accuracy", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--speed", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    data = detzoo.open_dataset(args.data, args.split)
    found: dict[str, Any] = json.loads(args.out.read_text(encoding="utf-8")) if args.out.is_file() else {}
    detectors = {run.name: loaded(run) for run in args.runs}
    if args.accuracy:
        found["accuracy"] = [row for name, one in detectors.items() for row in accuracy(name, one, data)]
    if args.speed:
        found["speed"] = speed(detectors, data, args)
        found |= {"device": device_facts(torch.device("cpu")), "versions": versions()}
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def loaded(run: Path) -> Detector:
    """A run's last weights; windows in the portions that suit this machine, whatever it was trained with."""
    detector = detzoo.load(run / "last.safetensors").eval()
    if isinstance(detector, RegionSvm):
        detector.windows_at_once = None
    return detector


def accuracy(name: str, detector: Detector, data: Dataset) -> Iterator[dict[str, Any]]:
    """A row for each combination of the detector's parts."""
    ways: list[dict[str, Any]] = [{}]
    if isinstance(detector, RegionSvm):
        look_once(detector)
        ways = [
            {"classify_by": by, "correct_boxes": boxes}
            for by, boxes in itertools.product(("svm", "softmax"), (True, False))
        ]
    for way in ways:
        for switch, value in way.items():
            setattr(detector, switch, value)
        metrics = detzoo.evaluate(detector, data, batch=1, workers=1, progress=False).metrics
        row = {"run": name, **way, **{key: round(metrics[key], 4) for key in METRICS}}
        print(json.dumps(row), flush=True)
        yield row
    vars(detector).pop("windows", None)


def look_once(detector: RegionSvm) -> None:
    """Let the detector remember the maps of every image's windows."""
    real = detector.windows
    known: dict[bytes, list[tuple[Tensor, Tensor]]] = {}

    def windows(batch: ImageBatch, rois: Candidates) -> Iterator[tuple[Tensor, Tensor]]:
        key = hashlib.blake2b(batch.pixels.numpy().tobytes()).digest()
        if key not in known:
            known[key] = list(real(batch, rois))
        return iter(known[key])

    vars(detector)["windows"] = windows


def speed(detectors: dict[str, Detector], data: Dataset, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Medians over repetitions of each detector's phases, in ms."""
    images = images_of(data, args.images)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in detectors}
    proposer = build_component("proposer", {"type": args.proposer})
    proposer(images[0])  # compiles
    for _ in range(args.repeat):
        for name, detector in detectors.items():
            detector.proposer = proposer
            found = benchmark(
                detector,
                TimingOptions(device="cpu", images=images, iterations=len(images), warmup=1, max_seconds=600),
            )
            times[name].append({phase: values["p50"] for phase, values in found.latency_ms.items()})
    rows = []
    for name, all_ in times.items():
        row = {phase: round(statistics.median(one[phase] for one in all_), 1) for phase in all_[0]}
        rows.append({"run": name, "regions": detectors[name].recipe.values["proposals"]["top_k"], **row})
        print(json.dumps(rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    main()
