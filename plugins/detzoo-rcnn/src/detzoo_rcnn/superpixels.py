"""Superpixels as proposals: the box of every segment."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.interfaces import Proposer
from detzoo_rcnn.colour import ColourSpace, in_colour_space
from detzoo_rcnn.features import sizes_and_boxes
from detzoo_rcnn.graph import GraphKind
from detzoo_rcnn.segmentation import segments
from detzoo_rcnn.shrinking import as_large_as, mapped_back, shrunk

Positive: TypeAlias = Annotated[int, Field(gt=0)]


class Superpixels(Proposer):
    """The box of every segment of a graph segmentation, the largest segment first; scores are shares of the image.

    An image of one segment has no boxes.

    Args:
        colour_space: of ``in_colour_space``.
        k: scale of the segmentation.
        sigma: smoothing before the segmentation, px.
        min_size: of a segment, px.
        graph: of the segmentation; see ``edges_of``.
        max_side: px; a larger image is shrunk to it, and the boxes are mapped back.
        top_k: the first of them; null for all.

    Source: Hosang et al., "What makes for effective detection proposals?" (PAMI 2015), section 2.3: a lower bound for
    what stands on superpixels.
    """

    def __init__(
        self,
        *,
        colour_space: ColourSpace = "rgb",
        k: Annotated[float, Field(gt=0)] = 100,
        sigma: Annotated[float, Field(ge=0, le=100)] = 0.8,
        min_size: Positive = 50,
        graph: GraphKind = "grid8",
        max_side: Positive | None = 1000,
        top_k: Positive | None = None,
    ) -> None:
        self.colour_space, self.k, self.sigma, self.min_size = colour_space, k, sigma, min_size
        self.graph, self.max_side, self.top_k = graph, max_side, top_k

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [P,4] and scores [P]; P is what the image gives, hundreds for a photograph."""
        seen = shrunk(image, self.max_side)
        size, boxes = sizes_and_boxes(self._segments(seen, self.k))
        if len(size) == 1:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        order = np.argsort(-size, kind="stable")[: self.top_k]
        share = size[order] / (seen.shape[0] * seen.shape[1])
        return mapped_back(boxes[order], seen, image).astype(np.float32), share.astype(np.float32)

    def segments(self, image: NDArray[np.uint8], k: float) -> NDArray[np.int32]:
        """Segments int32 [H,W] of one k, of the size of the image."""
        return as_large_as(image, self._segments(shrunk(image, self.max_side), k))

    def _segments(self, image: NDArray[np.uint8], k: float) -> NDArray[np.int32]:
        pixels = in_colour_space(image, self.colour_space)
        return segments(pixels, k=k, sigma=self.sigma, min_size=self.min_size, graph=self.graph)
