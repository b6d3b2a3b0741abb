"""Checks of proposals: regions of a first stage, and the loss of making them."""

from __future__ import annotations

import dataclasses

import torch

from detzoo.testing.specimens import GROUND_TRUTHS, candidates, feature_maps, image_batch, targets, total
from detzoo.testing.subject import (
    Subject,
    assert_close,
    assert_finite,
    assert_gradients,
    assert_unchanged,
    image,
    snapshot,
)
from detzoo.types import Candidates, FeatureMaps, ImageBatch


def check_outputs(subject: Subject) -> None:
    """Regions [B,N] inside the image, best first, without gradient, at every size."""
    component = subject.component.eval()
    for size in subject.sizes:
        batch = _batch(size)
        _check_regions(component(_maps(subject, size), batch), batch)


def _check_regions(rois: Candidates, batch: ImageBatch) -> None:
    boxes, valid = rois.boxes, rois.valid
    assert boxes.ndim == 3 and boxes.shape[0] == 2 and boxes.shape[2] == 4, (  # noqa: PT018 - one message for all
        f"boxes has shape {tuple(boxes.shape)}; the contract says [B,N,4]"
    )
    assert boxes.dtype == torch.float32, f"boxes is {boxes.dtype}, not float32"
    assert valid.shape == boxes.shape[:2], f"valid has shape {tuple(valid.shape)}, boxes {tuple(boxes.shape)}"
    assert valid.dtype == torch.bool, f"valid is {valid.dtype}, not bool"
    assert not boxes.requires_grad, "regions must carry no gradient: detach them"
    assert_finite(boxes[valid], "boxes")
    region = batch.region.unsqueeze(1)
    inside = (boxes >= region[..., :2].repeat(1, 1, 2)) & (boxes <= region[..., 2:].repeat(1, 1, 2))
    assert bool(inside[valid].all()), "a region reaches beyond the image: clip to batch.region"
    assert bool((boxes[..., 2:] >= boxes[..., :2])[valid].all()), "a region has its right edge left of its left edge"
    if rois.scores is not None:
        assert rois.scores.shape == valid.shape, f"scores has shape {tuple(rois.scores.shape)}, not [B,N]"
        assert not rois.scores.requires_grad, "scores must carry no gradient: detach them"
        for scores, own in zip(rois.scores, valid, strict=True):
            kept = scores[own]
            assert bool((kept[:-1] >= kept[1:]).all()), "regions are not sorted by score, best first"


def check_every_ground_truth_gives_finite_terms(subject: Subject) -> None:
    """No box, one box, a box without area, many: regions as ever, and terms that are finite scalars."""
    component, batch = subject.component.train(), _batch(subject.sizes[0])
    for name in GROUND_TRUTHS:
        rois, terms = component.losses(_maps(subject, subject.sizes[0]), batch, targets((name, "no box")))
        _check_regions(rois, batch)
        for key, term in terms.items():
            assert term.ndim == 0, f"ground truth: {name}: {key} has shape {tuple(term.shape)}; a term is a scalar"
            assert bool(torch.isfinite(term)), f"ground truth: {name}: {key} is {term.item()}"
            assert term.requires_grad, f"ground truth: {name}: {key} is cut from the graph"


def check_gradient_reaches_every_parameter(subject: Subject) -> None:
    """Whatever is trainable is trained by the terms."""
    component = subject.component.train()
    if not any(parameter.requires_grad for parameter in component.parameters()):
        return
    size = subject.sizes[0]
    _, terms = component.losses(_maps(subject, size), _batch(size), targets(("mixed boxes", "one box")))
    assert terms, "it has trainable parameters, but losses gives no terms"
    total(terms).backward()  # type: ignore[no-untyped-call]
    assert_gradients(component, "losses")


def check_batch_equals_singles(subject: Subject) -> None:
    """Detecting, an image gets the same regions alone as in a batch."""
    component, size = subject.component.eval(), subject.sizes[0]
    maps, batch = _maps(subject, size), _batch(size)
    together = component(maps, batch)
    for row in range(2):
        own = {name: values[row : row + 1] for name, values in maps.items()}
        alone = component(own, image(batch, row))
        first, second = together.boxes[row][together.valid[row]], alone.boxes[0][alone.valid[0]]
        assert_close(first, second, f"regions of image {row} alone and in a batch")


def check_input_is_not_changed(subject: Subject) -> None:
    """Maps, batch and targets keep their values: the second stage reads them next."""
    size = subject.sizes[0]
    maps, batch, truth = _maps(subject, size), _batch(size), targets(("mixed boxes", "one box"))
    before = snapshot((maps, batch, truth))
    subject.component.train().losses(maps, batch, truth)
    subject.component.eval()(maps, batch)
    assert_unchanged(before, (maps, batch, truth), "a map, the batch or its targets")


def _maps(subject: Subject, size: tuple[int, int]) -> FeatureMaps:
    return feature_maps(subject.features, size)


def _batch(size: tuple[int, int]) -> ImageBatch:
    """Noise, with image-level regions for a first stage that returns what is stored in the batch."""
    batch, places = image_batch(size), candidates(size)
    limit = batch.region[:, None, 2:].repeat(1, 1, 2)
    boxes = places.boxes.expand(2, -1, -1).clamp(min=0).minimum(limit)
    regions = Candidates(boxes, places.valid.expand(2, -1).contiguous())
    return dataclasses.replace(batch, proposals=regions)
