"""What mosaic and SimOTA are worth on small data: one line of YAML changed at a time, the same short training, seeds.

    python benchmarks/yolox_ablation.py --out docs/results/yolox-ablation.json [--epochs 12] [--seeds 0 1 2]

bccd, trained on trainval, evaluated on test with pycocotools; 224 x 288, ``yolox_mobilenet_v2`` from the ImageNet
weights in ``../shared``. A pair shares its seed. The interval of a difference is Student's t over the seeds: it covers
the chance of training, not of test images. What is in ``--out`` already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from cascade_comparison import METRICS, paired  # type: ignore[import-not-found]
from real_photographs import EXPERIMENTS, start_of  # type: ignore[import-not-found]

import detzoo
from detzoo.training.rng import seed_everything

RECIPE: Final = "yolox_mobilenet_v2"
PLAIN: Final = "as the recipe says"
MILD: Final = next(line for line in EXPERIMENTS["bccd"].overrides if line.startswith("train.transforms="))
MOSAIC: Final = MILD.replace(
    "=[",
    "=[{type: mosaic, p: 0.5, affine: {degrees: 0.0, translate: 0.1, scale: [0.5, 1.5], shear: 0.0, about: corner}, "
    "active: [0.0, 0.8]}, ",
)
VARIANTS: Final[dict[str, str]] = {
    PLAIN: MILD,
    "with mosaic": MOSAIC,
    "max_iou in place of SimOTA": "matcher={type: max_iou, low_quality: always}",
}
"""Each is one line that comes after those of the plain training."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    args = parser.parse_args()
    done = json.loads(args.out.read_text()) if args.out.exists() else {"rows": []}
    rows: list[dict[str, Any]] = done["rows"]
    for seed in args.seeds:  # the first seed of every variant comes before the second of any
        for name in VARIANTS:
            if not any((row["variant"], row["seed"], row["epochs"]) == (name, seed, args.epochs) for row in rows):
                rows.append(measure(name, seed, args.epochs))
                print(rows[-1], flush=True)
                args.out.write_text(json.dumps({"rows": rows, "differences": differences(rows)}, indent=1) + "\n")


def measure(name: str, seed: int, epochs: int) -> dict[str, Any]:
    """One training, and what its last weights find."""
    bccd = EXPERIMENTS["bccd"]
    dataset, test = detzoo.open_dataset(bccd.data, bccd.train), detzoo.open_dataset(bccd.data, bccd.test)
    seed_everything(seed)
    lines = [*start_of(RECIPE, None), "input.size=[224, 288]", MILD, VARIANTS[name]]
    detector = detzoo.build(RECIPE, classes=dataset.classes, overrides=lines)
    folder, start = Path(tempfile.mkdtemp()), time.process_time()
    detzoo.train(detector, dataset, folder / "run", epochs=epochs, seed=seed, channels_last=True, progress=False)
    minutes = (time.process_time() - start) / 60
    result = detzoo.evaluate(detzoo.load(folder / "run" / "last.safetensors"), test, progress=False)
    shutil.rmtree(folder)
    numbers = {metric: round(result.metrics[metric], 4) for metric in METRICS}
    return {
        "variant": name, "set": VARIANTS[name], "seed": seed, "epochs": epochs, "cpu_minutes": round(minutes, 1)
    } | numbers  # fmt: skip


def differences(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each variant minus the plain training, paired by seed; where two seeds or more are there for both."""
    found: dict[str, dict[str, Any]] = {}
    for name in VARIANTS:
        pairs = [
            (one, other)
            for one in rows
            for other in rows
            if (one["variant"], other["variant"]) == (name, PLAIN)
            and (one["seed"], one["epochs"]) == (other["seed"], other["epochs"])
        ]
        if name != PLAIN and len(pairs) > 1:
            found[name] = {metric: paired([one[metric] - other[metric] for one, other in pairs]) for metric in METRICS}
    return found


if __name__ == "__main__":
    main()
