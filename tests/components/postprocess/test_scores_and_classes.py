"""How quality enters the score, and for which classes a candidate is reported."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from detzoo.components.postprocess import detections as module
from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.components.postprocess.top_k import TopK
from detzoo.components.suppress import KeepAll, Nms
from detzoo.ops.scores import scores_of
from detzoo.types import DetectionSettings, Predictions, Scoring
from tests.components.postprocess.scene import SCORINGS, same, scene, ssd_post


@pytest.mark.parametrize(("quality", "expected"), [("ignore", 0.5), ("product", 0.25), ("geometric_mean", 0.5)])
def test_quality(quality: str, expected: float) -> None:
    _, candidates, batch = scene(images=1, priors=1, classes=1, scoring="sigmoid")
    predictions = Predictions(
        torch.zeros(1, 1, 1), "sigmoid", torch.zeros(1, 1, 1, 4), quality_logits=torch.zeros(1, 1)
    )
    assert ssd_post(quality=quality)(predictions, candidates, batch).scores[0, 0].item() == pytest.approx(expected)


@pytest.mark.parametrize(("each", "labels"), [(True, [1, 0]), (False, [1, 0, 0])])
def test_top_k_reports_the_best_class_or_every_class(each: bool, labels: list[int]) -> None:
    _, candidates, batch = scene(images=1, priors=2)
    logits = torch.tensor([[[2.0, 3.0], [1.0, -9.0]]])
    predictions = Predictions(logits, "sigmoid", torch.zeros(1, 2, 1, 4))
    found = TopK(keep=4, score_threshold=0.1, one_class_each=each)(predictions, candidates, batch)
    assert found.labels[0][found.valid[0]].tolist() == labels


@pytest.mark.parametrize("scoring", ["sigmoid", "categorical", "linear"])
@pytest.mark.parametrize("quality", ["product", "geometric_mean"])
@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.6])
def test_candidates_of_low_quality_are_left_out_before_their_classes_are_scored(
    scoring: Scoring, quality: Any, threshold: float
) -> None:
    """The CPU's way against scores of every class of every candidate."""
    predictions, candidates, batch = scene(3, 200, 4, scoring=scoring)
    assert predictions.class_logits is not None
    said = torch.randn(3, 200, generator=torch.Generator().manual_seed(1))
    logits = predictions.class_logits
    if scoring == "linear":  # scores as they stand, without ties at 0 and 1
        said, logits = said.sigmoid(), logits.sigmoid()
    predictions = replace(predictions, quality_logits=said, class_logits=logits)
    candidates = replace(candidates, valid=torch.arange(200)[None] % 7 > 0)
    part = PerClassDetections(suppress=Nms(iou=0.5), score_threshold=threshold, quality=quality, keep=50)
    fast = part(predictions, candidates, batch)
    boxes, scores, labels = part.class_by_class(predictions, candidates, batch, part.settings)
    plain = module.best_overall(boxes, scores, labels, 50)
    torch.testing.assert_close(fast.scores, plain.scores, rtol=1e-6, atol=0)
    assert torch.equal(fast.labels, plain.labels)
    assert torch.equal(fast.boxes, plain.boxes)
    assert bool(fast.valid.any())


def test_scorings_without_a_background() -> None:
    logits, quality = torch.tensor([[[math.log(3), 0.0]]]), torch.tensor([[0.0]])
    found = {
        scoring: scores_of(Predictions(logits, scoring, torch.zeros(1, 1, 1, 4), quality), quality="product")[0, 0]
        for scoring in SCORINGS
    }
    assert found["categorical"].tolist() == pytest.approx([0.375, 0.125])
    assert found["sigmoid"].tolist() == pytest.approx([0.375, 0.25])
    assert found["linear"].tolist() == [0.0, 0.0]  # a confidence of 0, and a class score cut to 1


@pytest.mark.parametrize("quality", ["ignore", "product"])
@pytest.mark.parametrize("level", [None, 300])
def test_the_best_class_alone(monkeypatch: pytest.MonkeyPatch, quality: Any, level: int | None) -> None:
    predictions, candidates, batch = scene(scoring="sigmoid")
    predictions = replace(predictions, quality_logits=torch.randn(2, 400, generator=torch.Generator().manual_seed(1)))
    every = PerClassDetections(
        suppress=KeepAll(), score_threshold=0.1, keep=4000, quality=quality, per_level_top_k=level and 10_000
    )
    best = PerClassDetections(
        suppress=KeepAll(), score_threshold=0.1, keep=4000, quality=quality, per_level_top_k=level and 10_000,
        one_class_each=True,
    )  # fmt: skip
    settings = DetectionSettings(0.1, None, 4000)
    found = best(predictions, candidates, batch, settings)
    scores = scores_of(predictions, quality=quality)
    assert found.valid.sum(1).tolist() == (scores.amax(-1) > 0.1).sum(1).tolist()
    assert int(every(predictions, candidates, batch, settings).valid.sum()) > int(found.valid.sum())
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: False)
    assert same(found, best(predictions, candidates, batch, settings))
