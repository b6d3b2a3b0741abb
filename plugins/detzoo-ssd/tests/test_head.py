"""SSD's head: shapes, order, initialisation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detzoo.components.box_coders import CentreSize
from detzoo.errors import RecipeError
from detzoo.types import FeatureSpec, ImageBatch
from detzoo_ssd.head import SsdHead
from detzoo_ssd.priors import SsdPriors

SPECS = {"s8": FeatureSpec(4, 8.0), "s16": FeatureSpec(6, 16.0)}


def head(*, num_classes: int = 3, **config: Any) -> SsdHead:
    """On two maps, with three and two priors a cell."""
    anchors = SsdPriors(SPECS, sizes=[[8.0], [16.0, 24.0]], max_sizes=None, ratios=[[2.0], []])
    given: dict[str, Any] = {"predictors": ["conv3x3"]} | config
    return SsdHead(SPECS, num_classes, anchors=anchors, box_coder=CentreSize(), **given)


def batch(pixels: Tensor) -> ImageBatch:
    count = pixels.shape[0]
    size = torch.tensor([[*pixels.shape[2:]]]).expand(count, 2)
    return ImageBatch(pixels, torch.zeros(count, 4), size, torch.ones(count, 2), torch.arange(count))


def features(count: int = 2) -> dict[str, Tensor]:
    return {"s8": torch.randn(count, 4, 4, 6), "s16": torch.randn(count, 6, 2, 3)}


@pytest.mark.parametrize("predictor", ["conv3x3", "conv1x1", "depthwise"])
@pytest.mark.parametrize(("scoring", "columns"), [("softmax", 4), ("sigmoid", 3)])
def test_shapes(predictor: str, scoring: str, columns: int) -> None:
    made = head(predictors=[predictor], scoring=scoring)
    priors, predictions = made(features(), batch(torch.zeros(2, 3, 32, 48)))
    count = 4 * 6 * 3 + 2 * 3 * 2
    assert priors.boxes.shape == (1, count, 4)
    assert priors.valid.all()
    assert priors.coder is made.coder
    assert predictions.class_logits is not None
    assert predictions.class_logits.shape == (2, count, columns)
    assert predictions.deltas.shape == (2, count, 1, 4)
    assert predictions.scoring == made.scoring == scoring


def test_no_images_give_no_predictions() -> None:
    _, predictions = head()(features(0), batch(torch.zeros(0, 3, 32, 48)))
    assert predictions.deltas.shape == (0, 84, 1, 4)


def test_order_is_level_row_column_prior() -> None:
    made = head()
    maps = features(1)
    priors, predictions = made(maps, batch(torch.zeros(1, 3, 32, 48)))
    row, column, cell = 2, 5, 1
    place = (row * 6 + column) * 3 + cell
    conv = made.classification[0](maps["s8"])[0, :, row, column].view(3, 4)
    assert predictions.class_logits is not None
    torch.testing.assert_close(predictions.class_logits[0, place], conv[cell])
    centre = (priors.boxes[0, place, :2] + priors.boxes[0, place, 2:]) / 2
    assert centre.tolist() == [44.0, 20.0]  # (5.5, 2.5) · 8


def test_background_is_a_column_of_softmax_alone() -> None:
    assert head(scoring="softmax").classification[0].out_channels == 3 * 4
    assert head(scoring="sigmoid").classification[0].out_channels == 3 * 3


def test_mixed_predictors() -> None:
    made = head(predictors=["depthwise", "conv3x3"])
    assert isinstance(made.classification[0], nn.Sequential)
    assert isinstance(made.classification[1], nn.Conv2d)


def test_ssdlite_predictor_has_norm_and_relu6() -> None:
    block = head(predictors=["depthwise"], norm="batch", activation="relu6", norm_eps=1e-3, norm_momentum=0.03)
    first = block.get_submodule("classification.0.0")
    assert isinstance(first, nn.Sequential)
    assert first[0].groups == 4
    assert first[0].bias is None
    assert (first[1].eps, first[1].momentum) == (1e-3, 0.03)
    assert isinstance(first[2], nn.ReLU6)


@pytest.mark.parametrize("scoring", ["softmax", "sigmoid"])
def test_foreground_prior_is_the_first_score(scoring: str) -> None:
    made = head(scoring=scoring, foreground_prior=0.01)
    zeros = {name: torch.zeros_like(feature) for name, feature in features(1).items()}
    logits = made(zeros, batch(torch.zeros(1, 3, 32, 48)))[1].class_logits
    assert logits is not None
    scores = logits.softmax(-1)[..., 1:] if scoring == "softmax" else logits.sigmoid()
    expected = 0.01 / 3 if scoring == "softmax" else 0.01  # three classes share it, or each has it
    torch.testing.assert_close(scores, torch.full_like(scores, expected))


def test_number_of_predictors_is_checked() -> None:
    with pytest.raises(RecipeError) as error:
        head(predictors=["conv3x3"] * 3)
    assert str(error.value) == (
        "predictors has 3 entries, but the head gets 2 maps: s8, s16. Give one entry for all, or one for each."
    )
