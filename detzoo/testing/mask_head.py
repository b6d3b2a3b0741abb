"""Checks of mask heads: one small mask of logits per box and class."""

from __future__ import annotations

import torch
from torch import Tensor

from detzoo.testing.specimens import feature_maps, regions
from detzoo.testing.subject import (
    Subject,
    assert_close,
    assert_finite,
    assert_gradients,
    assert_unchanged,
    backward,
    image,
    snapshot,
)
from detzoo.types import Candidates


def check_outputs(subject: Subject) -> None:
    """[B,P,K,m,m] or [B,P,1,m,m], finite, at every size."""
    for size in subject.sizes:
        places = regions(size)
        masks = _masks(subject, size, places)
        expected = {(*places.valid.shape, count) for count in (1, subject.num_classes)}
        assert masks.ndim == 5 and tuple(masks.shape[:3]) in expected, (  # noqa: PT018
            f"masks have shape {tuple(masks.shape)}, the contract says [B,P,K,m,m] or [B,P,1,m,m] for "
            f"{places.valid.shape[0]} images, {places.valid.shape[1]} boxes and {subject.num_classes} classes"
        )
        assert masks.is_floating_point(), f"masks are {masks.dtype}; they are logits"
        assert_finite(masks, "mask logits")


def check_takes_the_empty_case(subject: Subject) -> None:
    """No boxes at all: no masks."""
    none = Candidates(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool))
    for training in (True, False):
        subject.component.train(training)
        masks = _masks(subject, subject.sizes[0], none)
        assert masks.shape[:2] == (2, 0), f"without boxes masks have shape {tuple(masks.shape)}"


def check_same_input_same_output(subject: Subject) -> None:
    """In evaluation mode nothing is random: the same input gives the same masks twice."""
    subject.component.eval()
    size = subject.sizes[0]
    first, second = (_masks(subject, size, regions(size)) for _ in range(2))
    assert_close(first, second, "the first and the second answer to one input")


def check_batch_equals_singles(subject: Subject) -> None:
    """In evaluation mode an image gets the same masks alone as in a batch."""
    subject.component.eval()
    size = subject.sizes[0]
    features, places = feature_maps(subject.features, size), regions(size)
    together = subject.component(features, places)
    for row in range(2):
        own = {name: tensor[row : row + 1] for name, tensor in features.items()}
        alone = subject.component(own, image(places, row))
        assert_close(together[row : row + 1], alone, f"image {row} alone and in a batch")


def check_input_is_not_changed(subject: Subject) -> None:
    """Feature maps and boxes keep their values: others read them too."""
    size = subject.sizes[0]
    features, places = feature_maps(subject.features, size), regions(size)
    before = snapshot((features, places))
    subject.component.train()(features, places)
    assert_unchanged(before, (features, places), "a feature map or the boxes")


def check_gradient_reaches_every_parameter(subject: Subject) -> None:
    """Nothing that is trainable is left out of the masks."""
    subject.component.train()
    backward(_masks(subject, subject.sizes[0], regions(subject.sizes[0])))
    assert_gradients(subject.component, "mask logits")


def _masks(subject: Subject, size: tuple[int, int], places: Candidates) -> Tensor:
    masks: Tensor = subject.component(feature_maps(subject.features, size), places)
    return masks
