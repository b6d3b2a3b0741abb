"""Train a detector on a real dataset and evaluate it: what produced docs/results/<data>-<detector>/.

    python benchmarks/real_photographs.py bccd ssd_mobilenet_v2_fpn --out runs/bccd
    python benchmarks/real_photographs.py nuclei benchmarks/nuclei_mask_rcnn.yaml --out runs/nuclei

Real data and pretrained weights are looked for in ``../shared``, beside the checkout. The test split is evaluated now
and then for the curve, and never chooses anything: the reported weights are the last ones.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# glibc hands large blocks back to the system after every use; keeping them saves the page faults of a training step
MALLOC: Final = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}
if not MALLOC.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ) | MALLOC)

WEIGHTS: Final = "../shared/weights/"
BACKBONES: Final = {
    "mobilenet_v2": f"{WEIGHTS}mobilenet_v2-imagenet/mobilenet_v2_tf2ptq_dequant.pth",
    "efficientnet_lite0": f"{WEIGHTS}efficientnet_lite0-imagenet/efficientnet-lite0-57934424.pth",
}
"""Of Keras and TensorFlow, both."""


@dataclass(frozen=True)
class Experiment:
    """Where the images lie, and what of the recipe is set for them."""

    data: str
    train: str
    test: str
    epochs: int
    overrides: tuple[str, ...]


MILD: Final = (
    "{type: mild_crop, scale: [0.75, 1.15], aspect: [0.9, 1.1], min_visible: 0.4, p: 0.8}, "
    "{type: colour_jitter, brightness: 0.2, contrast: 0.2, saturation: 0.2, hue: 0.02, p: 0.8}"
)
EXPERIMENTS: Final = {
    # micrographs have no up and down; 320x416 keeps their 3:4
    "bccd": Experiment(
        "../shared/data/bccd",
        "trainval",
        "test",
        24,
        (
            "input.size=[320, 416]",
            f"train.transforms=[{{type: flip, p: 0.5}}, {{type: vertical_flip, p: 0.5}}, {MILD}]",
        ),
    ),
    # a mirrored card is no card: the rank is printed in two corners, so turning it round keeps it one
    "playing-cards": Experiment(
        "../shared/data/playing-cards",
        "train",
        "test",
        50,
        ("input.size=[416, 320]", f"train.transforms=[{{type: quarter_turn, p: 0.3}}, {MILD}]"),
    ),
    # with masks; the recipe beside this file says what nuclei need
    "nuclei": Experiment("../shared/data/nuclei", "train", "val", 30, ()),
}


def start_of(detector: str, weights: str | None) -> list[str]:
    """What the recipe must say about the weights that training starts from."""
    if weights is not None:
        return []
    from detzoo.recipes.recipe import load_recipe

    backbone = load_recipe(detector).values["backbone"]["type"].rpartition("/")[2]
    return [f"backbone.weights={BACKBONES[backbone]}", "backbone.padding=keras"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sorted(EXPERIMENTS))
    parser.add_argument("detector")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--eval-every", type=int, default=4)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--weights", default=None, help="a checkpoint of the whole detector to start from")
    parser.add_argument("--set", action="append", default=[], help="further overrides of the recipe")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()

    import detzoo
    from detzoo.training.rng import seed_everything

    experiment = EXPERIMENTS[args.data]
    dataset = detzoo.open_dataset(experiment.data, experiment.train)
    test = detzoo.open_dataset(experiment.data, experiment.test)
    own = [
        *start_of(args.detector, args.weights),
        f"train.eval_every={args.eval_every}",
        *experiment.overrides,
        *args.set,
    ]
    if args.seed is not None:
        seed_everything(args.seed)  # the head starts at random
    detector = detzoo.build(args.detector, classes=dataset.classes, overrides=own, weights=args.weights or "backbone")
    start = time.monotonic()
    summary = detzoo.train(
        detector,
        dataset,
        args.out,
        val=test,
        resume=args.resume,
        epochs=args.epochs or experiment.epochs,
        seed=args.seed,
        channels_last=True,
    )
    print(summary)
    print(f"trained for {(time.monotonic() - start) / 60:.1f} minutes")
    evaluation = detzoo.evaluate(detzoo.load(args.out / "last.safetensors"), test)
    evaluation.write(args.out / "test")
    print({name: round(value, 4) for name, value in evaluation.metrics.items()})


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt as error:  # of the training's own, with its place; or of what comes before and after it
        print(f"\n{str(error) or 'stopped; repeat the command with --resume to continue'}", file=sys.stderr)
        sys.exit(130)
