"""Checks of RoI pooling: features of one size for every region, whatever stands in it."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import torch
from torch import Tensor

from detzoo.testing.specimens import candidates, feature_maps
from detzoo.testing.subject import Subject, assert_close, assert_finite, assert_unchanged, backward, image, snapshot
from detzoo.types import Candidates, FeatureMaps, FeatureSpec, FeatureSpecs

_GROUPS: Final = 2  # output channels of position-sensitive pooling: heads hand it score maps of their own


def check_outputs(subject: Subject) -> None:
    """float32 [B*P,C,h,w] of the declared channels and output, image by image, finite; its levels exist."""
    pool = subject.component
    exist = _specs(subject)
    unknown = [level for level in pool.levels if level not in exist]
    assert pool.levels, "levels is empty: name the maps that it reads"
    assert not unknown, f"levels names {', '.join(unknown)}; the maps are {', '.join(exist)}"
    for size in subject.sizes:
        rois = _regions(size)
        pooled = pool(_maps(subject, size), rois)
        _check_shape(subject, pooled, rois.boxes.shape[1])
        assert_finite(pooled, "the output")


def _check_shape(subject: Subject, pooled: Tensor, number: int) -> None:
    pool = subject.component
    channels = _GROUPS if pool.position_sensitive else pool.channels
    expected = (2 * number, channels, *pool.output)
    found = tuple(pooled.shape)
    assert found == expected, f"it returns {found}, the contract says [B*P,C,h,w] = {expected}"
    assert pooled.dtype == torch.float32, f"it returns {pooled.dtype} for maps of float32"


def check_takes_the_empty_case(subject: Subject) -> None:
    """No regions at all: an empty tensor of the right shape that still belongs to the graph."""
    maps = _maps(subject, subject.sizes[0])
    pooled = subject.component(maps, Candidates(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool)))
    _check_shape(subject, pooled, 0)
    assert pooled.requires_grad, "without regions the output is cut from the graph"


def check_invalid_regions_are_harmless(subject: Subject) -> None:
    """Whatever stands in a padded region, the others and the gradients are what they were."""
    maps, rois = _maps(subject, subject.sizes[0]), _regions(subject.sizes[0])
    valid = rois.valid.clone()
    valid[:, ::3] = False
    expected = subject.component(maps, rois)[valid.flatten()]
    for content in (0.0, -1e6, math.nan):
        boxes = torch.where(valid.unsqueeze(-1), rois.boxes, content)
        pooled = subject.component(maps, Candidates(boxes, valid))
        assert_close(pooled[valid.flatten()], expected, f"valid regions next to invalid ones of {content}")
        assert_finite(pooled, f"the output for invalid regions of {content}")
        for name, gradient in _gradients(pooled, maps).items():
            assert gradient is None or bool(gradient.isfinite().all()), (
                f"invalid regions of {content} make the gradient of {name} NaN or infinite"
            )


def check_gradient_reaches_the_maps(subject: Subject) -> None:
    """Each of its maps is connected to the output, and regions of every size move at least one of them."""
    maps = _maps(subject, subject.sizes[0])
    gradients = _gradients(subject.component(maps, _regions(subject.sizes[0])), maps)
    for name in subject.component.levels:
        gradient = gradients[name]
        assert gradient is not None, f"no gradient reaches the map {name}: a map without regions gets zeros, not None"
        assert bool(gradient.isfinite().all()), f"the gradient of the map {name} is NaN or infinite"
    assert any(g is not None and bool(g.any()) for g in gradients.values()), "the gradient is zero on every map"


def check_batch_equals_singles(subject: Subject) -> None:
    """A region is pooled from its own image, alone or in a batch."""
    maps, rois = _maps(subject, subject.sizes[0]), _regions(subject.sizes[0])
    together = subject.component(maps, rois).reshape(2, rois.boxes.shape[1], -1)
    for row in range(2):
        alone = subject.component({name: values[row : row + 1] for name, values in maps.items()}, image(rois, row))
        assert_close(alone.reshape(together.shape[1:]), together[row], f"regions of image {row} alone and in a batch")


def check_input_is_not_changed(subject: Subject) -> None:
    """Maps and regions keep their values: other heads read them too."""
    maps, rois = _maps(subject, subject.sizes[0]), _regions(subject.sizes[0])
    before = snapshot((maps, rois))
    with torch.no_grad():
        subject.component(maps, rois)
    assert_unchanged(before, (maps, rois), "a map or a region")


def _maps(subject: Subject, size: tuple[int, int]) -> FeatureMaps:
    """Noise, as leaves of the graph; score maps of two groups of channels for position-sensitive pooling."""
    specs = _specs(subject)
    if subject.component.position_sensitive:
        channels = _GROUPS * subject.component.output[0] * subject.component.output[1]
        specs = {name: dataclasses.replace(spec, channels=channels) for name, spec in specs.items()}
    return {name: values.requires_grad_() for name, values in feature_maps(specs, size).items()}


def _specs(subject: Subject) -> FeatureSpecs:
    """The maps that there are; for pooling of pixels, the pixels."""
    return {"pixels": FeatureSpec(3, 1.0)} if subject.component.of_pixels else dict(subject.features)


def _regions(size: tuple[int, int]) -> Candidates:
    """Other regions in each image: small ones, one that covers the image, one of a pixel, one without area."""
    height, width = size
    small = candidates(size).boxes[0, ::9]
    special = torch.tensor([[0.0, 0, width, height], [9, 9, 10, 10], [20, 30, 20, 30]])
    boxes = torch.stack([torch.cat([small, special]), torch.cat([special, small + 5])])
    return Candidates(boxes, torch.ones(boxes.shape[:2], dtype=torch.bool))


def _gradients(pooled: Tensor, maps: FeatureMaps) -> dict[str, Tensor | None]:
    for values in maps.values():
        values.grad = None
    backward(pooled)
    return {name: values.grad for name, values in maps.items()}
