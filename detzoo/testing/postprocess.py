"""Checks of postprocesses and suppression: sorted, inside the image, nothing out of nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from detzoo.detectors.one_stage import OneStage
from detzoo.testing.loss import places_of
from detzoo.testing.specimens import generator, image_batch, no_candidates, predictions
from detzoo.testing.subject import Subject, assert_close, assert_finite, assert_unchanged, image, snapshot
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Predictions


def check_outputs(subject: Subject) -> None:
    """Shapes and dtypes of the contract; scores in [0,1], best first; boxes inside the image; known labels."""
    found = _run(subject, _predictions(subject), places_of(subject), image_batch())
    _check_shapes(found)
    assert_finite((found.boxes[found.valid], found.scores[found.valid]), "boxes or scores")
    for row in range(2):
        scores = found.scores[row][found.valid[row]]
        assert bool((scores[:-1] >= scores[1:]).all()), "detections are not sorted by score, best first"
    valid = found.valid
    boxes, labels = found.boxes[valid], found.labels[valid]
    scores = found.scores[valid]
    assert len(boxes), "random scores over every candidate gave no detection at all"
    assert bool(((scores >= 0) & (scores <= 1)).all()), (
        f"scores run from {float(scores.min())} to {float(scores.max())}"
    )
    assert bool(((labels >= 0) & (labels < subject.num_classes)).all()), "a label lies outside 0..K-1"
    region = image_batch().region[0]
    assert bool((boxes >= region[:2].repeat(2)).all() and (boxes <= region[2:].repeat(2)).all()), (
        "a box reaches beyond the image: clip to batch.region"
    )
    assert bool((boxes[:, 2:] >= boxes[:, :2]).all()), "a box has its right edge left of its left edge"


def _check_shapes(found: DetectionBatch) -> None:
    shape = tuple(found.valid.shape)
    for name, dtype, tail in (
        ("boxes", torch.float32, (4,)),
        ("scores", torch.float32, ()),
        ("labels", torch.int64, ()),
        ("valid", torch.bool, ()),
    ):
        tensor = getattr(found, name)
        assert tensor.dtype == dtype, f"{name} is {tensor.dtype}, not {dtype}"
        assert tuple(tensor.shape) == shape + tail, f"{name} has shape {tuple(tensor.shape)}, not {shape + tail}"


def check_same_input_same_output(subject: Subject) -> None:
    """Evaluation is deterministic: the same input gives the same detections twice."""
    places, said, batch = places_of(subject), _predictions(subject), image_batch()
    first, second = (_run(subject, said, places, batch) for _ in range(2))
    assert_close(first, second, "the first and the second answer to one input")


def check_obeys_its_settings(subject: Subject) -> None:
    """Each setting that it declares is obeyed when it is given: at most ``keep``, none below ``score_threshold``."""
    own, given = subject.component.settings, (_predictions(subject), places_of(subject), image_batch())
    if own.keep is not None:
        most = int(_run(subject, *given, DetectionSettings(keep=3)).valid.sum(1).max())
        assert most <= 3, f"with keep = 3 an image has {most} detections"
    if own.score_threshold is not None:
        usual = _run(subject, *given)
        middle = float(usual.scores[usual.valid].nan_to_num(0.5).clamp(0, 1).median())
        found = _run(subject, *given, DetectionSettings(score_threshold=middle))
        least = float(found.scores[found.valid].min()) if bool(found.valid.any()) else middle
        assert not least < middle, f"with score_threshold = {middle:g} there is a detection of score {least:g}"
    assert subject.component.settings == own, "its own settings changed in a call that was given others"


def check_nothing_is_found_in_nothing(subject: Subject) -> None:
    """No candidates give no detections, in tensors of the right shape."""
    places = no_candidates(coder=_coder(subject))
    said = predictions(2, places, _scoring(subject), num_classes=subject.num_classes)
    found = _run(subject, said, places, image_batch())
    _check_shapes(found)
    assert int(found.valid.sum()) == 0, "detections came out of no candidates"


def check_invalid_candidates_give_nothing(subject: Subject) -> None:
    """Padding among the candidates is never detected."""
    places = places_of(subject)
    nowhere = Candidates(places.boxes, torch.zeros_like(places.valid), places.levels, places.coder)
    found = _run(subject, _predictions(subject), nowhere, image_batch())
    assert int(found.valid.sum()) == 0, "detections came out of invalid candidates"


def check_batch_equals_singles(subject: Subject) -> None:
    """Images do not disturb each other: no suppression across them, no shared limits."""
    places, said, batch = places_of(subject), _predictions(subject), image_batch()
    together = _run(subject, said, places, batch)
    for row in range(2):
        alone = _run(subject, image(said, row), places, image(batch, row))
        for name in ("boxes", "scores", "labels"):
            first = getattr(together, name)[row][together.valid[row]]
            assert_close(first, getattr(alone, name)[0][alone.valid[0]], f"{name} of image {row} alone and in a batch")


def check_input_is_not_changed(subject: Subject) -> None:
    """Logits keep their values: losses and other branches read them."""
    places, said, batch = places_of(subject), _predictions(subject), image_batch()
    before = snapshot((said, places, batch))
    _run(subject, said, places, batch)
    assert_unchanged(before, (said, places, batch), "the input")


def check_suppress(subject: Subject) -> None:
    """Scores only fall; a copy of a better box of its group is weakened, a box of another group is left alone."""
    boxes = torch.tensor([[[0.0, 0, 40, 40], [1, 0, 41, 40], [0, 0, 40, 40], [100, 100, 140, 140], [0, 0, 40, 40]]])
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.95]])
    group = torch.tensor([[0, 0, 1, 0, 0]])
    valid = torch.tensor([[True, True, True, True, False]])
    before = snapshot((boxes, scores, group, valid))
    found = subject.component(boxes, scores, group, valid)
    assert_unchanged(before, (boxes, scores, group, valid), "the input")
    assert found.shape == scores.shape, f"it returns {tuple(found.shape)}, not the scores' {tuple(scores.shape)}"
    assert bool((found <= scores + 1e-6).all()), "a score rose"
    assert float(found[0, 4]) == 0, "an invalid box kept its score"
    assert abs(float(found[0, 0]) - 0.9) < 1e-6, "the best box of its group lost score (an invalid box above it?)"
    assert float(found[0, 1]) < 0.8, "a near copy of a better box kept its score"
    assert abs(float(found[0, 2]) - 0.7) < 1e-6, "a box of another group was suppressed"
    assert abs(float(found[0, 3]) - 0.6) < 1e-6, "a box that overlaps nothing lost score"


def check_suppress_takes_the_empty_case(subject: Subject) -> None:
    """No boxes at all, and none that is valid."""
    for number in (0, 3):
        found = subject.component(
            torch.zeros(2, number, 4),
            torch.rand(2, number, generator=generator(3)),
            torch.zeros(2, number, dtype=torch.int64),
            torch.zeros(2, number, dtype=torch.bool),
        )
        assert found.shape == (2, number), f"it returns {tuple(found.shape)}, not {(2, number)}"
        assert float(found.sum()) == 0, "an invalid box kept its score"


def _predictions(subject: Subject) -> Predictions:
    """Confident noise: random logits alone stay below many thresholds."""
    said = predictions(2, places_of(subject), _scoring(subject), num_classes=subject.num_classes)
    assert said.class_logits is not None
    return dataclasses.replace(said, class_logits=(said.class_logits * 4).detach(), deltas=said.deltas.detach())


def _scoring(subject: Subject) -> Any:
    return subject.detector.head.scoring if isinstance(subject.detector, OneStage) else "sigmoid"


def _coder(subject: Subject) -> Any:
    from detzoo.builder import build_component

    if isinstance(subject.detector, OneStage):
        return subject.detector.head.coder
    return build_component("box_coder", {"type": "centre_size"})


def _run(
    subject: Subject,
    said: Predictions,
    places: Candidates,
    batch: ImageBatch,
    settings: DetectionSettings | None = None,
) -> DetectionBatch:
    with torch.no_grad():
        found: DetectionBatch = subject.component.eval()(said, places, batch, settings)
    return found
