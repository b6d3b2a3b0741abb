"""torchvision's state dicts: every key is accounted for, a wrong one is named, and the right plugin answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from detzoo import build, convert_weights
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo_faster_rcnn.converters import from_torchvision

PARAMETERS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": 19_410_754,
    "fasterrcnn_mobilenet_v3_large_fpn": 19_410_754,
    "fasterrcnn_resnet50_fpn": 41_808_406,
    "fasterrcnn_resnet50_fpn_v2": 43_712_278,  # torchvision's Weights.meta
    "maskrcnn_resnet50_fpn": 44_454_513,
    "maskrcnn_resnet50_fpn_v2": 46_359_409,  # torchvision's Weights.meta
}
PUBLISHED = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": 19_386_354,
    "fasterrcnn_mobilenet_v3_large_fpn": 19_386_354,
    "fasterrcnn_resnet50_fpn": 41_755_286,
    "fasterrcnn_resnet50_fpn_v2": 43_712_278,
    "maskrcnn_resnet50_fpn": 44_401_393,
    "maskrcnn_resnet50_fpn_v2": 46_359_409,
}
"""Weights.meta: without the affine part of frozen norms, which is no parameter there."""
BACKGROUND_BOX = 4 * 1024 + 4
BACKGROUND_MASK = 256 + 1


def torchvision_model(name: str) -> Any:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, weights_backbone=None)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_is_accounted_for(name: str) -> None:
    """All that is missing is background's box and mask; every other tensor arrives bit by bit."""
    dropped = BACKGROUND_BOX + (BACKGROUND_MASK if "mask" in name else 0)
    with torch.device("meta"):  # any numbers do, and torchvision's take seconds
        model = torchvision_model(name)
    model.to_empty(device="cpu")
    for value in model.state_dict().values():
        value.random_(1, 100)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    with torch.device("meta"):  # their shapes alone
        published = build(name, weights=None)
        live = build(name, weights=None, overrides={"backbone.norm": "batch", "backbone.norm_eps": 1e-5})
    assert sum(p.numel() for p in published.parameters()) == PUBLISHED[name] - dropped
    assert sum(p.numel() for p in live.parameters()) == PARAMETERS[name] - dropped
    renamed = from_torchvision(model.state_dict(), live)
    assert renamed.keys() == live.state_dict().keys()
    assert len(renamed) == len(model.state_dict())
    assert {key: value.shape for key, value in renamed.items()} == {k: v.shape for k, v in live.state_dict().items()}
    assert total(renamed.values()) == pytest.approx(total(model.state_dict().values()) - background(model), rel=1e-9)


def total(values: Any) -> float:
    return float(sum(value.double().abs().sum() for value in values))


def background(model: Any) -> float:
    heads = model.roi_heads
    rows = [p[:4] for p in heads.box_predictor.bbox_pred.parameters()]
    if heads.mask_predictor is not None:
        rows += [p[:1] for p in heads.mask_predictor.mask_fcn_logits.parameters()]
    return total(row.detach() for row in rows)


