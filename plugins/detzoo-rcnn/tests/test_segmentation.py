"""Graph segmentation against graphs worked by hand, and against the paper's definitions in plain Python."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo_rcnn.graph import Edges, GraphKind, edges_of, smoothed, sorted_edges
from detzoo_rcnn.segmentation import components, segments


def found(edges: list[tuple[int, int, float]], nodes: int, k: float, min_size: int = 1) -> list[int]:
    """Components of a graph of which the edges are given in any order."""
    first, second, weight = zip(*edges, strict=True)
    ends = np.array(first, np.int32), np.array(second, np.int32)
    ordered = sorted_edges(*ends, np.array(weight, np.float32))
    return list(components(ordered.first, ordered.second, ordered.weight, nodes, np.float32(k), min_size))


PAIRS = [(1, 2, 3.0), (0, 1, 1.0), (2, 3, 1.0)]
"""0 -1- 1 -3- 2 -1- 3"""


def test_an_edge_heavier_than_both_allow_separates() -> None:
    # Int = 1 and |C| = 2 on either side: MInt = 1 + 2 / 2 = 2 < 3
    assert found(PAIRS, 4, k=2) == [0, 0, 1, 1]


def test_an_edge_as_heavy_as_both_allow_joins() -> None:
    # MInt = 1 + 4 / 2 = 3
    assert found(PAIRS, 4, k=4) == [0, 0, 0, 0]


def test_the_smaller_of_both_limits_counts() -> None:
    # {0,1,2,3} by edges of 2: Int 2, limit 2 + 8 / 4 = 4;
    # {4,5} by an edge of 1: 1 + 8 / 2 = 5; 4.5 is above one of them, 4 above none
    chain = [(0, 1, 2.0), (1, 2, 2.0), (2, 3, 2.0), (3, 4, 4.5), (4, 5, 1.0)]
    assert found(chain, 6, k=8) == [0, 0, 0, 0, 1, 1]
    assert found([*chain[:3], (3, 4, 4.0), chain[4]], 6, k=8) == [0] * 6


def test_internal_difference_is_the_heaviest_edge_of_the_spanning_tree() -> None:
    # the triangle's edge of 2.9 is in no minimum spanning tree: Int stays 2, MInt = 2 + 3 / 3 = 3 < 3.5
    triangle = [(0, 1, 2.0), (1, 2, 2.0), (0, 2, 2.9), (2, 3, 3.5)]
    assert found(triangle, 4, k=3) == [0, 0, 0, 1]


def test_small_components_join_by_their_lightest_edge() -> None:
    # 2 is alone: of its edges 5 and 4 the lighter one leads to {3,4}
    lonely = [(0, 1, 0.0), (1, 2, 5.0), (2, 3, 4.0), (3, 4, 0.0)]
    assert found(lonely, 5, k=1) == [0, 0, 1, 2, 2]
    assert found(lonely, 5, k=1, min_size=2) == [0, 0, 1, 1, 1]
    assert found(lonely, 5, k=1, min_size=3) == [0, 0, 0, 0, 0]  # then {0,1} is too small


def test_a_graph_without_edges_keeps_its_nodes_apart() -> None:
    none = np.zeros(0, np.int32)
    assert list(components(none, none, np.zeros(0, np.float32), 3, np.float32(9), 5)) == [0, 1, 2]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (3, 4)])
def test_one_colour_is_one_segment(height: int, width: int) -> None:
    labels = segments(np.full((height, width, 3), 7, np.uint8), k=1, min_size=1)
    assert labels.dtype == np.int32
    assert labels.tolist() == [[0] * width] * height


def test_grid_edges_by_hand() -> None:
    # 0 3
    # 4 0
    pixels = np.array([[0, 3], [4, 0]], np.float32)[..., None]
    edges = edges_of(pixels, "grid8")
    listed = list(zip(edges.first.tolist(), edges.second.tolist(), edges.weight.tolist(), strict=True))
    # 0-3 along the diagonal; then 0-1 (right), 1-3 (down); 1-2 along the other diagonal is 1 apart
    assert listed == [(0, 3, 0), (1, 2, 1), (0, 1, 3), (1, 3, 3), (0, 2, 4), (2, 3, 4)]
    assert len(edges_of(pixels, "grid4").first) == 4


def test_weights_are_euclidean_over_the_channels() -> None:
    pixels = np.array([[[0, 0, 0], [2, 3, 6]]], np.float32)
    assert edges_of(pixels, "grid8").weight.tolist() == [7.0]


def test_nearest_edges_are_those_of_all_distances() -> None:
    pixels = np.random.default_rng(0).uniform(0, 30, (5, 6, 3)).astype(np.float32)
    y, x = np.mgrid[:5, :6]
    points = np.concatenate([np.stack([x, y], axis=2), pixels], axis=2).reshape(-1, 5)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    nearest = np.argsort(apart, axis=1)[:, 1:5]
    expected = {(min(a, b), max(a, b)) for a in range(30) for b in nearest[a].tolist()}
    edges = edges_of(pixels, "nearest", neighbours=4)
    assert set(zip(edges.first.tolist(), edges.second.tolist(), strict=True)) == expected
    assert len(edges.first) == len(expected)
    np.testing.assert_allclose(edges.weight, apart[edges.first, edges.second], rtol=1e-5)


def test_a_nearest_neighbour_segment_may_lie_in_two_pieces() -> None:
    # across the stripe it is 2 px to the same colour, and k allows 1 + 100 / 72
    stripe = np.zeros((12, 13, 3), np.uint8)
    stripe[:, 6] = 255
    grid = segments(stripe, k=100, sigma=0, min_size=1)
    nearest = segments(stripe, k=100, sigma=0, min_size=1, graph="nearest")
    assert grid[0].tolist() == [0] * 6 + [1] + [2] * 6
    assert nearest[0].tolist() == [0] * 6 + [1] + [0] * 6


def internal_difference(nodes: set[int], edges: Edges) -> float:
    """The heaviest edge of the minimum spanning tree of some nodes, by Kruskal."""
    part = {node: {node} for node in nodes}
    heaviest = 0.0
    for a, b, weight in zip(edges.first.tolist(), edges.second.tolist(), edges.weight.tolist(), strict=True):
        if a in nodes and b in nodes and part[a] is not part[b]:
            union = part[a] | part[b]
            part |= dict.fromkeys(union, union)
            heaviest = max(heaviest, weight)
    return heaviest


def by_definition(edges: Edges, nodes: int, k: float, min_size: int) -> list[int]:
    """Algorithm 1 with sets, its internal differences from scratch every time."""
    part = {node: {node} for node in range(nodes)}
    listed = list(zip(edges.first.tolist(), edges.second.tolist(), edges.weight.tolist(), strict=True))
    for a, b, weight in listed:
        one, other = part[a], part[b]
        if one is not other and all(
            weight <= internal_difference(side, edges) + k / len(side) for side in (one, other)
        ):
            part |= dict.fromkeys(one | other, one | other)
    for a, b, _ in listed:
        one, other = part[a], part[b]
        if one is not other and min(len(one), len(other)) < min_size:
            part |= dict.fromkeys(one | other, one | other)
    firsts = sorted({min(nodes) for nodes in part.values()})
    return [firsts.index(min(part[node])) for node in range(nodes)]


def blobs(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """A noisy image of a few colours."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (3, 3))
    regions = rng.integers(0, 3, (height // 3 + 1, width // 3 + 1)).repeat(3, 0).repeat(3, 1)[:height, :width]
    return np.asarray(np.clip(colours[regions] + rng.integers(-12, 13, (height, width, 3)), 0, 255), np.uint8)


@pytest.mark.parametrize(("graph", "seed"), list(product(("grid8", "grid4", "nearest"), range(3))))
@pytest.mark.parametrize(("k", "min_size"), [(5, 1), (60, 1), (60, 6)])
def test_segments_are_those_of_the_definition(graph: GraphKind, seed: int, k: float, min_size: int) -> None:
    image = blobs(8, 9, seed)
    edges = edges_of(smoothed(image, 0.5), graph)
    expected = by_definition(edges, 72, k, min_size)
    labels = segments(image, k=k, sigma=0.5, min_size=min_size, graph=graph)
    assert labels.ravel().tolist() == expected
    assert max(expected) > 0


def test_a_segmentation_is_neither_too_fine_nor_too_coarse() -> None:
    # theorem 1: between any two neighbours there is evidence of a boundary, the lightest edge exceeds MInt
    image, k = blobs(30, 40, 5), 100.0
    edges = edges_of(smoothed(image, 0.8), "grid8")
    labels = segments(image, k=k, sigma=0.8, min_size=1).ravel()
    count = labels.max() + 1
    inside = labels[edges.first] == labels[edges.second]
    limit = np.array(
        [
            internal_difference(set(np.flatnonzero(labels == c).tolist()), edges) + k / (labels == c).sum()
            for c in range(count)
        ]
    )
    lightest = np.full((count, count), np.inf)
    pair = labels[edges.first[~inside]], labels[edges.second[~inside]]
    np.minimum.at(lightest, pair, edges.weight[~inside])
    lightest = np.minimum(lightest, lightest.T)
    assert count > 4
    assert (lightest > np.minimum(limit[:, None], limit[None])).all()


def test_equal_edges_keep_their_order() -> None:
    ends = np.arange(6, dtype=np.int32)
    edges = sorted_edges(ends, ends + 1, np.array([2, 1, 2, 0, 1, 2], np.float32))
    assert edges.first.tolist() == [3, 1, 4, 0, 2, 5]
    assert edges.weight.tolist() == [0, 1, 1, 2, 2, 2]


def test_weights_are_sorted_over_their_whole_range() -> None:
    weight = np.random.default_rng(1).uniform(0, 1, 5000).astype(np.float32) ** 8 * 442
    number = np.arange(5000, dtype=np.int32)
    edges = sorted_edges(number, number, weight)
    assert edges.first.tolist() == np.argsort(weight, kind="stable").tolist()
