"""Where R-CNN's time goes with 2,000 windows of one image: the network should be nearly all of it.

    python benchmarks/rcnn_profile.py [rcnn_mobilenet_v2] [--windows 2000] [--threads 2] [--out FILE]

Untrained weights and noise, with SVMs and box regression as if they had been fitted; one image, regions at hand. The
phases of ``detect`` are timed one by one and as a whole, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import detzoo
from detzoo.builder import build_component
from detzoo.prediction.apply_switches import noise
from detzoo.prediction.predict import inference, prepared
from detzoo.runtime.environment import device_facts, versions
from detzoo_rcnn.region_svm import RegionSvm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="rcnn_mobilenet_v2")
    parser.add_argument("--windows", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    detector = detzoo.build(args.name, num_classes=20, overrides={"proposals.top_k": args.windows}, weights=None).eval()
    assert isinstance(detector, RegionSvm)
    seem_fitted(detector)
    detector.proposer = build_component("proposer", {"type": "uniform", "count": args.windows})
    with inference(detector):
        batch = prepared(detector, noise(1, (375, 500)))
        rounds = [measure(detector, batch) for _ in range(args.repeat + 1)][1:]
    seconds = {phase: round(statistics.median(one[phase] for one in rounds), 4) for phase in rounds[0]}
    share = seconds["backbone"] + seconds["fully connected layers"]
    row: dict[str, Any] = {"detector": args.name, "windows": args.windows, "threads": args.threads, "seconds": seconds}
    row["network_share"] = round(share / seconds["detect"], 4)
    print(json.dumps(row))
    if args.out:
        row |= {"device": device_facts(torch.device("cpu")), "versions": versions()}
        args.out.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def seem_fitted(detector: RegionSvm) -> None:
    """Weights of noise; sparse detections, as trained SVMs give them."""
    classifier = {name: torch.randn(value.shape) for name, value in detector.classifier.state_dict().items()}
    classifier |= {"done": torch.ones((), dtype=torch.bool), "bias": torch.full((20,), -8.0)}
    detector.classifier.load_state_dict(classifier)


def measure(detector: RegionSvm, batch: Any) -> dict[str, float]:
    """Seconds of each phase, and of all of it in one."""
    rois = detector.proposals({}, batch)
    phases = dict.fromkeys(("warp", "backbone", "fully connected layers", "SVMs and boxes", "postprocess"), 0.0)
    found = []
    pool, real = detector.head.roi_pool, detector.through_backbone
    part_pool = timed(pool.forward, phases, "warp")
    vars(pool)["forward"] = part_pool
    vars(detector)["through_backbone"] = timed(real, phases, "backbone")
    for _, maps in detector.windows(batch, rois):
        vectors, _ = timed(detector.head, phases, "fully connected layers")(maps)
        found.append(timed(lambda v=vectors: answers(detector, v), phases, "SVMs and boxes")())
    vars(pool).pop("forward")
    vars(detector).pop("through_backbone")
    predictions = detector.judge(batch, rois).float()
    timed(detector.postprocess, phases, "postprocess")(predictions, rois, batch)
    begin = time.perf_counter()
    detector.detect(batch)
    return phases | {"detect": time.perf_counter() - begin}


def answers(detector: RegionSvm, vectors: dict[str, torch.Tensor]) -> Any:
    """One matrix product for all SVMs, one for all boxes."""
    scores = detector.classifier(vectors[detector.classifier.feature])
    return scores, detector.regressor(vectors[detector.regressor.feature])


def timed(call: Callable[..., Any], phases: dict[str, float], name: str) -> Callable[..., Any]:
    """``call``, whose seconds are added to a phase."""

    def wrapped(*arguments: Any) -> Any:
        begin = time.perf_counter()
        result = call(*arguments)
        phases[name] += time.perf_counter() - begin
        return result

    return wrapped


if __name__ == "__main__":
    main()