def with_old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names before torchvision 0.13, as in the published files of fasterrcnn_ and maskrcnn_resnet50_fpn."""
    old = {}
    for key, value in state.items():
        new = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for block in ("inner_blocks", "layer_blocks"):
            for level in range(4):
                new = new.replace(f"{block}.{level}.0.", f"{block}.{level}.")
        for layer in range(4):
            new = new.replace(f"mask_head.{layer}.0.", f"mask_head.mask_fcn{layer + 1}.")
        old[new] = value
    return old


@pytest.fixture(scope="module")
def mask_state() -> dict[str, Tensor]:
    state: dict[str, Tensor] = torchvision_model("maskrcnn_resnet50_fpn").state_dict()
    return state


@pytest.fixture(scope="module")
def mask_detector() -> Detector:
    return build("maskrcnn_resnet50_fpn", weights=None)


def test_names_of_the_published_files_convert(mask_state: dict[str, Tensor], mask_detector: Detector) -> None:
    old = with_old_names(mask_state)
    assert "rpn.head.conv.weight" in old
    assert "backbone.fpn.inner_blocks.3.bias" in old
    assert "roi_heads.mask_head.mask_fcn4.weight" in old
    frozen = {key: value for key, value in old.items() if not key.endswith("num_batches_tracked")}
    assert len(frozen) == 307
    converted, expected = from_torchvision(frozen, mask_detector), from_torchvision(mask_state, mask_detector)
    assert converted.keys() == expected.keys()
    assert all(torch.equal(converted[k], expected[k]) for k in converted if not k.endswith("running_var"))


def test_names_of_every_part(mask_state: dict[str, Tensor], mask_detector: Detector) -> None:
    renamed = from_torchvision(mask_state, mask_detector)
    pairs = {
        "backbone.body.conv1.weight": "backbone.body.conv1.weight",
        "backbone.body.layer4.2.bn3.running_mean": "backbone.body.layer4.2.bn3.running_mean",
        "backbone.fpn.inner_blocks.3.0.bias": "neck.inner_blocks.3.0.bias",
        "backbone.fpn.layer_blocks.0.0.weight": "neck.layer_blocks.0.0.weight",
        "rpn.head.conv.0.0.weight": "proposals.head.conv.0.0.weight",
        "rpn.head.cls_logits.bias": "proposals.head.classification.bias",
        "rpn.head.bbox_pred.weight": "proposals.head.regression.weight",
        "roi_heads.box_head.fc7.weight": "box.head.fc.1.weight",
        "roi_heads.box_predictor.cls_score.weight": "box.head.predictor.classification.weight",
        "roi_heads.mask_head.3.0.weight": "mask.head.conv.3.0.weight",
        "roi_heads.mask_predictor.conv5_mask.bias": "mask.head.upsample.bias",
    }
    for their, our in pairs.items():
        assert torch.equal(mask_state[their], renamed[our]), their
    box, mask = "roi_heads.box_predictor.bbox_pred.weight", "roi_heads.mask_predictor.mask_fcn_logits.bias"
    assert torch.equal(renamed["box.head.predictor.regression.weight"], mask_state[box][4:])
    assert torch.equal(renamed["mask.head.classification.bias"], mask_state[mask][1:])


def test_trainable_norms_become_frozen_ones_that_compute_the_same(
    mask_state: dict[str, Tensor], mask_detector: Detector
) -> None:
    """The recipe's frozen norms have eps 0, the state dict's had 1e-5: the variance takes up the difference."""
    state = dict(mask_state)
    torch.manual_seed(1)
    norm = "backbone.body.bn1"
    for key in ("running_mean", "running_var", "weight"):
        state[f"{norm}.{key}"] = torch.rand(64) * 1e-4
    renamed = from_torchvision(state, mask_detector)
    assert torch.equal(renamed[f"{norm}.running_var"], state[f"{norm}.running_var"] + 1e-5)
    theirs = torch.nn.BatchNorm2d(64).eval()
    theirs.load_state_dict({k.removeprefix(f"{norm}."): v for k, v in state.items() if k.startswith(f"{norm}.")})
    ours = mask_detector.get_submodule(norm)
    before = ours.state_dict()
    ours.load_state_dict({k.removeprefix(f"{norm}."): v for k, v in renamed.items() if k.startswith(f"{norm}.")})
    x = torch.randn(1, 64, 3, 3) * 1e-2
    torch.testing.assert_close(ours(x), theirs(x), atol=0, rtol=1e-5)
    ours.load_state_dict(before)


def test_keys_without_a_rule_are_named(mask_state: dict[str, Tensor], mask_detector: Detector) -> None:
    with pytest.raises(WeightsError) as error:
        from_torchvision(mask_state | {"roi_heads.keypoint_head.0.weight": torch.zeros(1)}, mask_detector)
    assert str(error.value) == (
        "The torchvision state dict has keys that no rule of the converter knows: roi_heads.keypoint_head.0.weight. "
        "Is it of the same architecture and number of classes as the recipe?"
    )


def test_missing_tensors_are_named(mask_state: dict[str, Tensor], mask_detector: Detector) -> None:
    state = {key: value for key, value in mask_state.items() if "mask_predictor" not in key}
    with pytest.raises(WeightsError) as error:
        from_torchvision(state, mask_detector)
    assert str(error.value) == (
        "The torchvision state dict lacks tensors that this detector needs: mask.head.classification.bias, "
        "mask.head.classification.weight, mask.head.upsample.bias, mask.head.upsample.weight. Is it of the same "
        "architecture and number of classes as the recipe?"
    )


def test_weights_with_masks_are_refused_by_a_detector_without(mask_state: dict[str, Tensor]) -> None:
    detector = build("fasterrcnn_resnet50_fpn", weights=None)
    with pytest.raises(WeightsError, match=r"gives tensors that this detector does not have: mask\.head\.classif"):
        convert_weights(detector, mask_state, source="torchvision")


def test_another_number_of_classes_is_refused(mask_state: dict[str, Tensor]) -> None:
    detector = build("maskrcnn_resnet50_fpn", num_classes=3, weights=None)
    with pytest.raises(WeightsError, match=r"regression\.weight \(360, 1024\) instead of \(12, 1024\)"):
        convert_weights(detector, mask_state, source="torchvision")


def test_a_model_of_ones_own_classes_converts() -> None:
    model = torchvision.models.get_model(
        "fasterrcnn_mobilenet_v3_large_320_fpn", weights=None, weights_backbone=None, num_classes=4
    )
    detector = build("fasterrcnn_mobilenet_v3_large_320_fpn", classes=["a", "b", "c"], weights=None)
    convert_weights(detector, model.state_dict(), source="torchvision")
    predictor = detector.state_dict()["box.head.predictor.classification.weight"]
    assert torch.equal(predictor, model.roi_heads.box_predictor.cls_score.weight)


OWN = """\
api: 1
detectors:
  mine:
    extends: fasterrcnn_mobilenet_v3_large_320_fpn
    input: {min_size: 200, max_size: 300}
    box: {postprocess: {suppress: {type: soft_nms, sigma: 0.5}}}
  theirs:
    extends: ssdlite320_mobilenet_v3_large
    postprocess: {keep: 10}
