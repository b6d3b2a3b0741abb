"""Masks between two frames: ground truth cut out at regions for training, small masks pasted back on the image.

Letters: P regions, D detections, m side of a square mask, T all masks of a batch, H W px.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import roi_align

from detzoo.ops.ranking import allows_dynamic_shapes

Paste: TypeAlias = Literal["integer", "half_pixel"]

_ALIGNED_PIXELS: Final = 1 << 24
"""Pixels of ground-truth masks that are floats at once: 64 MB."""
_STRIP_PIXELS: Final = 1 << 16
"""Pixels that are pasted at once: 256 KB of floats, which stay in a core's cache."""


@dataclass(frozen=True)
class MaskPasting:
    """How a detector's small masks are laid on the image.

    Args:
        convention: see ``paste_masks``.
        threshold: 0..1, probability above which a pixel belongs to the object.
    """

    convention: Paste = "half_pixel"
    threshold: float = 0.5


def mask_targets(masks: Tensor, boxes: Tensor, row: Tensor, size: int) -> Tensor:
    """The part of a ground-truth mask that lies in each region, as a small image.

    Args:
        masks: uint8 [T,H,W] of 0 and 1, network px.
        boxes: float32 [P,4] xyxy network px, of any images.
        row: int64 [P] of ``masks``; -1 gives zeros.
        size: m, cells of a side.

    Returns:
        float32 [P,m,m] in [0,1]: averages of bilinear samples, not rounded to 0 and 1.

    Source: torchvision ``project_masks_on_boxes``: RoIAlign at scale 1 with adaptive sampling and no half-pixel shift.
    Masks become floats a part at a time, so that 1,000 masks of 1,000 px fit in memory.
    """
    targets = boxes.new_zeros(len(boxes), size, size)
    if masks.shape[0] == 0 or len(boxes) == 0:  # zeros, for a batch without objects
        return targets
    step = max(1, _ALIGNED_PIXELS // max(1, masks.shape[1] * masks.shape[2]))
    for start in range(0, masks.shape[0], step):
        part = masks[start : start + step]
        inside = (row >= start) & (row < start + step)
        if allows_dynamic_shapes(row):  # only regions with masks in this part
            place = inside.nonzero().squeeze(1)
            if len(place):
                # several regions share a mask: one float copy of each
                used, own = torch.unique(row[place], return_inverse=True)
                targets[place] = _aligned(masks[used], boxes[place], own, size)
        else:
            own = (row - start).clamp(0, len(part) - 1)  # rows of other parts read anything, and are masked out
            targets = torch.where(inside[:, None, None], _aligned(part, boxes, own, size), targets)
    return targets


def _aligned(masks: Tensor, boxes: Tensor, row: Tensor, size: int) -> Tensor:
    rois = torch.cat([row[:, None].to(boxes.dtype), boxes], dim=1)
    found: Tensor = roi_align(masks[:, None].to(boxes.dtype), rois, (size, size), 1.0)
    return found[:, 0]  # [P,m,m]


def paste_masks(
    logits: Tensor, boxes: Tensor, size: tuple[int, int], *, convention: Paste, threshold: float = 0.5
) -> Tensor:
    """Small masks laid on their boxes in an image.

    Nothing is held per mask and pixel but the answer's bytes, and of those only the pages that a box touches.

    Args:
        logits: float32 [D,m,m].
        boxes: float32 [D,4] xyxy px of the image.
        size: (height, width) of the image.
        convention: ``integer``: the mask, with a rim of zeros, is stretched over whole pixels (torchvision, Detectron);
            ``half_pixel``: every pixel's centre is looked up in the mask (detectron2).
        threshold: 0..1, probability above which a pixel belongs to the object.

    Returns:
        bool [D,H,W] on the CPU.

    Source: torchvision ``paste_masks_in_image``, detectron2 ``paste_masks_in_image``. Deliberate differences: the two
    interpolate rows and columns one after the other, which is the same up to rounding; detectron2 on the CPU cuts its
    soft masks off one pixel around the box, which is visible only below a threshold of 0.5.
    """
    pasted = np.zeros((len(logits), *size), np.bool_)
    for row, place, values in _pasted(logits, boxes, size, convention):
        np.greater(values, threshold, out=pasted[row][place])
    return torch.from_numpy(pasted)


def paste_probabilities(logits: Tensor, boxes: Tensor, size: tuple[int, int], *, convention: Paste) -> Tensor:
    """The same before the threshold: float32 [D,H,W] in [0,1], 4 bytes per mask pixel."""
    pasted = np.zeros((len(logits), *size), np.float32)
    for row, place, values in _pasted(logits, boxes, size, convention):
        pasted[row][place] = values
    return torch.from_numpy(pasted)


@dataclass(frozen=True)
class _Axis:
    """Where the pixels of one side of one box lie in the padded mask.

    Args:
        start: first pixel of the image.
        places: float64 [n] coordinates in the padded mask, of this pixel and those behind it, within 0..m+1.
    """

    start: int
    places: NDArray[np.float64]

    def weights(self, cells: int) -> NDArray[np.float32]:
        """float32 [n,m+2]: each pixel is a mixture of two neighbouring cells."""
        lower = self.places.astype(np.int64)
        part = self.places - lower
        row = np.arange(len(lower))
        weights = np.zeros((len(lower), cells), np.float32)
        weights[row, lower] = 1 - part
        weights[row, np.minimum(lower + 1, cells - 1)] += part  # +=: at the last cell both neighbours are one
        return weights


def _pasted(
    logits: Tensor, boxes: Tensor, size: tuple[int, int], convention: Paste
) -> Iterator[tuple[int, tuple[slice, slice], NDArray[np.float32]]]:
    """Row of the mask, rectangle of the image, probabilities in it; large boxes come in strips."""
    side = logits.shape[-1]
    padded = torch.nn.functional.pad(logits.detach().cpu().float().sigmoid(), (1, 1, 1, 1)).numpy()  # [D,m+2,m+2]
    boxes = boxes.detach().cpu()
    if convention == "integer":
        boxes = _grown(boxes, (side + 2) / side)
    axis = _integer_axis if convention == "integer" else _half_pixel_axis
    for row, box in enumerate(boxes.tolist()):
        if not np.isfinite(box).all():  # a diverged training's box: no mask rather than an error
            continue
        across, down = axis(box[0], box[2], size[1], side), axis(box[1], box[3], size[0], side)
        if across is None or down is None:
            continue
        columns = np.ascontiguousarray(across.weights(side + 2).T)
        rows = down.weights(side + 2) @ padded[row]  # bilinear is separable: two small products, [n,m+2]
        step = max(1, _STRIP_PIXELS // columns.shape[1])
        for first in range(0, len(rows), step):
            values = rows[first : first + step] @ columns
            top = down.start + first
            yield (
                row,
                (slice(top, top + len(values)), slice(across.start, across.start + columns.shape[1])),
                values,
            )


def _grown(boxes: Tensor, factor: float) -> Tensor:
    """int64 [D,4]: boxes grown about their centres, corners cut towards 0; torchvision's order of operations."""
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * factor
    centre = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    grown = torch.cat([centre - half, centre + half], dim=1)  # the box of the padded mask: (m + 2) / m as wide
    return torch.where(grown.isfinite(), grown, 0).to(torch.int64)


def _integer_axis(low: int, high: int, limit: int, side: int) -> _Axis | None:
    """The padded mask stretched over the pixels low..high, both included; its edge pixels continue outwards."""
    start, stop = max(low, 0), min(high + 1, limit)
    if start >= stop:
        return None
    length = max(high - low + 1, 1)  # torchvision's +1: both edge pixels are covered
    places = (np.arange(start - low, stop - low) + 0.5) * ((side + 2) / length) - 0.5
    return _Axis(start, places.clip(0, side + 1))


def _half_pixel_axis(low: float, high: float, limit: int, side: int) -> _Axis | None:
    """The unpadded mask lies exactly on low..high; half a cell around it the probability falls to 0."""
    if high <= low:
        return None
    cell = (high - low) / side
    start = max(0, int(np.floor(low - cell / 2)))
    stop = min(limit, int(np.ceil(high + cell / 2)))
    if start >= stop:
        return None
    places = (np.arange(start, stop) + 0.5 - low) / cell - 0.5 + 1  # centre of the pixel, in cells; + 1 for the rim
    return _Axis(start, places.clip(0, side + 1))
