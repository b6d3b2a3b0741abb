"""The two ImageNet networks at hand, on top of our backbones, answer as their reference_top5.json says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import functional as TF

from detzoo.components.backbones.mobilenet import MobileNetV2
from detzoo.components.backbones.squeezenet import SqueezeNet11
from detzoo.interfaces import Backbone
from detzoo.weights.backbone import load_backbone_weights
from detzoo.weights.normalisation import IMAGENET
from detzoo.weights.sources import read_state_dict

MOBILENET_SHA256 = "ef3efe4d14bc346e25d54973ff6d8c3385273aeb12257f268827912ed417d6b5"
SQUEEZENET_SHA256 = "eee86bb85d185d7694e118343670f5bb464706fb50e0ff57f46845e831f6b4eb"


def photograph(path: Path) -> Any:
    """[1,3,224,224]: short side 256 bilinear, centre crop, ImageNet mean and std."""
    with Image.open(path) as image:
        photo = TF.center_crop(TF.resize(image.convert("RGB"), 256), 224)
    expects = IMAGENET
    return TF.normalize(TF.to_tensor(photo), expects.mean, expects.std)[None]


def check(logits: dict[str, Tensor], reference: dict[str, list[dict[str, Any]]], tolerance: float) -> None:
    assert len(reference) == 7
    for name, entries in reference.items():
        found = logits[name][0].topk(5)
        assert [int(i) for i in found.indices] == [e["index"] for e in entries], name
        for value, entry in zip(found.values, entries, strict=True):
            assert abs(float(value) - entry["logit"]) < tolerance, name


@pytest.mark.parametrize(
    ("padding", "entry"), [("torch", "torchvision (padding 1)"), ("keras", None)], ids=["torch", "keras"]
)
def test_mobilenet_v2_answers_with_both_paddings(shared: Path, padding: Any, entry: str | None) -> None:
    folder = shared / "weights" / "mobilenet_v2-imagenet"
    path = folder / "mobilenet_v2_tf2ptq_dequant.pth"
    backbone = MobileNetV2(levels=("s32",), padding=padding, last_conv=True).eval()
    loaded = load_backbone_weights(backbone, path, sha256=MOBILENET_SHA256)
    assert loaded.sha256 == MOBILENET_SHA256
    assert loaded.dropped == ("classifier.1.weight", "classifier.1.bias")
    golden = json.loads((folder / "reference_top5.json").read_text(encoding="utf-8"))
    other = next(k for k in golden if k != "torchvision (padding 1)")
    reference = golden[entry or other]
    head = read_state_dict(path)
    logits = {}
    with torch.no_grad():
        for name in reference:
            pooled = backbone(photograph(shared / "data" / "demo" / "coral" / name))["s32"].mean((2, 3))
            logits[name] = F.linear(pooled, head["classifier.1.weight"], head["classifier.1.bias"])
    check(logits, reference, 2e-3)


def test_squeezenet_answers_from_half_precision_weights(shared: Path) -> None:
    folder = shared / "weights" / "squeezenet1_1-imagenet"
    path = folder / "squeezenet1_1_fp16.pth"
    backbone: Backbone = SqueezeNet11(levels=("s16",)).eval()
    loaded = load_backbone_weights(backbone, path, sha256=SQUEEZENET_SHA256[:8])
    assert loaded.dropped == ("classifier.1.weight", "classifier.1.bias")
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    head = {k: v.float() for k, v in read_state_dict(path).items() if k.startswith("classifier.")}
    golden = json.loads((folder / "reference_top5.json").read_text(encoding="utf-8"))
    logits = {}
    with torch.no_grad():
        for name in golden:
            maps = backbone(photograph(shared / "data" / "demo" / "coral" / name))["s16"]
            scores = F.conv2d(maps, head["classifier.1.weight"], head["classifier.1.bias"]).relu()
            logits[name] = scores.mean((2, 3))
    check(logits, golden, 2e-3)
