"""Image-level regions on their way to a detector: made from the image, checked, kept, padded into a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detzoo.prediction.proposal_file import ProposalsError
from detzoo.types import Candidates

if TYPE_CHECKING:
    from detzoo.interfaces import Proposer

KEPT_BYTES: Final = 1 << 28
"""Regions that one process of a loader keeps: 256 MiB, 2,000 boxes each of 8,000 images."""


def propose(proposer: Proposer, image: NDArray[np.uint8], where: str | None = None) -> NDArray[np.float32]:
    """The regions of an image, best first, cut to it.

    Args:
        proposer: the detector's.
        image: uint8 [H,W,3] RGB, as decoded: before any transform or resizing.
        where: what to call the image in a message.

    Returns:
        float32 [P,4] xyxy px; regions that lie outside the image are left out.

    Raises:
        ProposalsError: there are none to be had, or they are no boxes.
    """
    try:
        boxes, _ = proposer(image)
    except ProposalsError as error:
        raise (ProposalsError(f"{where}: {error}") if where else error) from None
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.issubdtype(boxes.dtype, np.floating):
        raise ProposalsError(
            f"{type(proposer).__name__} gave {boxes.dtype} {list(boxes.shape)}; a proposer returns float32 [P,4]"
        )
    if not np.isfinite(boxes).all():  # np.clip keeps NaN
        raise ProposalsError(f"{type(proposer).__name__} gave boxes with NaN or infinite coordinates")
    height, width = image.shape[:2]
    cut = np.clip(boxes, 0, np.array([width, height, width, height])).astype(np.float32)
    return np.asarray(cut[(cut[:, 2:] > cut[:, :2]).all(axis=1)])  # order stays: best first


class RegionCache:
    """The regions of a dataset's images, by position: made once in each process of a loader, while there is room.

    Args:
        proposer: the detector's.
        kept_bytes: room; what does not fit is computed again each time.
    """

    def __init__(self, proposer: Proposer, kept_bytes: int = KEPT_BYTES) -> None:
        self.proposer, self.room = proposer, kept_bytes
        self._kept: dict[int, NDArray[np.float32]] = {}

    def regions(self, position: int, image: NDArray[np.uint8], where: str | None = None) -> NDArray[np.float32]:
        """Regions [P,4] of the image at a position; the array is shared, not to be changed."""
        known = self._kept.get(position)
        if known is not None:
            return known
        boxes = propose(self.proposer, image, where)
        if boxes.nbytes <= self.room:  # each worker has a cache of its own
            self.room -= boxes.nbytes
            self._kept[position] = boxes
        return boxes


def candidates_of(
    regions: Sequence[NDArray[np.float32] | None] | None, scale: Tensor, region: Tensor
) -> Candidates | None:
    """Regions of a batch in network px.

    Args:
        regions: float32 [P,4] xyxy px of each image before resizing, or None for an image without any.
        scale: float32 [B,2] (vertical, horizontal), as in ImageBatch.
        region: float32 [B,4] xyxy network px, as in ImageBatch.

    Returns:
        boxes [B,P,4], the best of each image first, padding last; None where no image has any.
    """
    if regions is None or all(boxes is None for boxes in regions):
        return None
    found = [np.zeros((0, 4), np.float32) if boxes is None else boxes for boxes in regions]
    padded = torch.zeros(len(found), max(map(len, found)), 4)
    valid = torch.zeros(padded.shape[:2], dtype=torch.bool)
    for row, boxes in enumerate(found):
        padded[row, : len(boxes)] = torch.from_numpy(boxes)
        valid[row, : len(boxes)] = True
    device = region.device
    moved = padded.to(device) * scale[:, None, [1, 0, 1, 0]] + region[:, None, [0, 1, 0, 1]]  # scale is (height, width)
    valid = valid.to(device)
    return Candidates(boxes=torch.where(valid.unsqueeze(-1), moved, 0), valid=valid)
