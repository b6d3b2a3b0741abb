"""Fast R-CNN's truncated SVD: time of VGG16's fully connected layers, and AP of a small detector, before and after.

    python benchmarks/fast_rcnn_svd.py --backbone MOBILENET_V2.pth --out docs/results/fast-rcnn-svd.json

Time: fc6 (25088 x 4096) and fc7 (4096 x 4096), whole and at the paper's ranks 1024 and 256, beside the convolutions of
one image of 600 x 1000 px. It does not depend on what the weights are, so they are random. Whole and compressed take
turns in every repetition, so that a machine that is busy for a while slows both.

AP: the `fast` recipe of the plugin's learning tests with two fully connected layers, trained on `shapes` and compressed
afterwards, as the paper does, to ranks in the paper's proportions (a quarter, a sixteenth) and to others.

Source: Fast R-CNN (arXiv:1504.08083), sections 3.1 and 4.4, table 4.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

import detzoo
from detzoo import convert_weights
from detzoo.runtime.environment import device_facts, versions
from detzoo.training.rng import seed_everything
from detzoo_faster_rcnn.svd import linear

VGG16: Final = ((25088, 4096), (4096, 4096))
RANKS: Final = (1024, 256)
IMAGE: Final = (600, 1000)
RECIPE: Final = f"{Path(__file__).parents[1]}/plugins/detzoo-faster-rcnn/tests/learning.yaml#fast"
WIDTHS: Final = (256, 256)
COMPRESSED: Final = ((256, 256), (192, 128), (128, 64), (64, 16), (32, 32), (16, 16))
DATA: Final = "shapes:train=192,val=64"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--backbone", type=Path, default=None, help="ImageNet weights of mobilenet_v2 (padding keras)")
    parser.add_argument("--regions", type=int, nargs="+", default=[300, 1000, 2000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    report = {
        "environment": {"threads": torch.get_num_threads(), **device_facts("cpu"), **versions()},
        "time": times(args.regions, args.repeat),
        "accuracy": accuracy(args.backbone, args.epochs),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n")


@torch.inference_mode()
def times(regions: list[int], repeat: int) -> dict[str, Any]:
    """Medians in ms: the convolutions of an image, and the layers for each number of regions."""
    small = {"box.head.fc": [8, 8], "box.head.pretrained": None}
    backbone = detzoo.build("fastrcnn_vgg16_voc", overrides=small, weights=None).get_submodule("backbone")
    pixels = torch.randn(1, 3, *IMAGE)
    (convolutions,) = medians([partial(backbone, pixels)], repeat)
    whole, compressed = layers((None, None)), layers(RANKS)
    rows = []
    for count in regions:
        pooled = torch.rand(count, VGG16[0][0])
        before, after = medians([partial(whole, pooled), partial(compressed, pooled)], repeat)
        rows.append(
            {
                "regions": count,
                "whole_ms": round(before, 1),
                "compressed_ms": round(after, 1),
                "speedup": round(before / after, 2),
                "speedup_with_convolutions": round((before + convolutions) / (after + convolutions), 2),
            }
        )
        print(rows[-1], flush=True)
    return {
        "layers": [list(shape) for shape in VGG16],
        "ranks": list(RANKS),
        "multiplications_whole": sum(a * b for a, b in VGG16),
        "multiplications_compressed": sum(rank * (a + b) for rank, (a, b) in zip(RANKS, VGG16, strict=True)),
        "image": list(IMAGE),
        "convolutions_ms": round(convolutions, 1),
        "repeat": repeat,
        "rows": rows,
    }


def layers(ranks: tuple[int | None, ...]) -> nn.Module:
    """fc6 and fc7."""
    stack = [
        nn.Sequential(linear(a, b, rank), nn.ReLU(inplace=True)) for (a, b), rank in zip(VGG16, ranks, strict=True)
    ]
    return nn.Sequential(*stack).eval()


def medians(work: list[Callable[[], Any]], repeat: int) -> list[float]:
    """Median ms of each, in turns, after one round that is not counted."""
    found: list[list[float]] = [[] for _ in work]
    for turn in range(repeat + 1):
        for row, one in enumerate(work):
            start = time.perf_counter()
            one()
            if turn:
                found[row].append(1000 * (time.perf_counter() - start))
    return [statistics.median(own) for own in found]


def accuracy(backbone: Path | None, epochs: int) -> dict[str, Any]:
    """AP of one trained detector, whole and compressed."""
    train, val = (detzoo.open_dataset(DATA, split) for split in ("train", "val"))
    overrides = {
        "box.head.fc": list(WIDTHS),
        "backbone.weights": None if backbone is None else str(backbone),
        "backbone.padding": "keras",
        "train.epochs": epochs,
    }
    seed_everything(0)
    detector = detzoo.build(RECIPE, overrides=overrides)
    with tempfile.TemporaryDirectory() as folder:
        detzoo.train(detector, train, Path(folder) / "run", device="cpu", workers=0, progress=False)
        trained = detzoo.load(Path(folder) / "run")  # its averaged weights
    fully = trained.get_submodule("box.head.fc").children()
    rows = [row_of(trained, None, val)]
    for ranks in COMPRESSED:
        changes = {**overrides, "backbone.weights": None, "box.head.fc_ranks": list(ranks)}
        compressed = detzoo.build(RECIPE, overrides=changes)
        convert_weights(compressed, trained.state_dict(), source="svd")
        rows.append(row_of(compressed, ranks, val))
    return {
        "recipe": "learning.yaml#fast",
        "data": DATA,
        "epochs": epochs,
        "layers": [[one.in_features, one.out_features] for one in fully if isinstance(one, nn.Linear)],
        "rows": rows,
    }


def row_of(detector: Any, ranks: tuple[int, ...] | None, val: Any) -> dict[str, Any]:
    """Evaluate one."""
    metrics = detzoo.evaluate(detector, val, progress=False).metrics
    held = sum(parameter.numel() for parameter in detector.get_submodule("box.head.fc").parameters())
    row = {"ranks": None if ranks is None else list(ranks), "fc_parameters": held}
    row |= {key: round(metrics[key], 4) for key in ("AP", "AP50", "AP75")}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
