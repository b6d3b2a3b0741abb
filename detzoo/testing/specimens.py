"""Small inputs for the checks: noise images, ground truth of every awkward kind, candidates, predictions.

All of it is seeded, so that a check that fails once fails again.
"""

from __future__ import annotations

import itertools
import math
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from detzoo.interfaces import Draw
from detzoo.ops.distributions import expectation
from detzoo.types import (
    Candidates,
    FeatureMaps,
    FeatureSpec,
    FeatureSpecs,
    ImageBatch,
    Level,
    Predictions,
    Sample,
    Scoring,
    Targets,
)

NUM_CLASSES: Final = 3
SEED: Final = 0
"""Of what checks are given."""
OTHER_SEED: Final = 7
"""Of what a check builds again, to compare it with what it is given: one for all, for detectors are slow to build."""
SIZES: Final = ((160, 224), (256, 192))
"""(height, width) px: two that are not square, both divisible by 32."""
SMALL: Final = ((96, 160), (128, 96))
"""The same for backbones, which cost the most: still three cells at stride 32."""
FEATURES: Final[FeatureSpecs] = {
    "s8": FeatureSpec(channels=16, stride=8.0),
    "s16": FeatureSpec(channels=24, stride=16.0),
    "s32": FeatureSpec(channels=32, stride=32.0),
}
"""What a neck or head gets when no recipe says otherwise."""
PYRAMID: Final[FeatureSpecs] = {f"s{stride}": FeatureSpec(channels=16, stride=float(stride)) for stride in (8, 16, 32)}
"""What RoI pooling gets when no recipe says otherwise."""
GROUND_TRUTHS: Final[dict[str, tuple[tuple[float, float, float, float], ...]]] = {
    "no box": (),
    "one box": ((20.0, 30.0, 120.0, 90.0),),
    "a box without area": ((40.0, 40.0, 40.0, 80.0),),
    "mixed boxes": ((4.0, 4.0, 20.0, 28.0), (10.0, 12.0, 150.0, 140.0), (90.0, 30.0, 91.0, 31.0)),
    "equal boxes": ((20.0, 30.0, 120.0, 90.0), (20.0, 30.0, 120.0, 90.0)),
}
"""Boxes in px of an image of at least 160x160."""


def generator(seed: int = 0) -> torch.Generator:
    """A seeded source of numbers of its own."""
    return torch.Generator().manual_seed(seed)


def image_batch(size: tuple[int, int] = SIZES[0], count: int = 2, *, seed: int = 0) -> ImageBatch:
    """Noise that fills the network input: nothing is padded, nothing was resized."""
    height, width = size
    whole = torch.tensor([0.0, 0.0, width, height]).expand(count, 4).contiguous()
    return ImageBatch(
        pixels=torch.randn(count, 3, height, width, generator=generator(seed)),
        region=whole,
        original_size=torch.tensor([height, width]).expand(count, 2).contiguous(),
        scale=torch.ones(count, 2),
        index=torch.arange(count),
    )


def feature_maps(
    specs: FeatureSpecs, size: tuple[int, int] = SIZES[0], count: int = 2, *, seed: int = 0
) -> FeatureMaps:
    """Noise of the declared channels; of the declared size where one is declared, else of the stride's."""
    maps = {}
    for row, (name, spec) in enumerate(specs.items()):
        cells = spec.size or (math.ceil(size[0] / spec.stride), math.ceil(size[1] / spec.stride))
        maps[name] = torch.randn(count, spec.channels, *cells, generator=generator(seed + row))
    return maps


def targets(names: tuple[str, ...], *, padded: int = 16, ignore: bool = False) -> Targets:
    """Ground truth, one image per name of ``GROUND_TRUTHS``; labels count up and start again, masks fill the boxes."""
    count = len(names)
    boxes = torch.zeros(count, padded, 4)
    valid = torch.zeros(count, padded, dtype=torch.bool)
    for row, name in enumerate(names):
        own = GROUND_TRUTHS[name]
        boxes[row, : len(own)] = torch.tensor(own).reshape(-1, 4)
        valid[row, : len(own)] = True
    labels = torch.arange(padded).remainder(NUM_CLASSES).expand(count, padded).contiguous()
    drawn = [_filled(own) for name in names for own in GROUND_TRUTHS[name]]
    mask_row = torch.where(valid, valid.flatten().cumsum(0).view_as(valid) - 1, -1)
    return Targets(
        boxes=boxes,
        labels=labels * valid,
        ignore=valid.clone() if ignore else torch.zeros_like(valid),
        valid=valid,
        region=torch.tensor([0.0, 0.0, SIZES[0][1], SIZES[0][0]]).expand(count, 4).contiguous(),
        masks=torch.stack(drawn) if drawn else torch.zeros(0, *SIZES[0], dtype=torch.uint8),
        mask_row=mask_row,
    )


