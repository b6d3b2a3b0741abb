"""EfficientNet-Lite0 with TensorFlow's weights: their own arithmetic by hand, and photographs of known classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import functional as TF

from detzoo.components.backbones.efficientnet import EfficientNetLite0
from detzoo.components.backbones.padding import Padding
from detzoo.weights.backbone import load_backbone_weights
from detzoo.weights.sources import read_state_dict

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
STRIDED = (1, 3, 5, 11)  # blocks with stride 2
CATS: Final = range(281, 286)
DOGS: Final = range(151, 269)
BIRDS: Final = (*range(7, 25), *range(80, 101), *range(127, 147))
CLASSES: Final[dict[str, tuple[int, ...]]] = {
    "airplane": (404, 895), "banana": (954,), "bear": (294, 295, 296, 297), "bicycle": (444, 671), "bird": BIRDS,
    "broccoli": (937,), "bus": (654, 779, 874), "cat": tuple(CATS), "clock": (409, 530, 826, 892), "cow": (345,),
    "dog": tuple(DOGS), "elephant": (101, 385, 386), "horse": (339,), "hot dog": (934,), "keyboard": (508,),
    "laptop": (620, 681), "microwave": (651,), "motorcycle": (665, 670), "mouse": (673,), "orange": (950,),
    "parking meter": (704,), "pizza": (963,), "refrigerator": (760,), "remote": (761,), "sheep": (348, 349),
    "stop sign": (919,), "teddy bear": (850,), "tennis racket": (752,), "toaster": (859,), "toilet": (861,),
    "traffic light": (920,), "train": (466, 547, 705, 820, 829, 866), "umbrella": (879,), "vase": (883,),
    "zebra": (340,),
}  # fmt: skip
"""Classes of COCO that ImageNet has too, and ImageNet's numbers for them."""


@pytest.fixture(scope="module")
def file(shared: Path) -> Path:
    return shared / "weights" / "efficientnet_lite0-imagenet" / "efficientnet-lite0-57934424.pth"


def loaded(file: Path, padding: Padding = "keras") -> EfficientNetLite0:
    backbone = EfficientNetLite0(levels=("s32",), padding=padding, last_conv=True).eval()
    weights = load_backbone_weights(backbone, file, sha256=SHA256)
    assert weights.dropped == ("classifier.1.weight", "classifier.1.bias")
    assert weights.loaded == 294
    return backbone


def answers(backbone: EfficientNetLite0, file: Path, pixels: Tensor) -> Tensor:
    """Logits [B,1000] of uint8 images [B,3,224,224]."""
    head = read_state_dict(file)
    with torch.no_grad():
        pooled = torch.cat([backbone((part - 127.0) / 128.0)["s32"].mean((2, 3)) for part in torch.split(pixels, 16)])
        return F.linear(pooled, head["_fc.weight"], head["_fc.bias"])


def by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network by the file's own names: TensorFlow's padding, batch norm of eps 1e-3, ReLU6, no excitation."""

    def layer(x: Tensor, conv: str, norm: str, stride: int = 1, relu: bool = True) -> Tensor:
        weight = state[f"{conv}.weight"]
        kernel = weight.shape[2]
        total = max((-(-x.shape[2] // stride) - 1) * stride + kernel - x.shape[2], 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-3) ** 0.5
        x = (x - state[f"{norm}.running_mean"][:, None, None]) * scale[:, None, None]
        x = x + state[f"{norm}.bias"][:, None, None]
        return x.clamp(0, 6) if relu else x

    x = layer(x, "_conv_stem", "_bn0", 2)
    for number in range(16):
        block, kept = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in state:
            x = layer(x, f"{block}._expand_conv", f"{block}._bn0")
        x = layer(x, f"{block}._depthwise_conv", f"{block}._bn1", 2 if number in STRIDED else 1)
        x = layer(x, f"{block}._project_conv", f"{block}._bn2", relu=False)
        if x.shape == kept.shape:
            x = x + kept
    return layer(x, "_conv_head", "_bn1")


def test_the_deepest_map_equals_the_files_arithmetic(file: Path) -> None:
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        found = loaded(file)(pixels)["s32"]
    expected = by_hand(read_state_dict(file), pixels)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_photographs_of_known_classes(file: Path, shared: Path) -> None:
    known = {"cat_720p.jpg": CATS, "parrot.jpg": (88,), "hot_dog.jpg": (934,), "pets.jpg": DOGS}
    photos = []
    for name in known:
        with Image.open(shared / "data" / "demo" / "coral" / name) as image:
            photos.append(TF.pil_to_tensor(TF.center_crop(TF.resize(image.convert("RGB"), 256), 224)))
    best = answers(loaded(file), file, torch.stack(photos)).argmax(1).tolist()
    assert [number in known[name] for name, number in zip(known, best, strict=True)] == [True] * 4


def test_a_shallower_network_leaves_out_deeper_layers(file: Path) -> None:
    backbone = EfficientNetLite0(levels=("s8",))
    weights = load_backbone_weights(backbone, file)
    assert "features.4.0.block.0.0.weight" in weights.dropped
    assert len(weights.dropped) + weights.loaded == 296
    state = read_state_dict(file)
    pairs = {"features.1.0.block.0.0": "_blocks.0._depthwise_conv", "features.3.1.block.3.1": "_blocks.4._bn2"}
    for ours, theirs in pairs.items():
        assert torch.equal(backbone.get_parameter(f"body.{ours}.weight"), state[f"{theirs}.weight"])


def crops(shared: Path) -> Iterator[tuple[str, Tensor]]:
    """Class and square crop, uint8 [3,224,224], of each object of 64 px or more."""
    root = shared / "data" / "coco128"
    names = yaml.safe_load((root / "object_detection" / "config.yaml").read_text(encoding="utf-8"))["names"]
    for path in sorted((root / "object_detection" / "labels").glob("*/*.txt")):
        photo = root / "images" / path.parent.name / f"{path.stem}.jpg"
        if not photo.is_file():
            continue
        with Image.open(photo) as opened:
            image = opened.convert("RGB")
        for line in path.read_text(encoding="utf-8").splitlines():
            number, *box = line.split()[:5]
            name = names[int(number)]
            x, y, w, h = (float(v) * s for v, s in zip(box, image.size * 2, strict=True))
            if name in CLASSES and min(w, h) >= 64:
                half = max(w, h) * 0.55
                area = (max(0, x - half), max(0, y - half), min(image.width, x + half), min(image.height, y + half))
                crop = image.crop(tuple(int(v) for v in area)).resize((224, 224), Image.Resampling.BICUBIC)  # type: ignore[arg-type]
                yield name, TF.pil_to_tensor(crop)


@pytest.mark.slow
def test_tensorflows_padding_names_more_objects_of_coco_rightly(file: Path, shared: Path) -> None:
    names, pixels = zip(*crops(shared), strict=True)
    assert len(names) == 198
    right = {}
    paddings: tuple[Padding, ...] = ("keras", "torch")
    for padding in paddings:
        five = answers(loaded(file, padding), file, torch.stack(pixels)).topk(5).indices.tolist()
        hits = [[number in CLASSES[name] for number in found] for found, name in zip(five, names, strict=True)]
        right[padding] = (sum(hit[0] for hit in hits), sum(any(hit) for hit in hits))
    assert right == {"keras": (124, 171), "torch": (118, 160)}
