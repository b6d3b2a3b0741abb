"""Suppression in one call of torchvision's kernel for an image, where that is fast and provably changes nothing.

The kernel knows no groups. Where there are several, they are shifted apart, which changes the last bits of an IoU: in
float64, by less than the float32 of the exact way rounds. So the kernel is asked with a threshold that is higher than
the real one by more than both can err. What it removes, the exact way removes, for the same better box. What it keeps,
the exact way keeps if no two of them come near the real threshold from below; the kernel says so of the kept ones
alone, with a lower threshold. Otherwise there is no answer here.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

MOST: Final = 1000
"""Boxes of an image; of more, to keep groups apart costs less than to compare all with all (torchvision's number)."""
PROBE, DENSE = 128, 16
"""A larger crowd of one group takes the kernel little time: so few of its first boxes are kept."""
LEAST_IOU: Final = 1e-3
LEAST_SIDE: Final = 1e-2
"""Shorter sides, but for those of no length at all, would err by more."""
LARGEST: Final = 2.0**22
"""Shifted coordinates, which float64 then has to 2**-31."""
MARGIN: Final = 2e-6
"""An IoU in float32 is off by at most 16 roundings of 2**-24 of itself: 3 of the shared area, 12 of the union, 1."""


def keep_shifted(boxes: Tensor, group: Tensor, valid: Tensor, threshold: float) -> Tensor | None:
    """Which boxes greedy suppression keeps, or None where rounding might decide or another way is faster.

    Args:
        boxes: float32 [B,N,4] xyxy px, best first.
        group: int64 [B,N].
        valid: bool [B,N].
        threshold: a box that overlaps a better kept one of its group by more than this is removed.

    Returns:
        bool [B,N], or None.
    """
    if boxes.numel() == 0 or boxes.dtype != torch.float32:
        return None
    low, high = (float(end) for end in boxes.aminmax())
    span = high - low + 1
    if not span <= LARGEST:  # NaN is not
        return None
    first, last = (int(end) for end in group.aminmax())
    if first == last:
        return _one_group(boxes, valid, threshold)
    if boxes.shape[1] > MOST or threshold < LEAST_IOU or span * (last - first + 1) > LARGEST:
        return None
    exact = boxes.double()
    side = exact[..., 2:] - exact[..., :2]
    if not bool(((side >= LEAST_SIDE) | (side == 0) | ~valid.unsqueeze(-1)).all()):
        return None
    return _proved(exact + ((group - first) * span).unsqueeze(-1), valid, threshold)


def _one_group(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor | None:
    if boxes.shape[1] > MOST and any(len(_kept(image[:PROBE], threshold)) > DENSE for image in boxes):
        return None
    keep = torch.zeros_like(valid)
    for image, rows in enumerate(valid):
        where = rows.nonzero().squeeze(1)
        keep[image, where[_kept(boxes[image, where], threshold)]] = True
    return keep


def _proved(shifted: Tensor, valid: Tensor, threshold: float) -> Tensor | None:
    keep = torch.zeros_like(valid)
    everywhere = bool(valid.all())
    for image, every in enumerate(shifted):
        where = None if everywhere else valid[image].nonzero().squeeze(1)
        rows = every if where is None else every[where]
        kept = _kept(rows, threshold * (1 + MARGIN))
        if len(_kept(rows[kept], threshold * (1 - MARGIN))) < len(kept):
            return None
        keep[image, kept if where is None else where[kept]] = True
    return keep


def _kept(boxes: Tensor, threshold: float) -> Tensor:
    """int64, by torchvision's kernel; boxes come best first."""
    import torchvision  # noqa: F401  (registers the operator)

    kept: Tensor = torch.ops.torchvision.nms(boxes, torch.arange(len(boxes), 0, -1, dtype=boxes.dtype), threshold)
    return kept
