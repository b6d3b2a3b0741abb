"""Windows of pixels: every region cut out of the image and warped to one size (R-CNN)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.interfaces import RoiPool
from detzoo.ops.roi_pool import to_regions
from detzoo.types import Candidates, FeatureMaps

Side = Annotated[int, Field(ge=1)]


class Warp(RoiPool):
    """Warps regions of the network pixels, with some of their surroundings, to windows of one size.

    The region fills the window but for ``context`` px on each side, which show what lies around it. What lies outside
    the image is 0, the mean once normalised. Samples are bilinear; a pixel of the window whose centre lies outside is
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
        regions = to_regions(candidates.boxes, candidates.valid, pixels.shape[0], 1.0)
        frames = self.enlarged(regions[:, 1:]).view(pixels.shape[0], -1, 4)
        x = self.places(frames[..., 0], frames[..., 2], self.output[1])
        y = self.places(frames[..., 1], frames[..., 3], self.output[0])
        return self.sampled(pixels, x, y).flatten(0, 1)

    def enlarged(self, boxes: Tensor) -> Tensor:
        """Boxes [R,4] with their context, in px of the image."""
        centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        if self.frame == "square":
            half = half.amax(dim=1, keepdim=True).expand(-1, 2)
        height, width = self.output
        scale = half.new_tensor([width / (width - 2 * self.context), height / (height - 2 * self.context)])
        return torch.cat([centre - half * scale, centre + half * scale], dim=1)

    def places(self, start: Tensor, end: Tensor, bins: int) -> Tensor:
        """[B,P,bins * samples]: px at which each bin is sampled, between ``start`` and ``end`` [B,P]."""
        count = bins * self.samples
        middle = (torch.arange(count, device=start.device, dtype=start.dtype) + 0.5) / count
        return start.unsqueeze(-1) + middle * (end - start).unsqueeze(-1)

    def sampled(self, pixels: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Windows [B,P,3,height,width] of pixels [B,3,H,W] at columns ``x`` and rows ``y`` [B,P,samples]."""
        height, width = pixels.shape[-2:]
        images, count = x.shape[:2]
        across, down = x.unsqueeze(2) * (2 / width) - 1, y.unsqueeze(3) * (2 / height) - 1
        shape = (images, count, y.shape[2], x.shape[2])
        grid = torch.stack([across.expand(shape), down.expand(shape)], dim=-1)
        # all windows of an image as one tall grid; beyond the border the last pixel, which is masked below
        found = F.grid_sample(pixels, grid.flatten(1, 2), padding_mode="border", align_corners=False)
        windows = found.view(images, 3, *shape[1:]).transpose(1, 2)
        inside = ((x >= 0) & (x <= width)).unsqueeze(2) & ((y >= 0) & (y <= height)).unsqueeze(3)
        windows = windows * inside.unsqueeze(2)
        if self.samples > 1:
            windows = F.avg_pool2d(windows.flatten(0, 1), self.samples).view(images, count, 3, *self.output)
        return windows

    def extra_repr(self) -> str:
        """Shown when the module is printed."""
        return f"size={self.output}, context={self.context}, frame={self.frame}"
