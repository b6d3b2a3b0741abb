"""Windows of pixels: every region cut out of the picture and warped to one size (R-CNN)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import RoiPool
from detzoo.ops.roi_pool import align_one, to_regions
from detzoo.types import Candidates, FeatureMaps

Side = Annotated[int, Field(ge=1)]


class Warp(RoiPool):
    """Warps regions of the network pixels, with some of their surroundings, to windows of one size.

    The region fills the window but for ``context`` px on each side, which show what lies around it. What lies outside
    the picture is 0, the mean once normalised. Samples are bilinear; a pixel of the window whose centre lies outside is
    outside.

    Args:
        size: (height, width) of a window in px.
        context: px of the window on each side that lie outside the region, measured after warping.
        frame: ``warp`` stretches the region to the window; ``square`` takes the tightest square around it, so that
            things keep their proportions (appendix A, with context).
        samples: bilinear samples along each side of a window's pixel, averaged: 1 as released; 2 smooths regions that
            are much larger than the window.

    Raises:
        RecipeError: the context leaves no room.

    Source: Girshick et al. 2014 (arXiv:1311.2524), appendix A (227 px, context 16); rcnn ``rcnn_im_crop.m``.
    Difference: there the enlarged region is rounded to whole pixels before it is cut.
    """

    of_pixels = True
    levels = ("pixels",)
    channels = 3

    def __init__(
        self,
        *,
        size: tuple[Side, Side] = (227, 227),
        context: Annotated[int, Field(ge=0)] = 16,
        frame: Literal["warp", "square"] = "warp",
        samples: Annotated[int, Field(ge=1, le=8)] = 1,
    ) -> None:
        super().__init__()
        if 2 * context >= min(size):
            raise RecipeError(
                f"warp: a context of {context} px on both sides leaves nothing of a window of {size[0]} x {size[1]} "
                f"px; it may be {(min(size) - 1) // 2} at most"
            )
        self.output = size
        self.context, self.frame, self.samples = context, frame, samples

    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        """Windows [B*P,3,height,width] of ``pixels`` [B,3,H,W], image by image; zeros for invalid regions."""
        pixels = features["pixels"]
        regions = self.enlarged(to_regions(candidates.boxes, candidates.valid, pixels.shape[0], 1.0))
        windows = align_one(pixels, regions, 1.0, self.output, self.samples, aligned=True)
        return windows * self.inside(regions, pixels)

    def enlarged(self, regions: Tensor) -> Tensor:
        """Regions [R,5] with their context, in px of the picture."""
        centre, half = (regions[:, 1:3] + regions[:, 3:]) / 2, (regions[:, 3:] - regions[:, 1:3]) / 2
        if self.frame == "square":
            half = half.amax(dim=1, keepdim=True).expand(-1, 2)
        height, width = self.output
        scale = half.new_tensor([width / (width - 2 * self.context), height / (height - 2 * self.context)])
        return torch.cat([regions[:, :1], centre - half * scale, centre + half * scale], dim=1)

    def inside(self, regions: Tensor, pixels: Tensor) -> Tensor:
        """[R,1,height,width] of 0 and 1: the pixels of each window whose centres lie in the picture."""
        rows, columns = (self.within(regions[:, [1 + axis, 3 + axis]], axis, pixels) for axis in (1, 0))
        return (rows[:, None, :, None] & columns[:, None, None, :]).to(pixels.dtype)

    def within(self, ends: Tensor, axis: int, pixels: Tensor) -> Tensor:
        """bool [R,bins]: centres of bins between ``ends`` [R,2] that lie in the picture along x (0) or y (1)."""
        bins, limit = self.output[1 - axis], pixels.shape[-1 - axis]
        middle = (torch.arange(bins, device=ends.device, dtype=ends.dtype) + 0.5) / bins
        place = ends[:, :1] + middle * (ends[:, 1:] - ends[:, :1])
        return (place >= 0) & (place <= limit)

    def extra_repr(self) -> str:
        """Shown when the module is printed."""
        return f"size={self.output}, context={self.context}, frame={self.frame}"
