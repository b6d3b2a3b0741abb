"""Checks of region heads: vectors of the declared lengths, and logits of K+1 classes, window by window."""

from __future__ import annotations

import torch
from torch import Tensor

from detzoo.testing.module import (
    check_moves_between_dtypes,
    check_same_seed_same_weights,
    check_state_dict_round_trip,
)
from detzoo.testing.specimens import candidates, image_batch
from detzoo.testing.subject import (
    Subject,
    assert_close,
    assert_finite,
    assert_gradients,
    assert_unchanged,
    backward,
    snapshot,
)
from detzoo.types import Candidates
from detzoo_rcnn.region_svm import RegionSvm


def check_outputs(subject: Subject) -> None:
    """Each vector of ``out``, in its order, [R,channels]; logits [R,K+1]; all of it finite."""
    maps = _windows(subject)
    vectors, logits = subject.component(maps)
    declared = subject.component.out
    assert list(vectors) == list(declared), f"it returns {', '.join(vectors)}, out declares {', '.join(declared)}"
    for name, values in vectors.items():
        expected = (len(maps), declared[name].channels)
        assert tuple(values.shape) == expected, f"{name} has shape {tuple(values.shape)}, out declares {expected}"
    expected = (len(maps), subject.num_classes + 1)
    assert tuple(logits.shape) == expected, f"logits have shape {tuple(logits.shape)}, the contract says {expected}"
    assert_finite((vectors, logits), "the output")


def check_batch_equals_singles(subject: Subject) -> None:
    """A window gets the same vectors and logits alone as among others."""
    maps = _windows(subject)
    subject.component.eval()
    together, alone = subject.component(maps), subject.component(maps[1:2])
    for name, values in alone[0].items():
        assert_close(values, together[0][name][1:2], f"{name} of a window alone and among others")
    assert_close(alone[1], together[1][1:2], "logits of a window alone and among others")


def check_input_is_not_changed(subject: Subject) -> None:
    """The maps keep their values."""
    maps = _windows(subject)
    before = snapshot(maps)
    subject.component(maps)
    assert_unchanged(before, maps, "the maps")


def check_gradient_reaches_every_parameter(subject: Subject) -> None:
    """Fine-tuning trains all of it: the logits depend on every parameter."""
    subject.component.train()
    torch.manual_seed(0)
    backward(subject.component(_windows(subject))[1])
    assert_gradients(subject.component, "the logits")


def _windows(subject: Subject) -> Tensor:
    """Maps of six windows, made by the detector that the head is part of."""
    assert subject.detector is not None, "add a recipe that uses it: what it looks at comes from a detector"
    detector = subject.detector
    assert isinstance(detector, RegionSvm)
    size = subject.sizes[0]
    boxes = candidates(size).boxes[:, :6]
    rois = Candidates(boxes, torch.ones(1, 6, dtype=torch.bool))
    with torch.no_grad():
        _, maps = next(detector.windows(image_batch(size, 1), rois, at_once=6))
    return maps


__all__ = [
    "check_batch_equals_singles",
    "check_gradient_reaches_every_parameter",
    "check_input_is_not_changed",
    "check_moves_between_dtypes",
    "check_outputs",
    "check_same_seed_same_weights",
    "check_state_dict_round_trip",
]
