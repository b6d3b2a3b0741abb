"""Selective search: boxes of the regions of many hierarchical groupings of one image."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.interfaces import Proposer
from detzoo.runtime.parallel import cores
from detzoo_rcnn.colour import ColourSpace, in_colour_space
from detzoo_rcnn.features import pixel_bins, regions_of
from detzoo_rcnn.graph import Edges, GraphKind, edges_of, smoothed
from detzoo_rcnn.grouping import Hierarchy, grouped
from detzoo_rcnn.ordering import Order, distinct, values_of
from detzoo_rcnn.segmentation import segments_of
from detzoo_rcnn.shrinking import as_large_as, mapped_back, shrunk
from detzoo_rcnn.strategies import MODES, Mode, Similarity

Positive: TypeAlias = Annotated[int, Field(gt=0)]
NotNegative: TypeAlias = Annotated[int, Field(ge=0)]
Scale: TypeAlias = Annotated[float, Field(gt=0)]
Sigma: TypeAlias = Annotated[float, Field(ge=0, le=100)]
Strategy: TypeAlias = Annotated[tuple[Similarity, ...], Field(min_length=1)]

T = TypeVar("T")
R = TypeVar("R")


class SelectiveSearch(Proposer):
    """Boxes of the regions that grouping by similarity meets, from segments to the whole image.

    Every colour space is segmented with every k, and every segmentation grouped by every strategy. An image of one
    segment has no boxes; of two or more, the last is the whole image. Boxes that several groupings find are given
    once. The order is that of ``values_of``: by rank times a random number, the same for the same seed. Scores are
    1 / (1 + value), and below 0 for boxes near to earlier ones, which come after all others.

    Args:
        mode: what the next three are where they are null.
            ``single``: hsv; 100; all four similarities: 1 grouping.
            ``fast``: hsv, lab; 50, 100; all four, and all but colour: 8 groupings.
            ``quality``: hsv, lab, rgi, hue, intensity; 50, 100, 150, 300; all four, all but colour, fill alone, size
            alone: 80 groupings.
        colour_spaces: of ``in_colour_space``.
        k: scales of the segmentations.
        strategies: sets of ``colour``, ``texture``, ``size`` and ``fill``, whose sum is the similarity.
        sigma: smoothing before the segmentation, px.
        min_size: of a segment, px; null: as many as its k.
        graph: of the segmentation; see ``edges_of``.
        min_area: of a region, px; smaller ones give no box.
        min_side: of a box, px; R-CNN's release asks for 20.
        max_aspect: longer to shorter side of a box; null for any.
        max_side: px; a larger image is shrunk to it, and the boxes are mapped back. The other lengths and areas but
            ``min_area``, ``min_side`` are those of the shrunk one.
        order: ``lasting``, or the paper's ``rank``; see ``values_of``.
        near: boxes of an IoU above this with an earlier one come after all others; 1 for the paper's order.
        top_k: the first of them; null for all.
        seed: of the order.
        threads: null: one in a loader's worker or another child process, else one for each core.

    Source: Uijlings, van de Sande, Gevers, Smeulders, "Selective Search for Object Recognition", IJCV 2013; modes of
    its table 5. Differences: the colour spaces are OpenCV's, of 8 bits; the order, unless ``order: rank, near: 1``.
    OpenCV contrib's ``fast`` is ``k: [150, 300, 450], min_size: 100, graph: grid4``, but for its hue of 0..179, its
    textures stretched to each image's own range, and an order that puts small regions first.
    """

    def __init__(
        self,
        *,
        mode: Mode = "fast",
        colour_spaces: Annotated[tuple[ColourSpace, ...], Field(min_length=1)] | None = None,
        k: Annotated[tuple[Scale, ...], Field(min_length=1)] | None = None,
        strategies: Annotated[tuple[Strategy, ...], Field(min_length=1)] | None = None,
        sigma: Sigma = 0.8,
        min_size: Positive | None = None,
        graph: GraphKind = "grid8",
        min_area: NotNegative = 0,
        min_side: NotNegative = 0,
        max_aspect: Annotated[float, Field(ge=1)] | None = None,
        max_side: Positive | None = 1000,
        order: Order = "lasting",
        near: Annotated[float, Field(gt=0, le=1)] = 0.93,
        top_k: Positive | None = None,
        seed: NotNegative = 0,
        threads: Positive | None = None,
    ) -> None:
        chosen = MODES[mode]
        self.colour_spaces = tuple(colour_spaces or chosen.colour_spaces)
        self.k = tuple(k or chosen.k)
        self.strategies = tuple(tuple(strategy) for strategy in strategies or chosen.strategies)
        self.sigma, self.min_size, self.graph = sigma, min_size, graph
        self.min_area, self.min_side, self.max_aspect = min_area, min_side, max_aspect
        self.max_side, self.order, self.near, self.top_k = max_side, order, near, top_k
        self.seed, self.threads = seed, threads

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [P,4] and scores [P]; P is what the image gives, thousands for a photograph."""
        seen = shrunk(image, self.max_side)
        hierarchies = [found for found in self.hierarchies(seen) if len(found.parts)]
        if not hierarchies:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        values = values_of(hierarchies, self.order, self.seed)
        boxes = mapped_back(np.concatenate([found.boxes for found in hierarchies]), seen, image)
        magnified = (image.shape[0] * image.shape[1]) / (seen.shape[0] * seen.shape[1])
        kept = np.flatnonzero(self._kept(boxes, np.concatenate([found.size for found in hierarchies]) * magnified))
        rows, apart = distinct(boxes[kept], values[kept], self.near)
        scores = 1 / (1 + values[kept][rows])
        scores[apart:] -= 1
        return boxes[kept][rows][: self.top_k].astype(np.float32), scores[: self.top_k].astype(np.float32)

    def segments(self, image: NDArray[np.uint8], k: float) -> NDArray[np.int32]:
        """Segments int32 [H,W] of one k in the first colour space, of the size of the image."""
        seen = shrunk(image, self.max_side)
        edges = self._edges(in_colour_space(seen, self.colour_spaces[0]))
        return as_large_as(image, self._segments(edges, seen.shape[:2], k))

    def hierarchies(self, image: NDArray[np.uint8]) -> list[Hierarchy]:
        """Every grouping of an image, in the order colour space, k, strategy; ``max_side`` is not looked at."""

        def prepare(space: ColourSpace) -> tuple[Edges, NDArray[np.uint8]]:
            pixels = in_colour_space(image, space)
            return self._edges(pixels), pixel_bins(pixels)

        def group(job: tuple[tuple[Edges, NDArray[np.uint8]], float]) -> list[Hierarchy]:
            (edges, bins), k = job
            labels = self._segments(edges, image.shape[:2], k)
            regions = regions_of(labels, bins)
            return [grouped(regions, strategy, labels.size) for strategy in self.strategies]

        spread = _spreader(self.threads)
        prepared = spread(prepare, self.colour_spaces)
        found = spread(group, [(space, k) for space in prepared for k in self.k])
        return [hierarchy for one in found for hierarchy in one]

    def _edges(self, pixels: NDArray[np.uint8]) -> Edges:
        return edges_of(smoothed(pixels, self.sigma), self.graph)

    def _segments(self, edges: Edges, size: tuple[int, ...], k: float) -> NDArray[np.int32]:
        return segments_of(edges, (size[0], size[1]), k=k, min_size=self.min_size or round(k))

    def _kept(self, boxes: NDArray[np.float64], area: NDArray[np.float64]) -> NDArray[np.bool_]:
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (area >= self.min_area) & (sides.min(axis=1) >= self.min_side)
        if self.max_aspect is not None:
            kept &= sides.max(axis=1) <= self.max_aspect * sides.min(axis=1)
        return np.asarray(kept)


def _spreader(threads: int | None) -> Callable[[Callable[[T], R], Iterable[T]], list[R]]:
    """A ``map`` over threads: numba and OpenCV let go of the interpreter's lock."""
    if threads is None:
        alone = multiprocessing.parent_process() is not None  # other workers have the other cores
        threads = 1 if alone else cores()
    if threads == 1:
        return lambda function, items: [function(item) for item in items]

    def spread(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, items))

    return spread
