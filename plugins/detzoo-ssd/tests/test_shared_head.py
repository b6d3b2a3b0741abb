"""The head whose weights all levels share."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from detzoo.components.anchors import Grid
from detzoo.components.box_coders import CentreSize
from detzoo.errors import RecipeError
from detzoo.types import FeatureSpec, ImageBatch
from detzoo_ssd.head import SsdHead
from detzoo_ssd.priors import SsdPriors
from detzoo_ssd.shared_head import SsdSharedHead

SPECS = {"s8": FeatureSpec(4, 8.0), "s16": FeatureSpec(4, 16.0)}


def priors(specs: dict[str, FeatureSpec], sizes: list[list[float]]) -> SsdPriors:
    return SsdPriors(specs, sizes=sizes, max_sizes=None, ratios=[[2.0], [2.0]])


def test_all_levels_go_through_one_predictor() -> None:
    head = SsdSharedHead(SPECS, 3, anchors=priors(SPECS, [[8.0], [16.0]]), box_coder=CentreSize(), channels=4, depth=1)
    maps = {"s8": torch.ones(2, 4, 4, 6), "s16": torch.ones(2, 4, 4, 6)}
    batch = ImageBatch(
        torch.zeros(2, 3, 32, 48), torch.zeros(2, 4), torch.ones(2, 2), torch.ones(2, 2), torch.arange(2)
    )
    found, predictions = head(maps, batch)
    assert found.boxes.shape == (1, 2 * 24 * 3, 4)
    assert predictions.class_logits is not None
    assert predictions.class_logits.shape == (2, 144, 4)
    assert predictions.deltas.shape == (2, 144, 1, 4)
    torch.testing.assert_close(predictions.class_logits[:, :72], predictions.class_logits[:, 72:])


@pytest.mark.parametrize("scoring", ["sigmoid", "softmax"])
def test_untrained_scores_start_at_the_prior(scoring: Literal["sigmoid", "softmax"]) -> None:
    head = SsdSharedHead(
        SPECS, 3, anchors=priors(SPECS, [[8.0], [16.0]]), box_coder=CentreSize(), channels=4, scoring=scoring,
        foreground_prior=0.01, init_std=1e-6,
    )  # fmt: skip
    batch = ImageBatch(
        torch.zeros(1, 3, 32, 48), torch.zeros(1, 4), torch.ones(1, 2), torch.ones(1, 2), torch.arange(1)
    )
    _, predictions = head({"s8": torch.ones(1, 4, 4, 6), "s16": torch.ones(1, 4, 2, 3)}, batch)
    logits = predictions.class_logits
    assert logits is not None
    # softmax: three classes of 0.01 / 3 each against background's 0.99
    foreground = logits.sigmoid() if scoring == "sigmoid" else logits.softmax(-1)[..., 1:].sum(-1)
    torch.testing.assert_close(foreground, torch.full_like(foreground, 0.01), rtol=1e-3, atol=0.0)


def test_a_map_of_another_width_gets_a_lateral() -> None:
    wide = SPECS | {"s16": FeatureSpec(8, 16.0)}
    head = SsdSharedHead(wide, 3, anchors=priors(wide, [[8.0], [16.0]]), box_coder=CentreSize(), channels=4)
    assert {name: str(conv) for name, conv in head.lateral.items()} == {
        "s16": "Conv2d(8, 4, kernel_size=(1, 1), stride=(1, 1))"
    }


def test_levels_must_have_as_many_priors() -> None:
    with pytest.raises(RecipeError) as error:
        SsdSharedHead(SPECS, 3, anchors=priors(SPECS, [[8.0], [16.0, 20.0]]), box_coder=CentreSize())
    assert str(error.value) == (
        "ssd_shared needs as many priors in each cell of every map, found s8 3, s16 6. Use head type ssd."
    )


def test_anchors_for_another_number_of_maps() -> None:
    anchors, coder = Grid(sizes=[[8.0], [16.0], [32.0]]), CentreSize()
    for make in (
        lambda: SsdSharedHead(SPECS, 3, anchors=anchors, box_coder=coder),
        lambda: SsdHead(SPECS, 3, anchors=anchors, box_coder=coder, predictors=["conv3x3"]),
    ):
        with pytest.raises(RecipeError) as error:
            make()
        assert str(error.value) == (
            "anchors: sizes are given for 3 maps, but the head gets 2: s8, s16. "
            "Write one list for each map, finest first."
        )
