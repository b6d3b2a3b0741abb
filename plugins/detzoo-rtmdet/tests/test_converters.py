"""mmdetection's names, written by rules of the test's own, come back as detzoo's; what does not fit is rejected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from detzoo.builder import build
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.weights.backbone import load_backbone_weights
from detzoo.weights.detector import convert_weights

BLOCKS = (
    (r"\.main\.", ".main_conv."),
    (r"\.short\.", ".short_conv."),
    (r"stage4\.1\.reduce\.", "stage4.1.conv1."),
    (r"stage4\.1\.merge\.", "stage4.1.conv2."),
    (r"\.merge\.", ".final_conv."),
    (r"\.first\.", ".conv1."),
    (r"\.second\.0\.", ".conv2.depthwise_conv."),
    (r"\.second\.1\.", ".conv2.pointwise_conv."),
    (r"\.0\.weight$", ".conv.weight"),
    (r"\.1\.(weight|bias|running_mean|running_var|num_batches_tracked)$", r".bn.\1"),
)
NECK = {"reductions": "reduce_layers", "top_down": "top_down_blocks", "downsamplings": "downsamples"}
NECK |= {"bottom_up": "bottom_up_blocks", "outputs": "out_convs"}


def theirs(key: str) -> list[str]:
    """mmdetection's names of one of our tensors: three for a convolution that three levels share."""
    part, rest = key.split(".", 1)
    if part == "head":
        rest = rest.replace("classification.", "rtm_cls.").replace("regression.", "rtm_reg.")
        rest = rest.replace("class_branch.", "cls_convs.").replace("box_branch.", "reg_convs.")
        if shared := re.fullmatch(r"(\w+)\.convs\.(\d)\.weight", rest):
            return [f"bbox_head.{shared[1]}.{level}.{shared[2]}.conv.weight" for level in range(3)]
        return ["bbox_head." + re.sub(r"norms\.(\d)\.(\d)\.0\.", r"\1.\2.bn.", rest)]
    for pattern, replacement in BLOCKS:
        rest = re.sub(pattern, replacement, rest)
    if part == "backbone":
        return [f"backbone.{rest.removeprefix('body.')}"]
    name, row, inner = rest.split(".", 2)
    order = str(1 - int(row)) if name in ("reductions", "top_down") else row  # theirs go from coarse to fine
    return [f"neck.{NECK[name]}.{order}.{inner}"]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return build("rtmdet_tiny_coco", weights=None)


@pytest.fixture
def file(detector: Detector) -> dict[str, Tensor]:
    return {name: value.clone() for key, value in detector.state_dict().items() for name in theirs(key)}


def test_names_that_mmdetection_writes(file: dict[str, Tensor]) -> None:
    """Read off the state dict of mmdetection 3.3's rtmdet_tiny_8xb32-300e_coco, as is their number."""
    assert {
        "backbone.stem.0.conv.weight",
        "backbone.stage1.1.blocks.0.conv2.depthwise_conv.conv.weight",
        "backbone.stage2.1.attention.fc.bias",
        "backbone.stage4.1.conv2.bn.running_var",
        "backbone.stage4.2.final_conv.bn.num_batches_tracked",
        "neck.reduce_layers.0.conv.weight",
        "neck.top_down_blocks.1.blocks.0.conv1.bn.bias",
        "neck.out_convs.2.bn.running_mean",
        "bbox_head.cls_convs.2.1.conv.weight",
        "bbox_head.reg_convs.1.0.bn.weight",
        "bbox_head.rtm_reg.0.bias",
    } <= file.keys()
    assert len(file) == 476


def test_every_tensor_comes_back(detector: Detector, file: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "published.pth"
    torch.save({"meta": {"epoch": 300, "dataset_meta": {"classes": ("person",)}}, "state_dict": file}, path)
    own = build("rtmdet_tiny_coco", weights=None)
    convert_weights(own, path, source="mmdet")
    for key, value in own.state_dict().items():
        assert torch.equal(value, detector.state_dict()[key]), key


def test_what_does_not_fit_is_named(detector: Detector, file: dict[str, Tensor]) -> None:
    for change, message in (
        ({"bbox_head.rtm_obj.0.weight": torch.zeros(1)}, r"no rule.*rtm_obj"),
        ({"bbox_head.cls_convs.1.0.conv.weight": file["bbox_head.cls_convs.1.0.conv.weight"] + 1}, "share_conv"),
    ):
        with pytest.raises(WeightsError, match=message):
            convert_weights(detector, file | change, source="mmdet")
    del file["neck.out_convs.0.conv.weight"]
    with pytest.raises(WeightsError, match=r"lacks.*neck\.outputs\.0"):
        convert_weights(detector, file, source="mmdet")


def test_another_size_is_rejected(file: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="same architecture"):
        convert_weights(build("rtmdet_s_coco", weights=None), file, source="mmdet")


def test_a_classifier_of_openmmlab_starts_the_backbone(file: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "imagenet.pth"
    theirs = {key: value + 1 for key, value in file.items() if key.startswith("backbone.")}
    torch.save({"state_dict": theirs | {"head.fc.weight": torch.zeros(1000, 384)}}, path)
    detector = build("rtmdet_tiny_coco", weights=None)
    found = load_backbone_weights(detector.get_submodule("backbone"), path)  # type: ignore[arg-type]
    assert (found.loaded, found.dropped) == (len(theirs), ("head.fc.weight",))
    own = detector.state_dict()
    assert torch.equal(own["backbone.body.stem.0.0.weight"], theirs["backbone.stem.0.conv.weight"])
    assert torch.equal(
        own["backbone.body.stage4.1.merge.1.running_var"], theirs["backbone.stage4.1.conv2.bn.running_var"]
    )


class Stranger:
    """What some checkpoints of mmengine hold beside their tensors."""


def test_a_checkpoint_that_would_run_code_is_rejected_with_a_message(
    detector: Detector, file: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "whole.pth"
    torch.save({"state_dict": file, "message_hub": Stranger()}, path)
    with pytest.raises(WeightsError, match=r"whole\.pth.*run code"):
        convert_weights(detector, path, source="mmdet")
