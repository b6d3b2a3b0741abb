"""What one part of a recipe is worth: one line of YAML changed at a time, the same short training, several seeds.

    python benchmarks/ablation.py yolox --out docs/results/yolox-ablation.json [--epochs 12] [--seeds 0 1 2]
    python benchmarks/ablation.py denoising --out docs/results/denoising-ablation.json
    python benchmarks/ablation.py one_to_many --out docs/results/one-to-many-ablation.json

``yolox``: bccd, trained on trainval, evaluated on test; 224 x 288. The others: 512 generated images of ``shapes``,
evaluated on 64 others; 128 px. All by pycocotools, from the ImageNet weights in ``../shared``, the last weights. A pair
shares its seed. The interval of a difference is Student's t over the seeds: it covers the chance of training, not of
test images. What is in ``--out`` already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cascade_comparison import METRICS, paired  # type: ignore[import-not-found]
from real_photographs import EXPERIMENTS, start_of  # type: ignore[import-not-found]

import detzoo
from detzoo.training.rng import seed_everything

PLAIN: Final = "as the recipe says"
BCCD: Final = EXPERIMENTS["bccd"]
MILD: Final = next(line for line in BCCD.overrides if line.startswith("train.transforms="))
MOSAIC: Final = MILD.replace(
    "=[",
    "=[{type: mosaic, p: 0.5, affine: {degrees: 0.0, translate: 0.1, scale: [0.5, 1.5], shear: 0.0, about: corner}, "
    "active: [0.0, 0.8]}, ",
)
SMALL_DETRS: Final = "plugins/detzoo-detr/tests/learning.yaml"
SHAPES: Final = "shapes:train=512,val=64"


@dataclass(frozen=True)
class Ablation:
    """One recipe and what is changed of it.

    Args:
        recipe: by name or file.
        data: to train and evaluate on.
        train: split.
        test: split.
        epochs: unless told otherwise.
        overrides: of all variants.
        variants: name -> the lines that it adds.
    """

    recipe: str
    data: str
    train: str
    test: str
    epochs: int
    overrides: tuple[str, ...]
    variants: dict[str, tuple[str, ...]]


ABLATIONS: Final = {
    "yolox": Ablation(
        "yolox_mobilenet_v2",
        BCCD.data,
        BCCD.train,
        BCCD.test,
        12,
        ("input.size=[224, 288]", MILD),
        {
            "with mosaic": (MOSAIC,),
            "max_iou in place of SimOTA": ("matcher={type: max_iou, low_quality: always}",),
        },
    ),
    "denoising": Ablation(
        f"{SMALL_DETRS}#rtdetr", SHAPES, "train", "val", 10, (), {"without denoising": ("head.denoising=null",)}
    ),
    "one_to_many": Ablation(
        f"{SMALL_DETRS}#rfdetr",
        SHAPES,
        "train",
        "val",
        10,
        (),
        {"one group of queries": ("head.groups=1", "loss.groups=1")},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablation", choices=sorted(ABLATIONS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    args = parser.parse_args()
    ablation = ABLATIONS[args.ablation]
    epochs = args.epochs or ablation.epochs
    variants = {PLAIN: (), **ablation.variants}
    done = json.loads(args.out.read_text()) if args.out.exists() else {"rows": []}
    rows: list[dict[str, Any]] = done["rows"]
    for seed in args.seeds:  # the first seed of every variant comes before the second of any
        for name, lines in variants.items():
            if not any((row["variant"], row["seed"], row["epochs"]) == (name, seed, epochs) for row in rows):
                rows.append({"variant": name, "set": lines} | measure(ablation, lines, seed, epochs))
                print(rows[-1], flush=True)
                found = differences(rows, list(ablation.variants))
                args.out.write_text(json.dumps({"rows": rows, "differences": found}, indent=1) + "\n")


def measure(ablation: Ablation, lines: tuple[str, ...], seed: int, epochs: int) -> dict[str, Any]:
    """One training, and what its last weights find."""
    dataset, test = (detzoo.open_dataset(ablation.data, split) for split in (ablation.train, ablation.test))
    seed_everything(seed)
    overrides = [*start_of(ablation.recipe, None), *ablation.overrides, *lines]
    detector = detzoo.build(ablation.recipe, classes=dataset.classes, overrides=overrides)
    folder, start = Path(tempfile.mkdtemp()), time.process_time()
    detzoo.train(detector, dataset, folder / "run", epochs=epochs, seed=seed, channels_last=True, progress=False)
    minutes = (time.process_time() - start) / 60
    result = detzoo.evaluate(detzoo.load(folder / "run" / "last.safetensors"), test, progress=False)
    shutil.rmtree(folder)
    numbers = {metric: round(result.metrics[metric], 4) for metric in METRICS}
    return {"seed": seed, "epochs": epochs, "cpu_minutes": round(minutes, 1)} | numbers


def differences(rows: list[dict[str, Any]], variants: list[str]) -> dict[str, dict[str, Any]]:
    """Each variant minus the plain training, paired by seed; where two seeds or more are there for both."""
    found: dict[str, dict[str, Any]] = {}
    for name in variants:
        pairs = [
            (one, other)
            for one in rows
            for other in rows
            if (one["variant"], other["variant"]) == (name, PLAIN)
            and (one["seed"], one["epochs"]) == (other["seed"], other["epochs"])
        ]
        if len(pairs) > 1:
            found[name] = {metric: paired([one[metric] - other[metric] for one, other in pairs]) for metric in METRICS}
    return found


if __name__ == "__main__":
    main()
