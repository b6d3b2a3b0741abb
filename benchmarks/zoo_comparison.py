"""The zoo on two sets of photographs: a grid of light detectors trained alike, and one trained detector of each family.

    python benchmarks/zoo_comparison.py bccd --out runs/zoo-bccd --results docs/results/zoo-bccd \
        [--families docs/results/bccd-*/] [--epochs 10]

The grid is architecture x backbone x input size. Each run has the same pictures, transforms, epochs and seed; an
architecture keeps its own loss, matching and learning rate. What is trained already is not trained again; the test
split chooses nothing. ``--families`` are result folders of longer trainings (``real_photographs.py``): they stand in
the same table, marked where their protocol differs. Data and pretrained backbones are looked for in ``../shared``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from real_photographs import BACKBONE, EXPERIMENTS, MALLOC  # type: ignore[import-not-found]

if __name__ == "__main__" and not MALLOC.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ) | MALLOC)

import detzoo
from detzoo.report.comparison import Plan, compare
from detzoo.training.checkpoint import LAST

SQUEEZENET: Final = "../shared/weights/squeezenet1_1-imagenet/squeezenet1_1_fp16.pth"
RECIPES: Final = {"ssd": "ssd_mobilenet_v2_fpn", "retinanet": "retinanet_mobilenet_v2", "yolov1": "yolov1_mobilenet_v2"}
FREEZE: Final = "[norm_stats, features.0, features.1, features.2, features.3]"
MOBILENET: Final = (f"backbone.weights={BACKBONE}", f"backbone.freeze={FREEZE}")
SQUEEZED: Final = f"backbone={{type: squeezenet1_1, levels: [s8, s16], weights: {SQUEEZENET}}}"
BACKBONES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "mobilenet_v2": dict.fromkeys(RECIPES, MOBILENET),
    # SqueezeNet ends at stride 16: pyramids make the coarser maps, YOLOv1's grid is its last one
    "squeezenet1_1": {
        "ssd": (SQUEEZED, "neck={type: fpn, channels: 96, extra: pool, norm: none}"),
        "retinanet": (SQUEEZED, "head.anchors.sizes=[[24], [48], [96], [192]]"),
        "yolov1": (SQUEEZED, "neck.layers=[conv 256 1, conv 512 3 -> grid]"),
    },
}
SIZES: Final = {"bccd": ([224, 288], [320, 416]), "playing-cards": ([288, 224], [416, 320])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sorted(SIZES))
    parser.add_argument("--out", type=Path, required=True, help="runs of the grid, and the comparison's own folder")
    parser.add_argument("--results", type=Path, required=True, help="where table and page are copied to")
    parser.add_argument("--families", nargs="*", default=[], help="result folders of other trainings on the same split")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", nargs="*", help="some names of the grid, as ssd-mobilenet_v2-224x288")
    args = parser.parse_args()
    grid = [
        (f"{name}-{backbone}-{size[0]}x{size[1]}", name, backbone, size)
        for name, backbone, size in itertools.product(RECIPES, BACKBONES, SIZES[args.data])
    ]
    chosen = [point for point in grid if args.only is None or point[0] in args.only]
    runs = [learned(args.data, args.out / point[0], *point[1:], args.epochs) for point in chosen]
    experiment = EXPERIMENTS[args.data]
    plan = Plan(
        targets=[*map(str, runs), *args.families],
        data=experiment.data,
        split=experiment.test,
        out=args.out / "compared",
        device="cpu",
    )
    done = compare(plan, lambda line: print(line, flush=True))
    print(done.table.terminal(160))
    args.results.mkdir(parents=True, exist_ok=True)
    for path in done.files:
        print(shutil.copy(path, args.results / path.name))


def learned(data: str, out: Path, name: str, backbone: str, size: list[int], epochs: int) -> Path:
    """A run of the grid: trained, or gone on with, or there already."""
    experiment = EXPERIMENTS[data]
    dataset = detzoo.open_dataset(experiment.data, experiment.train)
    transforms = [line for line in experiment.overrides if not line.startswith("input.size")]
    own = [*BACKBONES[backbone][name], f"input.size={size}", f"train.eval_every={epochs}", *transforms]
    detector = detzoo.build(RECIPES[name], classes=dataset.classes, overrides=own)
    going_on = (out / LAST).exists()
    detzoo.train(detector, dataset, out, epochs=epochs, resume=going_on, channels_last=True)
    return out


if __name__ == "__main__":
    main()
