"""The zoo on two sets of photographs: a grid of light detectors trained alike, and a detector of every family.

    python benchmarks/zoo_comparison.py bccd --out runs/zoo-bccd --results docs/results/zoo-bccd

The grid is architecture x backbone x input size: the same images, transforms, epochs and seed for all, each
architecture with its own loss, matching and learning rate. The families' detectors stand beside it, as long trained as
each needs to be worth looking at; those of image-level regions share one file of selective search. What is trained is
not trained again, what is recorded in ``--results`` is not measured again, and the test split chooses nothing. Data and
pretrained backbones are looked for in ``../shared``.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from real_photographs import EXPERIMENTS, MALLOC, start_of  # type: ignore[import-not-found]

if __name__ == "__main__" and not MALLOC.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ) | MALLOC)

import detzoo
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare
from detzoo.weights.checkpoint import LAST

SQUEEZENET: Final = "../shared/weights/squeezenet1_1-imagenet/squeezenet1_1_fp16.pth"
RECIPES: Final = {"ssd": "ssd_mobilenet_v2_fpn", "retinanet": "retinanet_mobilenet_v2", "yolov1": "yolov1_mobilenet_v2"}
FREEZE: Final = "[norm_stats, features.0, features.1, features.2, features.3]"
MOBILENET: Final = (*start_of("ssd_mobilenet_v2_fpn"), f"backbone.freeze={FREEZE}")
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
KEPT: Final = ("results.json", "detections.json", "numbers.json", "curve.csv", "recipe.yaml")
"""What is committed of a detector: enough to count its detections again and to draw the page."""


@dataclass(frozen=True)
class Member:
    """A detector of the comparison.

    Args:
        name: in tables.
        recipe: that it is trained by.
        epochs: that it is trained for.
        overrides: beside the dataset's transforms.
    """

    name: str
    recipe: str
    epochs: int
    overrides: tuple[str, ...]


def grid(data: str, epochs: int) -> list[Member]:
    """Architecture x backbone x input size."""
    return [
        Member(
            f"{name}-{backbone}-{size[0]}x{size[1]}",
            RECIPES[name],
            epochs,
            (*BACKBONES[backbone][name], f"input.size={size}"),
        )
        for name, backbone, size in itertools.product(RECIPES, BACKBONES, SIZES[data])
    ]


def families(data: str, regions: Path) -> list[Member]:
    """One detector of each family that the grid does not have; Mask R-CNN needs masks, which these data lack."""
    size = SIZES[data][-1]
    large = [side * 3 // 2 for side in size]
    proposer = f"proposals.proposer={{type: precomputed, path: {regions}}}"
    windows = (*MOBILENET[:2], f"input.size={large}", proposer, "proposals.top_k=300", "proposals.training_top_k=300")
    whole = (*MOBILENET[:2], f"input.size={size}")
    return [
        *(Member(name, f"{name}_mobilenet_v2", 5, windows) for name in ("rcnn", "sppnet", "fastrcnn")),
        Member("fasterrcnn", "fasterrcnn_mobilenet_v2_fpn", 8, whole),
        Member("rfcn", "rfcn_mobilenet_v2", 10, whole),
        Member("yolov3", "yolov3_mobilenet_v2", 10, whole),
        Member("fcos", "fcos_mobilenet_v2", 8, whole),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sorted(SIZES))
    parser.add_argument("--out", type=Path, required=True, help="runs, and the comparison's own folder")
    parser.add_argument("--results", type=Path, required=True, help="where tables and detections are kept")
    parser.add_argument("--epochs", type=int, default=8, help="of the grid")
    parser.add_argument("--only", nargs="*", help="some names, as ssd-mobilenet_v2-224x288 or rfcn")
    parser.add_argument("--train-only", action="store_true", help="leave the comparison for a quiet machine")
    args = parser.parse_args()
    regions = args.out / "regions.safetensors"
    members = [*grid(args.data, args.epochs), *families(args.data, regions)]
    chosen = [member for member in members if args.only is None or member.name in args.only]
    targets = [target_of(args.data, args.out, args.results, regions, member) for member in chosen]
    if args.train_only:
        return
    experiment = EXPERIMENTS[args.data]
    done = compare(
        ComparisonPlan(
            targets=targets,
            data=experiment.data,
            split=experiment.test,
            out=args.out / "compared",
            device="cpu",
            largest_batch=8,
        ),
        lambda line: print(line, flush=True),
    )
    print(done.table.terminal(200))
    keep(args.out / "compared", done.files, args.results)


def target_of(data: str, out: Path, results: Path, regions: Path, member: Member) -> str:
    """Where the comparison finds a detector: what is recorded of it, else its run, which is trained if need be."""
    recorded = results / "detectors" / member.name
    if (recorded / "results.json").exists():
        return str(recorded)
    if "precomputed" in " ".join(member.overrides) and not regions.exists():
        command = ["proposals", "make", "--method", "selective_search", "--max-boxes", "2000"]
        place = ["--data", EXPERIMENTS[data].data, "--out", str(regions)]
        subprocess.run([sys.executable, "-m", "detzoo", *command, *place], check=True)
    return str(learned(data, out / member.name, member))


def learned(data: str, out: Path, member: Member) -> Path:
    """A run: trained, or gone on with, or there already."""
    curve = out / "curve.csv"
    if curve.exists() and curve.read_text().splitlines()[-1].startswith(f"{member.epochs},"):
        return out
    experiment = EXPERIMENTS[data]
    dataset = detzoo.open_dataset(experiment.data, experiment.train)
    transforms = [line for line in experiment.overrides if not line.startswith("input.size")]
    own = [*member.overrides, f"train.eval_every={member.epochs}", *transforms]
    detector = detzoo.build(member.recipe, classes=dataset.classes, overrides=own)
    going_on = (out / LAST).exists()
    detzoo.train(detector, dataset, out, epochs=member.epochs, resume=going_on, channels_last=True)
    return out


def keep(compared: Path, files: list[Path], results: Path) -> None:
    """Tables and plot, and of each detector what KEPT names; the page, megabytes of it, is made again from them."""
    for path in files:
        if path.suffix != ".html":
            results.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, results / path.name)
    for folder in sorted((compared / "detectors").iterdir()):
        place = results / "detectors" / folder.name
        place.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            for source in (folder / name, compared.parent / folder.name / name):
                if source.is_file():
                    if name == "detections.json":
                        (place / f"{name}.gz").write_bytes(gzip.compress(source.read_bytes(), mtime=0))
                    else:
                        shutil.copy(source, place / name)
                    break
    print(f"kept in {results}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\nstopped; repeat the command to resume", file=sys.stderr)
        sys.exit(130)
