"""Deformable attention: plain loops, gradients, two other implementations, graphs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.deformable_detr.modeling_deformable_detr import MultiScaleDeformableAttention
from transformers.models.rt_detr_v2.modeling_rt_detr_v2 import multi_scale_deformable_attention_v2

from detzoo_detr.deformable_attention import DeformableAttention, Method, Shapes, deformable_attention, directions

SHAPES = [(5, 7), (3, 4), (1, 2)]
POINTS = (3, 1, 2)
METHODS: tuple[Method, ...] = ("default", "discrete")


def inputs(points: tuple[int, ...] = POINTS, *, queries: int = 4, spread: float = 1.6) -> tuple[Tensor, Tensor, Tensor]:
    """Values [2,S,2,3], locations [2,Q,2,P,2] on and around the maps, weights [2,Q,2,P] that add up to 1; float64."""
    source = torch.Generator().manual_seed(0)
    cells, total = sum(h * w for h, w in SHAPES), sum(points)
    value = torch.randn(2, cells, 2, 3, generator=source, dtype=torch.float64)
    locations = torch.rand(2, queries, 2, total, 2, generator=source, dtype=torch.float64) * spread - (spread - 1) / 2
    weights = torch.randn(2, queries, 2, total, generator=source, dtype=torch.float64).softmax(-1)
    return value, locations, weights


def cell(feature: Tensor, x: int, y: int) -> Tensor:
    """[D] of a map [h,w,D]; zeros outside."""
    h, w = feature.shape[:2]
    return feature[y, x] if 0 <= x < w and 0 <= y < h else torch.zeros_like(feature[0, 0])


def at(feature: Tensor, x: float, y: float, method: Method) -> Tensor:
    """[D] of a map [h,w,D] at fractions (x, y) of it."""
    h, w = feature.shape[:2]
    if method == "discrete":
        column, row = (min(max(int(p * n + 0.5), 0), n - 1) for p, n in ((x, w), (y, h)))
        return feature[row, column]
    px, py = x * w - 0.5, y * h - 0.5  # the middle of the first cell is 0
    left, top = math.floor(px), math.floor(py)
    total = torch.zeros_like(feature[0, 0])
    for row in (top, top + 1):
        for column in (left, left + 1):
            total = total + (1 - abs(px - column)) * (1 - abs(py - row)) * cell(feature, column, row)
    return total


def loops(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor, points: tuple[int, ...], method: Method
) -> Tensor:
    images, queries, heads, _ = weights.shape
    found = torch.zeros(images, queries, heads, value.shape[3], dtype=value.dtype)
    for b in range(images):
        for e in range(heads):
            first_cell = first_point = 0
            for (h, w), count in zip(shapes, points, strict=True):
                feature = value[b, first_cell : first_cell + h * w, e].reshape(h, w, -1)
                for q in range(queries):
                    for p in range(first_point, first_point + count):
                        x, y = locations[b, q, e, p].tolist()
                        found[b, q, e] += weights[b, q, e, p] * at(feature, x, y, method)
                first_cell, first_point = first_cell + h * w, first_point + count
    return found.flatten(2)


@pytest.mark.parametrize("method", METHODS)
def test_without_queries_nothing_is_found(method: Method) -> None:
    value, locations, weights = inputs(queries=0)
    assert deformable_attention(value, SHAPES, locations, weights, points=POINTS, method=method).shape == (2, 0, 6)


def test_one_point_between_two_cells_by_hand() -> None:
    """A map of two cells, 1 and 5: their common edge gives 3, the outer edge half of a cell and half of nothing."""
    value = torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)
    places = torch.tensor([[0.5, 0.5], [0.25, 0.5], [0.0, 0.5], [1.0, 0.5]]).view(1, 4, 1, 1, 2)
    found = deformable_attention(value, [(1, 2)], places, torch.ones(1, 4, 1, 1), points=[1])
    assert found.flatten().tolist() == [3.0, 1.0, 0.5, 2.5]


def test_the_nearest_cell_by_hand() -> None:
    """Half a cell is added before the fraction is dropped: the first of two cells ends at a quarter of the map."""
    value = torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)
    places = torch.tensor([[-3.0, 0.5], [0.24, 0.5], [0.26, 0.5], [9.0, 0.5]]).view(1, 4, 1, 1, 2)
    found = deformable_attention(value, [(1, 2)], places, torch.ones(1, 4, 1, 1), points=[1], method="discrete")
    assert found.flatten().tolist() == [1.0, 1.0, 5.0, 5.0]


@pytest.mark.parametrize("method", METHODS)
def test_it_is_what_plain_loops_give(method: Method) -> None:
    value, locations, weights = inputs()
    found = deformable_attention(value, SHAPES, locations, weights, points=POINTS, method=method)
    expected = loops(value, SHAPES, locations, weights, POINTS, method)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_small_steps() -> None:
    value, locations, weights = (part.requires_grad_() for part in inputs(queries=2))

    def run(*given: Tensor) -> Tensor:
        return deformable_attention(given[0], SHAPES, given[1], given[2], points=POINTS)

    assert torch.autograd.gradcheck(run, (value, locations, weights), fast_mode=True)


def test_nearest_cells_give_values_and_weights_a_gradient_alone() -> None:
    value, locations, weights = (part.requires_grad_() for part in inputs(queries=2))

    def run(*given: Tensor) -> Tensor:
        return deformable_attention(given[0], SHAPES, locations, given[1], points=POINTS, method="discrete")

    assert torch.autograd.gradcheck(run, (value, weights), fast_mode=True)
    (untouched,) = torch.autograd.grad(run(value, weights).sum(), locations, allow_unused=True)
    assert untouched is None


def test_it_is_transformers_of_deformable_detr() -> None:
    value, locations, weights = inputs((2, 2, 2))
    found = deformable_attention(value, SHAPES, locations, weights, points=(2, 2, 2))
    apart = (locations.view(2, 4, 2, 3, 2, 2), weights.view(2, 4, 2, 3, 2))
    theirs: Any = MultiScaleDeformableAttention()(value, None, SHAPES, None, *apart, 64)
    torch.testing.assert_close(found, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_transformers_of_rt_detr_v2(method: Method) -> None:
    value, locations, weights = inputs()
    found = deformable_attention(value, SHAPES, locations, weights, points=POINTS, method=method)
    # theirs reads the number of a fifth axis, and no more of it
    theirs: Any = multi_scale_deformable_attention_v2(value, SHAPES, locations, weights, list(POINTS), method)
    torch.testing.assert_close(found, theirs, rtol=1e-12, atol=1e-12)


def module(**changes: Any) -> DeformableAttention:
    torch.manual_seed(0)
    return DeformableAttention(**{"width": 8, "heads": 2, "points": POINTS, **changes}).double()


def test_heads_start_in_directions_of_their_own() -> None:
    """Four heads: right, down, left, up; the second point of a map is twice as far."""
    start = directions(4, (2, 1))
    assert start[:, 0].round().tolist() == [[1, 0], [0, 1], [-1, 0], [0, -1]]
    torch.testing.assert_close(start[:, 1], 2 * start[:, 0])
    torch.testing.assert_close(start[:, 2], start[:, 0])


def test_offsets_around_a_point_are_in_cells_and_around_a_box_in_shares_of_its_side() -> None:
    layer = module(offset_scale=0.5)
    offsets = torch.ones(1, 1, 2, 6, 2, dtype=torch.float64)
    point = torch.tensor([0.5, 0.5], dtype=torch.float64).view(1, 1, 1, 2)
    around = layer.locations(offsets, point, SHAPES)[0, 0, 0]
    assert around[0].tolist() == [0.5 + 1 / 7, 0.5 + 1 / 5]
    assert around[5].tolist() == [1.0, 1.5]
    box = torch.tensor([0.5, 0.5, 0.6, 0.3], dtype=torch.float64).view(1, 1, 1, 4)
    around = layer.locations(offsets, box, SHAPES)[0, 0, 0]
    expected = torch.tensor([[0.6, 0.55]] * 3 + [[0.8, 0.65]] + [[0.65, 0.575]] * 2, dtype=torch.float64)
    torch.testing.assert_close(around, expected)


def test_each_map_may_have_a_reference_of_its_own() -> None:
    layer, cells = module(), torch.randn(1, 49, 8, dtype=torch.float64)
    query = torch.randn(1, 3, 8, dtype=torch.float64)
    one = torch.rand(1, 3, 1, 4, dtype=torch.float64)
    same = layer(query, one, cells, SHAPES)
    torch.testing.assert_close(layer(query, one.expand(-1, -1, 3, -1), cells, SHAPES), same)
    moved = one.repeat(1, 1, 3, 1)
    moved[:, :, 2, :2] = 0.1
    assert not torch.equal(layer(query, moved, cells, SHAPES), same)


def test_cells_of_padding_say_nothing() -> None:
    layer, cells = module(), torch.randn(1, 49, 8, dtype=torch.float64)
    query, reference = torch.randn(1, 3, 8, dtype=torch.float64), torch.rand(1, 3, 1, 2, dtype=torch.float64)
    inside = torch.arange(49)[None] < 20
    other = torch.where(inside.unsqueeze(2), cells, 100.0)
    said = layer(query, reference, cells, SHAPES, inside)
    torch.testing.assert_close(layer(query, reference, other, SHAPES, inside), said)
    assert not torch.equal(layer(query, reference, cells, SHAPES), said)


def test_without_projections_results_are_sums_of_the_cells() -> None:
    layer = module(project=False)
    cells = torch.ones(1, 49, 8, dtype=torch.float64)
    middle = torch.full((1, 1, 1, 4), 0.5, dtype=torch.float64)
    middle[..., 2:] = 0.01
    seen = layer(torch.randn(1, 1, 8, dtype=torch.float64), middle, cells, [(5, 5), (4, 4), (2, 4)])
    assert seen.shape == (1, 1, 8)
    torch.testing.assert_close(seen, torch.ones_like(seen))
    assert {name.partition(".")[0] for name in layer.state_dict()} == {"offsets", "weights"}


@pytest.mark.parametrize("method", METHODS)
def test_a_graph_leaves_the_number_of_images_free(method: Method) -> None:
    layer = module(method=method).float()
    query, reference, cells = torch.randn(2, 3, 8), torch.rand(2, 3, 1, 4), torch.randn(2, 49, 8)
    images = torch.export.Dim("images", min=1, max=64)
    graph = torch.export.export(
        layer,
        (query, reference, cells, SHAPES),
        dynamic_shapes=({0: images},) * 3 + ([(None, None)] * 3,),
        strict=False,
    ).module()
    torch.testing.assert_close(
        graph(query[:1], reference[:1], cells[:1], SHAPES), layer(query[:1], reference[:1], cells[:1], SHAPES)
    )
