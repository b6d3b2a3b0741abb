"""Nothing to find, everything at once, and images of every size, for DETR and Deformable DETR."""

from __future__ import annotations

import pytest
import torch

from detzoo.builder import build
from detzoo.interfaces import Detector
from detzoo.testing.awkward_inputs import IMAGE_SIZES, SCENES, SIZE, check_boxes_inside, finite_losses

SMALL = {"width": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 2, "feedforward": 48, "dropout": 0.0}
RECIPES = {
    "detr": "detr_resnet50_coco",
    "plain": "deformable_detr_resnet50_coco",
    "two_stage": "deformable_detr_resnet50_coco_two_stage",
}


@pytest.fixture(scope="module", params=RECIPES)
def detector(request: pytest.FixtureRequest) -> Detector:
    torch.manual_seed(0)
    recipe = RECIPES[request.param]
    given = {"size": list(SIZE), "resize": "letterbox", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    levels = ["s32"] if request.param == "detr" else ["s8", "s16", "s32"]
    backbone = {"type": "resnet18", "levels": levels, "weights": None}
    changes = {"backbone": backbone, "head.transformer": SMALL, "head.queries": 30}
    changes |= {f"input.{key}": value for key, value in given.items()}
    changes |= {"input.min_size": None, "input.max_size": None, "input.short_side": "scaled"}
    return build(recipe, num_classes=3, weights=None, overrides=changes)


@pytest.mark.parametrize("scene", SCENES)
def test_losses_and_gradients_are_finite(detector: Detector, scene: str) -> None:
    terms = finite_losses(detector, scene)
    assert terms["classification"] > 0
    has_objects = scene not in ("no object at all", "a box without area")
    assert (terms["distance"] > 0) == has_objects
    assert ("encoder.classification" in terms) == (
        "proposals.output.weight" in dict(detector.get_submodule("head").named_parameters())
    )


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_images_of_every_size(detector: Detector, size: tuple[int, int]) -> None:
    check_boxes_inside(detector, size)


def test_proposals_are_charged_as_objects_whatever_their_class(detector: Detector) -> None:
    """The labels of ground truth change the terms of the decoder alone."""
    from detzoo.testing import image_batch, targets

    boxes = [[(10.0, 10.0, 60.0, 50.0)], [(20.0, 20.0, 70.0, 60.0)]]
    batch = image_batch(2, size=SIZE)
    detector.eval()
    with torch.no_grad():
        one, other = (detector.losses(batch, targets(boxes, [[k], [k]], size=SIZE)) for k in (0, 2))
    assert one["classification"] != other["classification"]
    for name in (name for name in one if name.startswith("encoder.")):
        assert one[name] == other[name]