"""


@pytest.mark.parametrize(
    ("recipe", "builder"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"),
        ("mine", "fasterrcnn_mobilenet_v3_large_320_fpn"),
        ("theirs", "ssdlite320_mobilenet_v3_large"),
        ("ssdlite320_mobilenet_v3_large", "ssdlite320_mobilenet_v3_large"),
    ],
)
def test_of_two_plugins_that_know_torchvision_the_right_one_answers(recipe: str, builder: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    target = f"{tmp_path / 'own.yaml'}#{recipe}" if recipe in ("mine", "theirs") else recipe
    detector = build(target, weights=None)
    state = torchvision_model(builder).state_dict()
    convert_weights(detector, state, source="torchvision")
    ours = {value.double().sum().item() for value in detector.state_dict().values()}
    theirs = {value.double().sum().item() for key, value in state.items() if "bbox_pred" not in key}
    assert theirs <= ours


def test_a_detector_that_no_plugin_converts_is_named() -> None:
    detector = build("fasterrcnn_mobilenet_v3_large_320_fpn", weights=None)
    with pytest.raises(WeightsError) as error:
        convert_weights(detector, {}, source="tutorial")
    assert str(error.value) == (
        'fasterrcnn_mobilenet_v3_large_320_fpn: no converter turns weights of source "tutorial" into this detector; '
        "they are for ssd300_vgg16_tutorial and recipes that extend it"
    )


def test_an_unknown_source_is_refused() -> None:
    detector = build("fasterrcnn_mobilenet_v3_large_320_fpn", weights=None)
    with pytest.raises(WeightsError, match=r'source of weights "detectron"; allowed: .*svd, .*torchvision'):
        convert_weights(detector, {}, source="detectron")
