"""Randomised Prim: boxes of random partial spanning trees of superpixels."""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from detzoo.interfaces import Proposer
from detzoo_rcnn.colour import ColourSpace, in_colour_space
from detzoo_rcnn.features import Regions, pixel_bins, regions_of
from detzoo_rcnn.segmentation import segments
from detzoo_rcnn.shrinking import mapped_back, shrunk

Positive: TypeAlias = Annotated[int, Field(gt=0)]

# logit of an edge: it is likely where colours agree, the border is long and both ends are small
_COLOUR: Final = 3.0
_BORDER: Final = 3.0
_SIZE: Final = 2.0
_BIAS: Final = -4.0


class RandomizedPrim(Proposer):
    """Boxes of trees that grow from a random superpixel over random edges, likely ones first, until they stop.

    The probability that an edge joins two superpixels of one object is the logistic function of 3 colour + 3 border + 2
    size - 4: colour is the intersection of their colour histograms, border the larger share that the common border has
    of the border of either, size 1 less their share of the image. From the edges around a tree one is sampled in
    proportion to it; the tree takes it, unless it stops there, with the mean of the improbability of the edge and the
    root of the tree's share of the image.

    A box that is found again is given once, so there may be fewer than ``count``. An image of one segment has none.
    They come in the order of the draw, the colour spaces in turn; all scores are 1.

    Args:
        count: trees per image.
        colour_spaces: each is segmented, and gets its share of the trees.
        k: scale of the segmentation.
        sigma: smoothing before the segmentation, px.
        min_size: of a superpixel, px.
        max_side: px; a larger image is shrunk to it, and the boxes are mapped back.
        seed: of the draw.

    Source: Manen, Guillaumin and Van Gool, "Prime Object Proposals with Randomized Prim's Algorithm", ICCV 2013.
    Differences: there the weights of colour, border and size, and the prior of sizes behind the stop, are learnt from
    VOC 2007; here they are the numbers above, which no data chose. The colour spaces are those of selective search.
    """

    def __init__(
        self,
        *,
        count: Positive = 1000,
        colour_spaces: Annotated[tuple[ColourSpace, ...], Field(min_length=1)] = ("hsv", "lab", "rgi"),
        k: Annotated[float, Field(gt=0)] = 100,
        sigma: Annotated[float, Field(ge=0, le=100)] = 0.8,
        min_size: Positive = 50,
        max_side: Positive | None = 1000,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.count, self.colour_spaces, self.k, self.sigma = count, tuple(colour_spaces), k, sigma
        self.min_size, self.max_side, self.seed = min_size, max_side, seed

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [P,4] and scores [P] of 1, P at most ``count``."""
        seen = shrunk(image, self.max_side)
        drawn = [self._trees(seen, number) for number in range(len(self.colour_spaces))]
        boxes = _in_turn(drawn)
        _, first = np.unique(boxes, axis=0, return_index=True)
        found = mapped_back(boxes[np.sort(first)], seen, image).astype(np.float32)
        return found, np.ones(len(found), np.float32)

    def _trees(self, image: NDArray[np.uint8], number: int) -> NDArray[np.int32]:
        """Boxes [P,4] of the trees of one colour space; none where there is one segment."""
        pixels = in_colour_space(image, self.colour_spaces[number])
        labels = segments(pixels, k=self.k, sigma=self.sigma, min_size=self.min_size)
        regions = regions_of(labels, pixel_bins(pixels))
        share = len(range(number, self.count, len(self.colour_spaces)))
        if len(regions.size) == 1:
            return np.zeros((0, 4), np.int32)
        likely = edge_probabilities(regions, labels)
        rng = np.random.default_rng([self.seed, number])
        return _grown(_Graph(*_around(regions), likely, regions.size, regions.boxes, labels.size), share, rng)


def edge_probabilities(regions: Regions, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """How likely each pair of neighbours belongs to one object, by the class's formula: float64 [E] in (0, 1)."""
    first, second = regions.neighbours.T
    colour = np.minimum(regions.colour[first], regions.colour[second]).sum(axis=1)
    common = border_lengths(labels, regions.neighbours, len(regions.size))
    whole = np.bincount(regions.neighbours.ravel(), np.repeat(common, 2), len(regions.size))
    border = common / np.minimum(whole[first], whole[second])
    size = 1 - (regions.size[first] + regions.size[second]) / labels.size
    return np.asarray(1 / (1 + np.exp(-(_COLOUR * colour + _BORDER * border + _SIZE * size + _BIAS))))


def border_lengths(labels: NDArray[np.int32], neighbours: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Pairs of pixels, 8-neighbours, in which each pair of regions touches: int64 [E].

    Args:
        labels: int32 [H,W].
        neighbours: int64 [E,2], sorted, as in ``Regions``.
        count: regions.
    """
    sides = ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:]))
    corners = ((labels[:-1, :-1], labels[1:, 1:]), (labels[:-1, 1:], labels[1:, :-1]))
    found = np.zeros(len(neighbours), np.int64)
    for one, other in (*sides, *corners):
        differ = one != other
        low, high = np.minimum(one, other)[differ].astype(np.int64), np.maximum(one, other)[differ]
        place = np.searchsorted(neighbours[:, 0] * count + neighbours[:, 1], low * count + high)
        found += np.bincount(place, minlength=len(neighbours))
    return found


def _around(regions: Regions) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Edges around each region: where they start in the next two [N+1]; the edge, the other region [2E]."""
    both = np.concatenate([regions.neighbours, regions.neighbours[:, ::-1]])
    order = np.argsort(both[:, 0], kind="stable")
    start = np.searchsorted(both[order, 0], np.arange(len(regions.size) + 1))
    return start, order % len(regions.neighbours), both[order, 1]


def _in_turn(boxes: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """The first of each list, then the second of each, and so on: int32 [P,4]."""
    place = np.concatenate([np.arange(len(part)) for part in boxes])
    return np.concatenate(boxes)[np.argsort(place, kind="stable")]


class _Graph(NamedTuple):
    """Superpixels, and the edges around each: entries ``start[n]`` to ``start[n + 1]``."""

    start: NDArray[np.int64]
    edge: NDArray[np.int64]  # of each entry
    other: NDArray[np.int64]  # the superpixel to which each entry leads
    likely: NDArray[np.float64]  # of each edge
    size: NDArray[np.int32]
    boxes: NDArray[np.int32]
    area: int  # of all, px


def _grown(graph: _Graph, count: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Boxes int32 [count,4] of ``count`` trees."""
    found = np.empty((count, 4), np.int32)
    within = np.full(len(graph.size), -1)  # the tree that each superpixel was last part of
    most = 2 * len(graph.size)  # numbers that a tree can take: one to start, two for each superpixel that it adds
    numbers = np.zeros(0)
    for tree in range(count):
        if len(numbers) < most:  # drawn here: to compile a generator takes longer than all the rest
            numbers = np.concatenate([numbers, rng.random(most + 1000)])
        taken = _grow(graph, numbers, within, tree, found[tree])
        numbers = numbers[taken:]
    return found


@njit(cache=True, nogil=True)
def _grow(
    graph: _Graph, numbers: NDArray[np.float64], within: NDArray[np.int64], tree: int, box: NDArray[np.int32]
) -> int:
    """Grow one tree and fill its box; how many of the random numbers it took."""
    start, edge, other, likely, size, boxes, area = graph
    frontier = np.empty(len(edge), np.int64)
    added = min(int(numbers[0] * len(size)), len(size) - 1)
    covered, ahead, taken = 0, 0, 1
    for side in range(4):
        box[side] = boxes[added, side]
    while True:
        within[added] = tree
        covered += size[added]
        for side in range(2):
            box[side] = min(box[side], boxes[added, side])
            box[side + 2] = max(box[side + 2], boxes[added, side + 2])
        for entry in range(start[added], start[added + 1]):
            frontier[ahead] = entry
            ahead += 1
        ahead, total = _outward(frontier, ahead, within, tree, edge, other, likely)
        if ahead == 0:
            break
        drawn = _drawn(frontier, ahead, edge, likely, numbers[taken] * total)
        taken += 2
        if numbers[taken - 1] < (1 - likely[edge[drawn]] + np.sqrt(covered / area)) / 2:
            break
        added = other[drawn]
    return taken


@njit(cache=True, nogil=True)
def _outward(
    frontier: NDArray[np.int64],
    ahead: int,
    within: NDArray[np.int64],
    tree: int,
    edge: NDArray[np.int64],
    other: NDArray[np.int64],
    likely: NDArray[np.float64],
) -> tuple[int, float]:
    """Keep the entries that lead out of the tree; how many they are, and the sum of their probabilities."""
    kept, total = 0, 0.0
    for place in range(ahead):
        entry = frontier[place]
        if within[other[entry]] != tree:
            frontier[kept] = entry
            total += likely[edge[entry]]
            kept += 1
    return kept, total


@njit(cache=True, nogil=True)
def _drawn(
    frontier: NDArray[np.int64], ahead: int, edge: NDArray[np.int64], likely: NDArray[np.float64], point: float
) -> int:
    """The entry at a point of the line on which each is as long as it is probable."""
    for entry in frontier[: ahead - 1]:
        point -= likely[edge[entry]]
        if point < 0:
            return int(entry)
    return int(frontier[ahead - 1])
