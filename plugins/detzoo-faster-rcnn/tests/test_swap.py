"""RoIPool becomes RoIAlign, and VGG16 becomes ResNet with a pyramid, in YAML alone."""

from pathlib import Path

import pytest
import torch

import detzoo
from detzoo.components.backbones.resnet import ResNet50
from detzoo.components.backbones.vgg import Vgg16
from detzoo.components.necks.fpn import Fpn
from detzoo.components.necks.identity import Identity
from detzoo.components.roi_pools import RoiAlign, RoiMaxPool
from detzoo.types import ImageBatch

SWAPS = Path(__file__).parent / "swaps.yaml"
SMALL = {"box.head.fc": [16, 16], "box.head.pretrained": None, "proposals.postprocess.keep": 20}


def image() -> ImageBatch:
    torch.manual_seed(0)
    region, size = torch.tensor([[0.0, 0, 96, 64]]), torch.tensor([[64, 96]])
    return ImageBatch(torch.randn(1, 3, 64, 96), region, size, torch.ones(1, 2), torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize(
    ("target", "backbone", "neck", "pool"),
    [
        ("fasterrcnn_vgg16_voc", Vgg16, Identity, RoiMaxPool),
        (f"{SWAPS}#aligned", Vgg16, Identity, RoiAlign),
        (f"{SWAPS}#pyramid", ResNet50, Fpn, RoiAlign),
    ],
    ids=["as released", "RoIAlign", "ResNet-FPN"],
)
def test_swaps_from_yaml_alone(target: str, backbone: type, neck: type, pool: type) -> None:
    detector = detzoo.build(target, overrides={**SMALL, "box.postprocess.score_threshold": 0.0}, weights=None).eval()
    kinds = [type(detector.get_submodule(path)) for path in ("backbone", "neck", "box.head.roi_pool")]
    assert kinds == [backbone, neck, pool]
    with torch.no_grad():
        found = detector.detect(image())
    assert found.valid.any()
    boxes = found.boxes[found.valid]
    assert boxes.isfinite().all()
    assert (boxes[:, 0] >= 0).all()
    assert (boxes[:, 2] <= 96).all()
    assert (found.labels[found.valid] < 20).all()