def _filled(box: tuple[float, float, float, float]) -> Tensor:
    """uint8 [H,W]: the mask of an object that fills its box of whole px."""
    left, top, right, bottom = (int(side) for side in box)
    mask = torch.zeros(SIZES[0], dtype=torch.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def candidates(
    size: tuple[int, int] = SIZES[0],
    *,
    coder: nn.Module | None = None,
    stride: int = 16,
    per_cell: Literal[1, 2] = 2,
) -> Candidates:
    """Square boxes in every cell of one level: of 2 strides, and of 4 where there are two per cell."""
    rows, columns = size[0] // stride, size[1] // stride
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centre = (torch.stack([x, y], -1).reshape(-1, 1, 2) + 0.5) * stride
    half = torch.tensor([1.0, 2.0][:per_cell])[None, :, None] * stride
    boxes = torch.cat([centre - half, centre + half], -1).reshape(1, -1, 4)
    level = Level(f"s{stride}", rows, columns, per_cell, float(stride))
    valid = torch.ones(1, boxes.shape[1], dtype=torch.bool)
    return Candidates(boxes, valid, (level,), coder)  # type: ignore[arg-type]


def regions(size: tuple[int, int] = SIZES[0], count: int = 2) -> Candidates:
    """Boxes of 128 and 256 px as regions of each image: [B,P,4], without levels; few, for each costs a head's pass."""
    made = candidates(size, stride=64)
    return Candidates(made.boxes.expand(count, -1, -1).contiguous(), made.valid.expand(count, -1).contiguous())


def no_candidates(*, coder: nn.Module | None = None) -> Candidates:
    """An image in which there is nowhere to look."""
    return Candidates(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool), (), coder)  # type: ignore[arg-type]


def predictions(
    count: int,
    places: Candidates,
    scoring: Scoring,
    *,
    num_classes: int = NUM_CLASSES,
    quality: bool = False,
    seed: int = 0,
) -> Predictions:
    """Noise as a head gives it; leaves of the graph, so that gradients can be looked at.

    Where the candidates' coder has bins there is a distribution, and the deltas are its expectation.

    Args:
        count: images.
        places: for their number.
        scoring: softmax has a background column.
        num_classes: K.
        quality: whether there is an objectness or centreness.
        seed: of the noise.
    """
    source = generator(seed)
    number = places.boxes.shape[1]
    columns = num_classes + (scoring == "softmax")
    logits = torch.randn(count, number, columns, generator=source).requires_grad_()
    deltas = (0.3 * torch.randn(count, number, 1, 4, generator=source)).requires_grad_()
    objectness = torch.randn(count, number, generator=source).requires_grad_() if quality else None
    bins = None if places.coder is None else places.coder.bins
    if bins is None:
        return Predictions(logits, scoring, deltas, objectness)
    distribution = torch.randn(count, number, 4, len(bins), generator=source).requires_grad_()
    deltas = expectation(distribution, bins).unsqueeze(2)
    return Predictions(logits, scoring, deltas, objectness, distribution=distribution)


def sample(
    name: str = "mixed boxes", *, size: tuple[int, int] = SIZES[0], seed: int = 0, masks: bool = False
) -> Sample:
    """A noise image with ground truth, as the loader hands it to transforms; masks fill the boxes."""
    boxes = np.array(GROUND_TRUTHS[name], np.float32).reshape(-1, 4)
    count = len(boxes)
    drawn = np.zeros((count, *size), np.uint8)
    for mask, (left, top, right, bottom) in zip(drawn, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = 1
    return Sample(
        image=np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8),
        boxes=boxes,
        labels=np.arange(count, dtype=np.int64) % NUM_CLASSES,
        difficult=np.zeros(count, np.bool_),
        crowd=np.zeros(count, np.bool_),
        image_id=seed,
        path=f"specimen of {name}",
        masks=drawn if masks else None,
    )


def draw_from(*samples: Sample) -> Draw:
    """What a transform is given for other images: the samples in turn, then from the first again.

    Without samples, asking for one is an AssertionError.
    """
    waiting = itertools.cycle(samples)

    def draw(*, plain: bool = False) -> Sample:
        found = next(waiting, None)
        assert found is not None, "another image was asked for"
        return found

    return draw


def total(terms: dict[str, Tensor]) -> Tensor:
    """Sum of the terms of a loss."""
    return torch.stack([term.sum() for term in terms.values()]).sum()
