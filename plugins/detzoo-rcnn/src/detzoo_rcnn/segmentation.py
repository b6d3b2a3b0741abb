"""Graph-based segmentation: regions whose inner differences are smaller than those to their neighbours.

Source: Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detzoo_rcnn.graph import DEFAULT_NEIGHBOURS, Edges, GraphKind, edges_of, smoothed


def segments(
    image: NDArray[np.uint8],
    *,
    k: float = 300,
    sigma: float = 0.8,
    min_size: int = 50,
    graph: GraphKind = "grid8",
    neighbours: int = DEFAULT_NEIGHBOURS,
) -> NDArray[np.int32]:
    """Segment an image.

    Args:
        image: uint8 [H,W,C], in any colour space.
        k: scale of observation: the larger, the larger the segments.
        sigma: of the Gaussian smoothing beforehand, px.
        min_size: px; smaller segments are joined to the neighbour from which the lightest edge leads to them.
        graph: see ``edges_of``.
        neighbours: of a pixel in the graph ``nearest``.

    Returns:
        int32 [H,W]: segments 0..N-1, numbered in the order in which rows of pixels meet them.
    """
    edges = edges_of(smoothed(image, sigma), graph, neighbours)
    return segments_of(edges, image.shape[:2], k=k, min_size=min_size)


def segments_of(edges: Edges, size: tuple[int, int], *, k: float, min_size: int) -> NDArray[np.int32]:
    """Segments int32 [H,W] of an image of ``size`` (H, W) whose edges are there already: they serve every k."""
    height, width = size
    found = components(edges.first, edges.second, edges.weight, height * width, np.float32(k), min_size)
    return found.reshape(height, width)


def components(
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    weight: NDArray[np.float32],
    nodes: int,
    k: np.float32,
    min_size: int,
) -> NDArray[np.int32]:
    """Components of a graph, by the paper's algorithm 1 and the joining of small ones.

    Two components are joined by an edge not heavier than MInt, the minimum of Int(C) + k / |C| over both; Int(C), the
    largest weight in the minimum spanning tree of C, is the weight that joined it, since edges come in order.

    Args:
        first: int32 [E], a node of each edge.
        second: int32 [E], the other.
        weight: float32 [E], not descending.
        nodes: how many there are.
        k: scale of observation.
        min_size: nodes; afterwards each edge, in order, joins its components where one of them is smaller.

    Returns:
        int32 [nodes]: components, numbered by their first node.
    """
    parent, size = np.arange(nodes, dtype=np.int32), np.ones(nodes, np.int32)
    limit = np.full(nodes, k, np.float32)  # Int(C) + k / |C| at each root
    # made here: arrays take longer to compile than the loops
    _grow_components(first, second, weight, k, min_size, parent, size, limit, np.empty(len(first), np.int32))
    return _numbered(parent, np.full(nodes, -1, np.int32))


@njit(cache=True, nogil=True)
def _grow_components(
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    weight: NDArray[np.float32],
    k: np.float32,
    min_size: int,
    parent: NDArray[np.int32],
    size: NDArray[np.int32],
    limit: NDArray[np.float32],
    between: NDArray[np.int32],
) -> None:
    """Fill ``parent``; ``between`` takes the edges that joined nothing: those that may join small components."""
    count = 0
    for edge in range(len(first)):
        a, b = _root(parent, first[edge]), _root(parent, second[edge])
        if a == b:
            continue
        if weight[edge] <= limit[a] and weight[edge] <= limit[b]:
            root = _join(parent, size, a, b)
            limit[root] = weight[edge] + k / np.float32(size[root])
        else:
            between[count] = edge
            count += 1
    for place in range(count):
        edge = between[place]
        a, b = _root(parent, first[edge]), _root(parent, second[edge])
        if a != b and (size[a] < min_size or size[b] < min_size):
            _join(parent, size, a, b)


@njit(cache=True, nogil=True)
def _root(parent: NDArray[np.int32], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def _join(parent: NDArray[np.int32], size: NDArray[np.int32], a: int, b: int) -> int:
    """Hang the smaller below the larger; the root that stays."""
    if size[a] < size[b]:
        a, b = b, a
    parent[b] = a
    size[a] += size[b]
    return a


@njit(cache=True, nogil=True)
def _numbered(parent: NDArray[np.int32], number: NDArray[np.int32]) -> NDArray[np.int32]:
    """Components by their first node; ``number`` is -1 at first."""
    found = np.empty(len(parent), np.int32)
    count = 0
    for node in range(len(parent)):
        root = _root(parent, node)
        if number[root] < 0:
            number[root] = count
            count += 1
        found[node] = number[root]
    return found
