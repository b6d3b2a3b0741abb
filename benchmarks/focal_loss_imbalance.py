"""What the focal loss does about imbalance, shown on `shapes` by a small RetinaNet: AP and where the loss comes from.

    python benchmarks/focal_loss_imbalance.py --backbone MOBILENET_V2.pth --out docs/results/focal-loss

Only images with exactly one object are kept, so that there are several hundred background anchors for each that is
positive. A detector is trained for each gamma of 0, 0.5, 1, 2 and 5, with alpha as the paper's table 1b finds it best,
and each with and without the prior bias of 0.01 on the class logits. Then the detector of gamma 2 with the bias looks
at the images of the validation split: the loss that each gamma gives to its answers is sorted, summed up and divided
by its total, for the logits of the positives' true classes and for all others apart, as in the paper's figure 4.

Writes OUT/focal_loss.json and OUT/focal_loss.png. A run that is in the json already is not trained again.

Source: Lin et al. 2017 (arXiv:1708.02002), sections 3.3 and 5.1, table 1b and figure 4.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

import detzoo
from detzoo.comparison.plots import save
from detzoo.data import Dataset
from detzoo.ops.focal import focal_by_formula
from detzoo.ops.matching import matched_labels
from detzoo.prediction.prepare import collate
from detzoo.runtime.environment import device_facts, versions
from detzoo.training.rng import seed_everything

RECIPE: Final = f"{Path(__file__).parents[1]}/plugins/detzoo-retinanet/tests/learning.yaml#retinanet"
DATA: Final = "shapes:train=1200,val=600"
ALPHA: Final = {0.0: 0.75, 0.5: 0.5, 1.0: 0.25, 2.0: 0.25, 5.0: 0.25}
"""Best alpha of each gamma, table 1b of the paper."""
PRIORS: Final = (0.01, None)
SHOWN: Final = (2.0, 0.01)
"""Gamma and prior of the detector whose answers are looked at."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbone", type=Path, required=True, help="ImageNet weights of mobilenet_v2 (padding keras)")
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="px; side of the network's input")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    train, val = (single(split, count) for split, count in (("train", args.images), ("val", args.images // 2)))
    path = args.out / "focal_loss.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"runs": []}
    done = {(row["gamma"], row["prior"]) for row in result["runs"]}
    for gamma, prior in ((gamma, prior) for prior in PRIORS for gamma in ALPHA):
        if (gamma, prior) in done:
            continue
        row, detector = learned(gamma, prior, train, val, args)
        result["runs"].append(row)
        if (gamma, prior) == SHOWN:
            result |= looked_at(detector, val)
        print(json.dumps(row), flush=True)
        result |= {"images": args.images, "epochs": args.epochs, "size": args.size}
        result |= {"device": device_facts("cpu"), "versions": versions()}
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(save(drawn(result), args.out / "focal_loss.png"))


def single(split: str, count: int) -> Dataset:
    """The first images of a split with exactly one object."""
    dataset = detzoo.open_dataset(DATA, split)
    kept: list[int] = []
    for position in range(len(dataset)):
        if len(dataset.sample(position, masks=False).labels) == 1:
            kept.append(position)
        if len(kept) == count:
            return dataset.subset(kept)
    raise SystemExit(f"{DATA}, {split}: only {len(kept)} images have one object, {count} are wanted")


def learned(gamma: float, prior: float | None, train: Dataset, val: Dataset, args: Any) -> tuple[dict[str, Any], Any]:
    """AP of the last weights and the losses of the first and the last step."""
    seed_everything(0)
    overrides: dict[str, Any] = {
        "backbone.weights": str(args.backbone),
        "backbone.padding": "keras",
        "input.size": [args.size, args.size],
        "loss.classification.gamma": gamma,
        "loss.classification.alpha": ALPHA[gamma],
        "head.prior": prior,
        "train.eval_every": args.epochs,
    }
    detector = detzoo.build(RECIPE, overrides=overrides)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        settings: dict[str, Any] = {"device": "cpu", "workers": 0, "progress": False, "epochs": args.epochs}
        metrics = detzoo.train(detector, train, out, val=val, **settings).metrics
        log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        detector = detzoo.load(out / "last.safetensors")
    losses = [line["terms"]["classification"] for line in log if "terms" in line]
    row = {"gamma": gamma, "alpha": ALPHA[gamma], "prior": prior, "AP": metrics["AP"], "AP50": metrics["AP50"]}
    return row | {"first_class_loss": losses[0], "last_class_loss": losses[-1]}, detector.eval()


@torch.no_grad()
def looked_at(detector: Any, dataset: Dataset) -> dict[str, Any]:
    """Imbalance of the anchors, and the cumulative loss of foreground and background for each gamma."""
    foreground, background = [], []
    anchors = 0
    for start in range(0, len(dataset), 16):
        samples = [dataset.sample(place, masks=False) for place in range(start, min(start + 16, len(dataset)))]
        batch, targets = collate(samples, detector.input)
        candidates, predictions = detector.network(batch)
        assignment = detector.matcher(candidates, targets)
        counted = assignment.positive | assignment.negative
        true = torch.nn.functional.one_hot(
            matched_labels(targets, assignment) + 1, predictions.class_logits.shape[2] + 1
        )
        true = true[..., 1:].bool()
        foreground.append(predictions.class_logits[true])
        background.append(predictions.class_logits[~true & counted.unsqueeze(-1)])
        anchors += int(counted.sum())
    positive, negative = torch.cat(foreground), torch.cat(background)
    curves = {}
    for gamma in ALPHA:
        curves[f"{gamma:g}"] = {
            "foreground": cumulative(positive, 0, gamma),
            "background": cumulative(negative, -1, gamma),
        }
    return {
        "anchors": {
            "counted": anchors,
            "positive": positive.numel(),
            "background_per_positive": anchors / positive.numel() - 1,
        },
        "cumulative": curves,
    }


PLACES: Final = np.linspace(0, 1, 101)


def cumulative(logits: Tensor, label: int, gamma: float) -> list[float]:
    """The share of the whole loss that the easiest 0, 1, 2 ... 100 % of the examples make up."""
    labels = torch.full((1, logits.numel()), label)
    losses = focal_by_formula(logits.double().view(1, -1, 1), labels, alpha=None, gamma=gamma)[0].sort().values
    summed = np.concatenate([[0.0], (losses.cumsum(0) / losses.sum()).numpy()])
    at: NDArray[np.float64] = np.interp(PLACES, np.linspace(0, 1, len(summed)), summed)
    return [round(float(value), 5) for value in at]


def drawn(result: dict[str, Any]) -> Figure:
    """AP over gamma with and without the prior bias; cumulative losses of foreground and background."""
    made = Figure(figsize=(12, 4), layout="constrained")
    left, middle, right = made.subplots(1, 3)
    for prior, style in zip(PRIORS, ("o-", "s--"), strict=True):
        rows = sorted((row["gamma"], 100 * row["AP"]) for row in result["runs"] if row["prior"] == prior)
        left.plot(*zip(*rows, strict=True), style, label="without" if prior is None else f"prior {prior:g}")
    left.set(xlabel="gamma", ylabel="AP %", title="AP after training", ylim=(0, None))
    left.legend(fontsize=8)
    for axes, what in ((middle, "foreground"), (right, "background")):
        for gamma, curves in result["cumulative"].items():
            axes.plot(100 * PLACES, curves[what], label=f"gamma {gamma}")
        axes.set(xlabel=f"% of the {what} examples, easiest first", ylabel="share of their loss", title=what)
        axes.legend(fontsize=8)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return made


if __name__ == "__main__":
    main()
