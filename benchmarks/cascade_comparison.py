"""Cascade R-CNN beside Faster R-CNN on small data: the paired difference over seeds, with its spread.

    for seed in 0 1 2; do for data in bccd playing-cards; do
    for recipe in fasterrcnn_mobilenet_v2_fpn cascadercnn_mobilenet_v2_fpn; do
    python benchmarks/real_photographs.py $data $recipe --epochs $EPOCHS --eval-every 100 \
        --set train.seed=$seed --set "input.size=$SIZE" --set train.ema=null --out runs/$data-$recipe-$seed
    done; done; done        # bccd: EPOCHS=5 SIZE=[224,288]; playing-cards: EPOCHS=8 SIZE=[288,224]
    python benchmarks/cascade_comparison.py runs --out docs/results/cascade.json

A pair shares dataset, seed (thus the order of the images), input, plan and number of epochs. The weights of the last
step are evaluated. The interval is Student's t over the seeds: it covers the chance of training, not of test images.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any, Final

DATA: Final = ("bccd", "playing-cards")
FASTER, CASCADE = "fasterrcnn_mobilenet_v2_fpn", "cascadercnn_mobilenet_v2_fpn"
METRICS: Final = ("AP", "AP50", "AP75")
T975: Final = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""The 0.975 quantile of Student's t by number of seeds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    found = {data: compared(args.runs, data) for data in DATA}
    for data, result in found.items():
        for metric, row in result["metrics"].items():
            print(
                f"{data:14} {metric:5} {row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]  {row['differences']}"
            )
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def compared(runs: Path, data: str) -> dict[str, Any]:
    """Metrics of each seed and detector, and the differences Cascade R-CNN minus Faster R-CNN.

    Args:
        runs: folder of DATA-RECIPE-SEED.
        data: name of the dataset.
    """
    seeds = sorted(
        int(path.parents[1].name.rsplit("-", 1)[1]) for path in runs.glob(f"{data}-{CASCADE}-*/test/results.json")
    )
    both = {name: [metrics(runs / f"{data}-{name}-{seed}") for seed in seeds] for name in (FASTER, CASCADE)}
    rows = {
        metric: paired([b[metric] - a[metric] for a, b in zip(both[FASTER], both[CASCADE], strict=True)])
        for metric in METRICS
    }
    return {"seeds": seeds, "detectors": both, "metrics": rows}


def metrics(run: Path) -> dict[str, float]:
    """Of the evaluation of the last weights."""
    results = json.loads((run / "test" / "results.json").read_text(encoding="utf-8"))
    return {name: round(float(results["metrics"][name]), 4) for name in METRICS}


def paired(differences: list[float]) -> dict[str, Any]:
    """Mean, standard deviation and 95 % interval of differences, one per seed."""
    mean, deviation = statistics.fmean(differences), statistics.stdev(differences)
    half = T975[len(differences)] * deviation / len(differences) ** 0.5
    rounded = {"mean": mean, "deviation": deviation, "low": mean - half, "high": mean + half}
    return {"differences": [round(one, 4) for one in differences]} | {k: round(v, 4) for k, v in rounded.items()}


if __name__ == "__main__":
    main()
