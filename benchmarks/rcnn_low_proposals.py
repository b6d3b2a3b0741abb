"""Speed (and AP, where data is given) of a two-stage detector over the number of regions that its second stage sees.

    python benchmarks/rcnn_low_proposals.py fasterrcnn_resnet50_fpn --out docs/results/low-proposals
    python benchmarks/rcnn_low_proposals.py runs/bccd --data ../shared/data/bccd --split test --out OUT

Writes OUT/low_proposals.json and OUT/low_proposals.png. A name is built untrained (post-processing then takes another
time) unless --weights says otherwise; AP needs trained weights. Numbers of regions take turns in every repetition, so
that a machine that is busy for a while slows all of them.

Source: Huang et al. 2017 (arXiv:1611.10012), section 4.1.3 and figure 7: trading proposals for speed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any, Final

import detzoo
from detzoo.benchmark import TimingOptions, benchmark
from detzoo.benchmark.bench_command import images_of
from detzoo.comparison.plots import figure, save
from detzoo.detector_loading import is_run
from detzoo.interfaces import Detector
from detzoo.runtime.device import pick_device
from detzoo.runtime.environment import device_facts, versions

COUNTS: Final = (300, 100, 50, 20, 10)


def main() -> None:
    args = parsed()
    detector = detector_of(args)
    device = pick_device(args.device)
    detector.to(device).eval()
    dataset = detzoo.open_dataset(args.data, args.split) if args.data else None
    images = images_of(dataset, 16) if dataset is not None else None
    times: dict[int, list[dict[str, float]]] = {count: [] for count in args.proposals}
    for _ in range(args.repeat):
        for count in args.proposals:
            show(detector, count)
            result = benchmark(
                detector,
                TimingOptions(device=device, batch=args.batch, images=images, iterations=args.iterations, warmup=2),
            )
            times[count].append(result.latency_ms["total"])
            print(count, f"{result.latency_ms['total']['p50']:.1f} ms", flush=True)
    rows: list[dict[str, Any]] = []
    for count in args.proposals:
        row: dict[str, Any] = {"proposals": count}
        row |= {key: statistics.median(t[key] for t in times[count]) for key in ("p50", "p95")}
        if dataset is not None:
            show(detector, count)
            metrics = detzoo.evaluate(detector, dataset, progress=False).metrics
            row |= {key: metrics[key] for key in ("AP", "AP50")}
        rows.append(row)
    write(args, detector, rows, {"device": device_facts(device), "versions": versions()})


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="a recipe's name, or a run folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--proposals", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], metavar="KEY=VALUE", help="of a recipe")
    parser.add_argument("--weights", default=None, help="of a recipe: published, or a file")
    parser.add_argument("--data", default=None)
    parser.add_argument("--split", default=None)
    parser.add_argument("--device", default=None)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()


def detector_of(args: argparse.Namespace) -> Detector:
    if is_run(args.target):
        return detzoo.load(args.target)
    return detzoo.build(args.target, overrides=args.overrides, weights=args.weights)


def show(detector: Any, count: int) -> None:
    """Let the second stage see ``count`` regions: the field ``proposals.postprocess.keep``."""
    postprocess = detector.proposals.postprocess
    postprocess.settings = dataclasses.replace(postprocess.settings, keep=count)


def write(args: argparse.Namespace, detector: Detector, rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    report = {
        "detector": detector.recipe.name,
        "trained": is_run(args.target) or args.weights is not None,
        "overrides": args.overrides,
        "batch": args.batch,
        "data": args.data,
        "unit": "ms a batch: p50 and p95 of the whole of predict, medians over repetitions",
        "repeat": args.repeat,
        "rows": rows,
        **facts,
    }
    (args.out / "low_proposals.json").write_text(json.dumps(report, indent=1) + "\n")
    made, axes = figure()
    axes.plot([row["proposals"] for row in rows], [row["p50"] for row in rows], marker="o", label="median time")
    axes.set(xlabel="regions that the second stage sees", ylabel=f"ms a batch of {args.batch}", xscale="log")
    axes.set_ylim(bottom=0)
    if all("AP" in row for row in rows):
        other = axes.twinx()
        for metric, line in (("AP", "--"), ("AP50", ":")):
            values = [100 * row[metric] for row in rows]
            other.plot([row["proposals"] for row in rows], values, line, marker="s", color="tab:orange", label=metric)
        other.set(ylabel="AP %", ylim=(0, 100))
        other.legend(loc="lower right", fontsize=8)
    axes.set_xticks([row["proposals"] for row in rows], [str(row["proposals"]) for row in rows])
    axes.set_xticks([], minor=True)
    axes.legend(loc="upper left", fontsize=8)
    axes.set_title(detector.recipe.name)
    print(save(made, args.out / "low_proposals.png"))


if __name__ == "__main__":
    main()
