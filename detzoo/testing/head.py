"""Checks of dense and RoI heads: candidates and predictions that belong together."""

from __future__ import annotations

import dataclasses

import torch

from detzoo.interfaces import RoiHead
from detzoo.testing.specimens import feature_maps, image_batch, regions, targets
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
from detzoo.types import Candidates, Predictions


def check_outputs(subject: Subject) -> None:
    """Shapes, dtypes, levels, coder and scoring are the contract's, at every size."""
    for size in subject.sizes:
        candidates, predictions = run(subject, size)
        _check_candidates(candidates, subject)
        _check_predictions(predictions, candidates.boxes.shape[1], subject)


def _check_candidates(candidates: Candidates, subject: Subject) -> None:
    boxes, valid = candidates.boxes, candidates.valid
    assert boxes.shape[0] in (1, 2), f"boxes has shape {tuple(boxes.shape)}; the contract says [1 or B,N,4]"
    assert boxes.shape[2:] == (4,), f"boxes has shape {tuple(boxes.shape)}; the contract says [1 or B,N,4]"
    assert boxes.dtype == torch.float32, f"boxes is {boxes.dtype}, not float32"
    assert valid.shape == boxes.shape[:2], f"valid has shape {tuple(valid.shape)}, boxes {tuple(boxes.shape)}"
    assert valid.dtype == torch.bool, f"valid is {valid.dtype}, not bool"
    assert not boxes.requires_grad, "candidates must carry no gradient"
    assert bool((boxes[..., 2:] >= boxes[..., :2])[valid].all()), (
        "a candidate has its right edge left of its left edge, or its lower edge above its upper: boxes are xyxy"
    )
    assert candidates.coder is subject.component.coder, "candidates must carry the head's own coder"
    if candidates.levels:
        counted = sum(level.count for level in candidates.levels)
        assert counted == boxes.shape[1], f"the levels count {counted} candidates, boxes has {boxes.shape[1]}"


def _check_predictions(predictions: Predictions, number: int, subject: Subject) -> None:
    classes = subject.num_classes
    assert predictions.scoring == subject.component.scoring, (
        f"predictions.scoring is {predictions.scoring}, the head declares {subject.component.scoring}"
    )
    if predictions.class_logits is not None:
        columns = classes + (predictions.scoring == "softmax")
        expected = (2, number, columns)
        found = tuple(predictions.class_logits.shape)
        assert found == expected, f"class_logits has shape {found}, the contract says {expected} for {classes} classes"
    shape = tuple(predictions.deltas.shape)
    assert shape in {(2, number, 1, 4), (2, number, classes, 4)}, (
        f"deltas has shape {shape}, the contract says {(2, number, 1, 4)} or {(2, number, classes, 4)}"
    )
    if predictions.quality_logits is not None:
        shape = tuple(predictions.quality_logits.shape)
        assert shape == (2, number), f"quality_logits has shape {shape}, the contract says {(2, number)}"
    assert_finite(predictions, "predictions")


def check_same_input_same_output(subject: Subject) -> None:
    """Evaluation is deterministic: the same input gives the same predictions twice."""
    subject.component.eval()
    first, second = (run(subject, subject.sizes[0])[1] for _ in range(2))
    assert_close(first, second, "the first and the second answer to one input")


def check_batch_equals_singles(subject: Subject) -> None:
    """In evaluation mode an image gets the same predictions alone as in a batch."""
    subject.component.eval()
    size = subject.sizes[0]
    features, batch = feature_maps(subject.features, size), image_batch(size)
    places = _regions(subject, size)
    _, together = subject.component(features, batch, *places)
    for row in range(2):
        own = {name: tensor[row : row + 1] for name, tensor in features.items()}
        _, alone = subject.component(own, image(batch, row), *image(places, row))
        assert_close(image(together, row), alone, f"image {row} alone and in a batch")


def check_input_is_not_changed(subject: Subject) -> None:
    """Feature maps keep their values: other heads read them too."""
    size = subject.sizes[0]
    features = feature_maps(subject.features, size)
    before = snapshot(features)
    subject.component.train()(features, image_batch(size), *_regions(subject, size))
    assert_unchanged(before, features, "a feature map")


def check_gradient_reaches_every_parameter(subject: Subject) -> None:
    """Nothing that is trainable is left out of the predictions, those of the ground truth among them."""
    subject.component.train()
    predictions = train(subject)
    backward(predictions)
    assert_gradients(subject.component, "predictions")


def check_decoding_is_finite(subject: Subject) -> None:
    """Even absurd deltas decode to numbers: the coder clamps, or the recipe says why it does not."""
    candidates, predictions = run(subject, subject.sizes[0])
    boxes = subject.component.coder.decode(
        predictions.deltas[:, :, 0], candidates.boxes.expand(2, -1, -1), candidates.strides()
    )
    assert_finite(boxes, "decoded boxes")


def check_targets_change_aux_alone(subject: Subject) -> None:
    """A dense head may make auxiliary predictions of the ground truth; what is detected never depends on it."""
    subject.component.eval()
    features, batch = feature_maps(subject.features, subject.sizes[0]), image_batch(subject.sizes[0])
    without = subject.component(features, batch)
    places, said = subject.component(features, batch, targets(("mixed boxes", "one box")))
    assert_close((without[0], _bare(without[1])), (places, _bare(said)), "predictions without and with targets")


def _bare(predictions: Predictions) -> Predictions:
    return dataclasses.replace(predictions, aux=())


def run(subject: Subject, size: tuple[int, int]) -> tuple[Candidates, Predictions]:
    """What the head says of two noise images."""
    found: tuple[Candidates, Predictions] = subject.component(
        feature_maps(subject.features, size), image_batch(size), *_regions(subject, size)
    )
    return found


def train(subject: Subject) -> Predictions:
    """What the head says while training: a dense head is given ground truth then."""
    if isinstance(subject.component, RoiHead):
        return run(subject, subject.sizes[0])[1]
    features, batch = feature_maps(subject.features, subject.sizes[0]), image_batch(subject.sizes[0])
    said: Predictions = subject.component(features, batch, targets(("mixed boxes", "one box")))[1]
    return said


def _regions(subject: Subject, size: tuple[int, int]) -> tuple[Candidates, ...]:
    """What an RoI head is given as well; dense heads make their own candidates."""
    return (regions(size),) if isinstance(subject.component, RoiHead) else ()
