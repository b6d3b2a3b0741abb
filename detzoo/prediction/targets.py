"""Ground truth in network pixels: what a loss compares predictions with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from detzoo.runtime.contiguous import contiguous
from detzoo.types import ImageBatch, Sample, Targets

Treatment: TypeAlias = Literal["train", "ignore", "drop"]
"""What happens to difficult or crowd boxes in training."""
TARGET_MULTIPLE = 16  # M is padded to it, so that compiled code sees few shapes


def make_targets(
    samples: Sequence[Sample], batch: ImageBatch, *, difficult: Treatment = "train", crowd: Treatment = "ignore"
) -> Targets:
    """Ground truth of a batch in network px.

    Args:
        samples: the samples whose images ``prepare`` made ``batch`` of, in the same order.
        batch: for scale and region.
        difficult: boxes flagged difficult are trained on, ignored, or left out.
        crowd: the same for crowd regions; a box that is both gets the harsher of the two.

    Returns:
        boxes [B,M,4] with M padded to a multiple of 16, at least 16. ``weight`` is there where any sample has one; it
        is 1 for the boxes of the others and for padding.
    """
    device = batch.pixels.device
    kept = [_kept(sample, difficult, crowd) for sample in samples]
    most = max((len(rows) for rows, _ in kept), default=0)
    # at least one block: M is never 0
    rows_padded = max(TARGET_MULTIPLE, -(-most // TARGET_MULTIPLE) * TARGET_MULTIPLE)
    boxes = np.zeros((len(samples), rows_padded, 4), np.float32)  # NumPy: thousands of small writes are slow in torch
    labels = np.zeros((len(samples), rows_padded), np.int64)
    ignore = np.zeros((len(samples), rows_padded), np.bool_)
    valid = np.zeros((len(samples), rows_padded), np.bool_)
    weight = np.ones((len(samples), rows_padded), np.float32)
    scale = batch.scale.cpu().numpy()[:, [1, 0, 1, 0]]  # (height, width) to x, y, x, y
    offset = batch.region.cpu().numpy()[:, [0, 1, 0, 1]]
    for row, (sample, (rows, ignored)) in enumerate(zip(samples, kept, strict=True)):
        count = len(rows)
        boxes[row, :count] = sample.boxes[rows] * scale[row] + offset[row]
        labels[row, :count] = sample.labels[rows]
        ignore[row, :count] = ignored
        valid[row, :count] = True
        if sample.weight is not None:
            weight[row, :count] = sample.weight[rows]
    masks, mask_row = _masks(samples, kept, batch, rows_padded)
    return Targets(
        boxes=torch.from_numpy(boxes).to(device),
        labels=torch.from_numpy(labels).to(device),
        ignore=torch.from_numpy(ignore).to(device),
        valid=torch.from_numpy(valid).to(device),
        region=batch.region,
        masks=masks,
        mask_row=mask_row,
        weight=torch.from_numpy(weight).to(device) if any(sample.weight is not None for sample in samples) else None,
    )


def _kept(sample: Sample, difficult: Treatment, crowd: Treatment) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of the sample that stay, and which of them are ignored."""
    drop = np.zeros(len(sample.boxes), np.bool_)
    ignored = np.zeros(len(sample.boxes), np.bool_)
    for flag, treatment in ((sample.difficult, difficult), (sample.crowd, crowd)):
        if treatment == "drop":
            drop |= flag
        elif treatment == "ignore":
            ignored |= flag
    rows = np.flatnonzero(~drop)
    return rows, ignored[rows]


def _masks(
    samples: Sequence[Sample], kept: list[tuple[NDArray[np.int64], NDArray[np.bool_]]], batch: ImageBatch, padded: int
) -> tuple[Tensor | None, Tensor | None]:
    """All masks of the batch [T,H,W], resized by nearest neighbour as torchvision does, and the row of each box.

    A mask without a pixel is none: its box gets -1, whether the annotation lacks it or a crop left nothing of it.
    """
    if all(sample.masks is None for sample in samples):
        return None, None
    height, width = batch.pixels.shape[-2:]
    mask_row = torch.full((len(samples), padded), -1, dtype=torch.int64)
    regions = batch.region.cpu().round().int().tolist()  # whole px: prepare puts images at whole px
    pieces: list[Tensor] = []
    total = 0
    for row, (sample, (rows, _)) in enumerate(zip(samples, kept, strict=True)):
        if sample.masks is None:
            continue
        drawn = np.flatnonzero(sample.masks[rows].any((1, 2)))  # an empty mask would teach that there is no object
        if len(drawn) == 0:
            continue
        left, top, right, bottom = regions[row]
        piece = torch.zeros(len(drawn), height, width, dtype=torch.uint8)
        source = torch.from_numpy(contiguous(sample.masks[rows[drawn]]))[:, None]
        piece[:, top:bottom, left:right] = F.interpolate(source, size=(bottom - top, right - left))[:, 0]
        pieces.append(piece)
        mask_row[row, drawn] = torch.arange(total, total + len(drawn))
        total += len(drawn)
    masks = torch.cat(pieces) if pieces else torch.zeros(0, height, width, dtype=torch.uint8)
    return masks.to(batch.pixels.device), mask_row.to(batch.pixels.device)
