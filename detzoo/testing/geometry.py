"""Checks of anchors and box coders."""

from __future__ import annotations

import torch

from detzoo.testing.specimens import candidates, feature_maps
from detzoo.testing.subject import Subject, assert_close, assert_finite
from detzoo.types import Level


def check_anchors(subject: Subject) -> None:
    """As many boxes as the levels say, of positive size, for every input size."""
    for size in subject.sizes:
        features = feature_maps(subject.features, size)
        boxes, levels = subject.component(features, size)
        assert boxes.ndim == 2, f"boxes has shape {tuple(boxes.shape)}, the contract says [N,4]"
        assert boxes.shape[1] == 4, f"boxes has shape {tuple(boxes.shape)}, the contract says [N,4]"
        assert boxes.dtype == torch.float32, f"boxes is {boxes.dtype}, not float32"
        assert_finite(boxes, "boxes")
        assert bool((boxes[:, 2:] > boxes[:, :2]).all()), "an anchor has no area"
        counted = sum(level.count for level in levels)
        assert counted == len(boxes), f"the levels count {counted} anchors, boxes has {len(boxes)}"
        _check_levels(subject, levels, features)


def _check_levels(subject: Subject, levels: tuple[Level, ...], features: dict[str, torch.Tensor]) -> None:
    per_cell = tuple(level.per_cell for level in levels)
    declared = tuple(subject.component.per_cell())
    assert per_cell == declared, f"per_cell() declares {declared}, the levels have {per_cell}"
    for level, (name, feature) in zip(levels, features.items(), strict=True):
        assert level.name == name, f"level {level.name} stands on the map {name}"
        assert (level.height, level.width) == tuple(feature.shape[-2:]), (
            f"level {level.name} says {level.height}x{level.width}, its map has {tuple(feature.shape[-2:])}"
        )
        assert level.stride > 0, f"level {level.name} has stride {level.stride}"


def check_anchors_move_with_the_cell(subject: Subject) -> None:
    """Flattened level, row, column, entry: the next column's anchors lie to the right, the next row's below."""
    size = subject.sizes[0]
    boxes, levels = subject.component(feature_maps(subject.features, size), size)
    level = levels[0]
    grid = boxes[: level.count].reshape(level.height, level.width, level.per_cell, 4)
    centre = (grid[..., :2] + grid[..., 2:]) / 2
    if level.width > 2:
        assert bool((centre[:, 1:-1, :, 0] > centre[:, :-2, :, 0]).all()), "columns do not run from left to right"
    if level.height > 2:
        assert bool((centre[1:-1, ..., 1] > centre[:-2, ..., 1]).all()), "rows do not run from top to bottom"


def check_decode_inverts_encode(subject: Subject) -> None:
    """What was encoded decodes to the same boxes, to a hundredth of a pixel."""
    places = candidates()
    boxes = places.boxes[0] + torch.tensor([3.0, -5.0, 11.0, 7.0])
    deltas = subject.component.encode(boxes, places.boxes[0], places.strides())
    assert deltas.shape == boxes.shape, f"encode returns {tuple(deltas.shape)}, not {tuple(boxes.shape)}"
    assert_finite(deltas, "deltas")
    again = subject.component.decode(deltas, places.boxes[0], places.strides())
    worst = float((again - boxes).abs().max())
    assert worst < 1e-2, f"decode(encode(boxes)) is {worst:.3g} px away from boxes"


def check_coder_broadcasts(subject: Subject) -> None:
    """Candidates that all images share ([1,N,4]) meet deltas of a batch ([B,N,4])."""
    places = candidates()
    deltas = 0.1 * torch.randn(3, places.boxes.shape[1], 4, generator=torch.Generator().manual_seed(1))
    together = subject.component.decode(deltas, places.boxes, places.strides())
    assert together.shape == deltas.shape, f"decode returns {tuple(together.shape)}, not {tuple(deltas.shape)}"
    alone = subject.component.decode(deltas[1], places.boxes[0], places.strides())
    assert_close(together[1], alone, "an image alone and in a batch")


def check_coder_takes_the_empty_case(subject: Subject) -> None:
    """No candidates."""
    nothing = torch.zeros(0, 4)
    assert subject.component.encode(nothing, nothing, torch.zeros(0)).shape == (0, 4), "encode changed the shape"
    assert subject.component.decode(nothing, nothing, torch.zeros(0)).shape == (0, 4), "decode changed the shape"
