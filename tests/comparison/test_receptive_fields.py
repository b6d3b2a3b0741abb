"""What a cell sees: against sums on paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import detzoo
from detzoo.detectors.one_stage import OneStage
from detzoo.inspection.receptive_fields import receptive_fields, shown
from detzoo.interfaces import Backbone, Neck
from detzoo.types import Candidates, FeatureMaps, FeatureSpec, Predictions


class Stack(Backbone):
    """3x3, 2x2 maximum, dilated 3x3 of stride 2 (with a norm and a ReLU6 that would hide pixels), 1x5."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU6(), nn.MaxPool2d(2))
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2), nn.Conv2d(4, 4, (1, 5)))
        self.out = {"s2": FeatureSpec(4, 2), "s4": FeatureSpec(4, 4)}

    def forward(self, pixels: Tensor) -> FeatureMaps:
        first = self.first(pixels)
        return {"s2": first, "s4": self.second(first)}


class Same(Neck):
    def __init__(self, out: dict[str, FeatureSpec]) -> None:
        super().__init__()
        self.out = out

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        return features


class Nowhere(nn.Module):
    """In place of a head: not a candidate."""

    def forward(self, features: FeatureMaps, *_: object) -> tuple[Candidates, Predictions]:
        none = torch.zeros(1, 0, 4)
        return Candidates(none, none[..., 0] > 0), Predictions(none[..., :1], "sigmoid", none[:, :, None])


def looks(backbone: Backbone) -> OneStage:
    """A detector of which only backbone and neck matter."""
    detector = detzoo.build("ssd_ultralight_face_slim", weights=None)
    assert isinstance(detector, OneStage)
    detector.backbone, detector.neck = backbone, Same(backbone.out)
    detector.head = Nowhere()  # type: ignore[assignment]  # only candidates are asked of it
    return detector


def test_small_networks_by_hand() -> None:
    torch.manual_seed(0)
    fields = receptive_fields(looks(Stack()))
    # 3, and a maximum over two neighbours: 4. Then 4 px further at either side of a 3x3 of dilation 2 on stride 2:
    # 4 + 2 * 4 = 12; the five columns of the last layer stand 4 px apart: 12 + 4 * 4 = 28.
    assert [(f.level, f.stride, f.height, f.width) for f in fields] == [("s2", 2, 4, 4), ("s4", 4, 12, 28)]
    assert [f.line() for f in fields] == [
        "s2: stride 2, sees 4 x 4 px, no candidates of its own",
        "s4: stride 4, sees 12 x 28 px, no candidates of its own",
    ]


class Global(Stack):
    def forward(self, pixels: Tensor) -> FeatureMaps:
        maps = super().forward(pixels)
        return {"s2": maps["s2"] * pixels.mean(), "s4": maps["s4"]}


def test_a_mean_over_the_whole_image_sees_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detzoo.inspection.receptive_fields.LARGEST", 512)
    first = receptive_fields(looks(Global()))[0]
    assert (first.height, first.width) == (None, None)
    assert first.line() == "s2: stride 2, sees the whole side x the whole side px, no candidates of its own"


def test_a_recipe_has_its_candidates_beside_it() -> None:
    """Ultra-Light's own numbers: boxes of 10, 16, 24 px on the first map, in an image of 240 x 320 px."""
    lines = shown("ssd_ultralight_face_slim", []).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("s8: stride 8, sees ")
    assert lines[0].endswith("candidates 10..24 px")
