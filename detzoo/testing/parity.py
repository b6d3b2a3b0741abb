"""For tests against another implementation: seeded models that find something, the same detections, blocked modules."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from detzoo.prediction.detections import Detections

BLOCK = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if (name + ".").startswith(MODULE + "."):
            raise ImportError(f"{name} is blocked")
        return None

parent, _, child = MODULE.rpartition(".")
if parent:
    importlib.import_module(parent)
for name in [name for name in sys.modules if (name + ".").startswith(MODULE + ".")]:
    del sys.modules[name]
if parent and child in vars(sys.modules[parent]):
    delattr(sys.modules[parent], child)
sys.meta_path.insert(0, Blocked())
try:
    importlib.import_module(MODULE)
except ImportError:
    pass
else:
    raise SystemExit("not blocked")
"""
TRAIN_AND_PREDICT = """
import numpy as np
from detzoo.builder import build
from detzoo.prediction.prepare import collate
from detzoo.types import Sample

image = np.zeros((50, 70, 3), np.uint8)
no = np.zeros(1, np.bool_)
mask = np.zeros((1, 50, 70), np.uint8)
mask[:, 5:40, 5:40] = 1
sample = Sample(image, np.array([[5, 5, 40, 40]], np.float32), np.array([0]), no, no, 0, "black", masks=mask)
for recipe in RECIPES:
    detector = build(recipe, num_classes=2, weights=None, overrides=OVERRIDES)
    losses = detector.losses(*collate([sample, sample], detector.input))
    sum(losses.values()).backward()
    assert len(detector.eval().predict([image], channels="rgb")) == 1
print("fine")
"""


def assert_same_detections(
    mine: Detections,
    scores: Tensor,
    labels: Tensor,
    boxes: Tensor,
    masks: Tensor | None = None,
    *,
    pixels: float = 1e-2,
    score: float = 1e-4,
    tie: float = 1e-4,
    mask_share: float = 1e-3,
) -> None:
    """Same count, scores and order, but that detections whose scores agree within ``tie`` may change places.

    Args:
        mine: detzoo's, of one image.
        scores: [N], descending, of the other implementation.
        labels: [N], counted as detzoo counts them.
        boxes: [N,4], xyxy in pixels of the image.
        masks: bool [N,H,W], or None where there are none.
        pixels: most that a corner may be off.
        score: most that a score may be off.
        tie: scores so near to each other have no order.
        mask_share: most pixels of a mask that may differ, as a share of the image.
    """
    assert len(mine) == len(scores)
    torch.testing.assert_close(mine.scores, scores, atol=score, rtol=0)
    assert (masks is None) == (mine.masks is None)
    free = torch.ones(len(mine), dtype=torch.bool)
    for rank, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        tied = (scores - scores[rank]).abs() <= tie
        close = (mine.scores - scores[rank]).abs() <= score
        same = free & tied & close & (mine.labels == label) & ((mine.boxes - box).abs() <= pixels).all(1)
        assert same.any(), f"detection {rank}: {box.tolist()} of class {int(label)} is not found"
        row = int(same.nonzero()[0])
        free[row] = False
        if masks is not None and mine.masks is not None:
            wrong = mine.masks[row] != masks[rank]
            assert wrong.float().mean() <= mask_share, f"mask {rank} differs in {int(wrong.sum())} pixels"


def assert_runs_without(module: str, recipes: Iterable[str], overrides: Mapping[str, object] | None = None) -> None:
    """Recipes learn and predict in a process of their own where ``module`` cannot be imported."""
    facts = f"MODULE = {module!r}\nRECIPES = {tuple(recipes)!r}\nOVERRIDES = {dict(overrides or {})!r}\n"
    code = facts + BLOCK + TRAIN_AND_PREDICT
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "fine\n"), ran.stderr
    assert module not in ran.stderr


def freeze_norms(module: nn.Module, eps: float) -> None:
    """Every batch norm becomes a frozen one with its statistics, as in torchvision's pretrained models."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            state = {key: value for key, value in child.state_dict().items() if key != "num_batches_tracked"}
            frozen = FrozenBatchNorm2d(child.num_features, eps)
            frozen.load_state_dict(state)
            setattr(module, name, frozen)
        else:
            freeze_norms(child, eps)


@torch.no_grad()
def spread(layer: nn.Module, inputs: list[Tensor], std: float, mean: float = 0.0) -> None:
    """Give each output of a layer a mean and a deviation over ``inputs``, as trained layers have them.

    Random weights answer nearly the same everywhere; a parity test wants detections that differ.
    """
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    assert layer.bias is not None
    outputs = torch.cat([layer(x).transpose(0, 1).flatten(1) for x in inputs], dim=1)
    scale = std / outputs.std(1)
    column = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    layer.weight.mul_(scale.view([-1 if d == column else 1 for d in range(layer.weight.dim())]))
    layer.bias.sub_(outputs.mean(1)).mul_(scale).add_(mean)


@torch.no_grad()
def spread_chain(layers: Iterable[nn.Module], inputs: list[Tensor]) -> list[Tensor]:
    """Run ``inputs`` through layers, spreading those that have a bias: no norm follows them."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and layer.bias is not None:
            spread(layer, inputs, 1.0)
        inputs = [layer(x) for x in inputs]
    return inputs


def leaves(module: nn.Module) -> list[nn.Module]:
    """Layers that hold no others, in the order in which they were added."""
    return [layer for layer in module.modules() if not list(layer.children())]
