"""The tools say of a detector what is true, of the smallest one too; and the check sees where they would not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import detzoo
from detzoo.data.shapes import CLASSES
from detzoo.interfaces import PostProcess
from detzoo.testing.truth import Minimal, check_tools_tell_the_truth
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Predictions


def minimal() -> Minimal:
    torch.manual_seed(0)
    return Minimal()


def test_of_a_detector_with_the_abstract_members_alone() -> None:
    detector = minimal()
    assert detector.compiled_parts() == ()
    assert detector.settings() == DetectionSettings(0.1, None, 8)
    assert len(detector.predict([torch.full((64, 64, 3), 128, dtype=torch.uint8).numpy()], channels="rgb")[0]) > 2
    check_tools_tell_the_truth(detector)
    assert [stage.name for stage in detector.stages()] == ["train"]


def test_of_a_recipe() -> None:
    detector = detzoo.build("ssd_ultralight_face_slim", classes=list(CLASSES), weights=None)
    assert len(detector.compiled_parts()) == 3
    check_tools_tell_the_truth(detector)


class Deaf(PostProcess):
    """Says that it has settings, and does not look at those it is given."""

    def __init__(self, inner: PostProcess) -> None:
        super().__init__()
        self.inner, self.settings = inner, inner.settings

    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        return self.inner(predictions, candidates, batch)


class TwoWays(Minimal):
    """Times another thing than what it does."""

    def detect(self, batch: ImageBatch, settings: DetectionSettings | None = None) -> DetectionBatch:
        candidates, predictions = self.network(batch)
        assert predictions.class_logits is not None
        higher = Predictions(predictions.class_logits + 1, "sigmoid", predictions.deltas)
        return self.finish((candidates, higher), batch, settings)


class CompilesAnother(Minimal):
    def compiled_parts(self) -> tuple[nn.Module, ...]:
        return (nn.Conv2d(3, 3, 1),)


def deaf() -> Minimal:
    detector = minimal()
    detector.postprocess = Deaf(detector.postprocess)
    return detector


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (deaf, "score_threshold = "),
        (TwoWays, "of detect, and of network and finish"),
        (CompilesAnother, "no parts of it"),
    ],
)
def test_untruths_are_seen(make: Any, words: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=words):
        check_tools_tell_the_truth(make())
