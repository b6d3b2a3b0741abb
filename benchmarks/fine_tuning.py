"""Yolo-Fastest on playing cards: fine-tuned from its COCO weights, and the same plan from nothing.

    python benchmarks/fine_tuning.py --weights yolo-fastest-1.1.weights --out runs/fine-tuning \
        --results docs/results/fine-tuning-yolo-fastest.json

Both trainings have the same recipe, length, images and seed; only what they start from differs. The test split is
evaluated now and then for the curve and chooses nothing: what is reported are the last weights. The cards are looked
for in ``../shared``, beside the checkout. A training that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from real_photographs import MALLOC, MILD  # type: ignore[import-not-found]

if __name__ == "__main__" and not MALLOC.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ) | MALLOC)

import detzoo
from detzoo.runtime.environment import versions
from detzoo.training.rng import seed_everything
from detzoo.weights.checkpoint import LAST, save_model

RECIPE: Final = "yolo_fastest_coco"
DATA: Final = "../shared/data/playing-cards"
STARTS: Final = ("COCO", "nothing")
PLAN: Final = (
    "train.batch=8",
    "train.optimizer={name: adamw, lr: 0.002, weight_decay: 0.02}",
    "train.schedule={name: one_cycle, rise: 0.1}",
    "train.ema=0.998",
    "train.clip_norm=10.0",
    f"train.transforms=[{{type: quarter_turn, p: 0.3}}, {MILD}]",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="darknet's file of Yolo-Fastest 1.1, COCO")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--eval-every", type=int, default=5)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    coco = args.out / "coco.safetensors"
    if not coco.exists():
        trained = detzoo.build(RECIPE, weights=None)
        detzoo.convert_weights(trained, args.weights, source="darknet")
        save_model(trained, coco)
    rows = [learned(start, str(coco) if start == "COCO" else None, args) for start in STARTS]
    result = {"recipe": RECIPE, "data": "playing-cards", "epochs": args.epochs, "plan": list(PLAN), "rows": rows}
    text = json.dumps(result | {"versions": versions()}, indent=1)
    print(text)
    if args.results:
        args.results.write_text(text + "\n", encoding="utf-8")


def learned(start: str, weights: str | None, args: Any) -> dict[str, Any]:
    """Train from one start; its curve and the test split's numbers of the last weights, in percent."""
    train, test = (detzoo.open_dataset(DATA, split) for split in ("train", "test"))
    out = args.out / f"from-{start.lower()}"
    seed_everything(0)
    overrides = [*PLAN, f"train.eval_every={args.eval_every}"]
    detector = detzoo.build(RECIPE, classes=train.classes, overrides=overrides, weights=weights)
    begun = time.monotonic()
    detzoo.train(detector, train, out, val=test, epochs=args.epochs, resume=(out / LAST).exists(), channels_last=True)
    minutes = (time.monotonic() - begun) / 60
    metrics = detzoo.evaluate(detzoo.load(out / LAST), test).metrics
    header, *lines = [line.split(",") for line in (out / "curve.csv").read_text(encoding="utf-8").splitlines()]
    points = [dict(zip(header, line, strict=True)) for line in lines]
    curve = [
        {"epoch": float(p["epoch"])} | {k: percent(float(p[k])) for k in ("AP", "AP50")} for p in points if p["AP"]
    ]
    return {"start": start, **{k: percent(metrics[k]) for k in ("AP", "AP50", "AP75")}, "curve": curve} | {
        "minutes": round(minutes, 1)
    }


def percent(value: float) -> float:
    """Of a fraction, with one digit."""
    return round(100 * value, 1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\nstopped; repeat the command to resume", file=sys.stderr)
        sys.exit(130)
