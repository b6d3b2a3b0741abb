"""Small valid images, weights, checkpoints, results, recipes, manifests and cfgs: what the mutations start from."""

from __future__ import annotations

import io
import json
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from safetensors.torch import save

from detzoo import build
from detzoo.recipes.merge import keys_in
from detzoo.recipes.recipe import load_recipe
from detzoo.schema.yaml_source import Key, show_key
from detzoo.weights.checkpoint import Checkpoint, save_checkpoint
from tests.campaign.mutations import Files
from tests.campaign.valid_datasets import coco, encoded

TINY: Final = """\
api: 1
detectors:
  tiny:
    extends: ssd_mobilenet_v2_fpn
    num_classes: 2
    classes: [cat, dog]
    input: {size: [32, 64], resize: stretch, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
    backbone: {type: darknet, norm_momentum: 0.1, layers: [conv 8 3/2, conv 8 3/2, conv 8 3/2 -> s8, conv 8 3/2 -> s16]}
    neck: {type: fpn, channels: 8}
    head: {anchors: {sizes: [[14, 20], [28, 40]], ratios: [[2], [2]]}}
    matcher: {type: max_iou, positive_threshold: 0.5, negative_threshold: 0.4}
    loss: {box: {type: giou}}
    postprocess: {score_threshold: 0.05, keep: 20}
    train: {epochs: 3, batch: 2, optimizer: {lr: 0.01}, transforms: [{type: flip, p: 0.5}]}
"""
SETS: Final = (
    "num_classes=3", "classes=[a, b]", "lr=0.1", "train.epochs=2", "neck.channels=16", "head.anchors.sizes[0][1]=9",
    "loss.box.type=smooth_l1", "input.size=[64, 64]", "backbone={type: resnet18, levels: [c3, c4]}",
    "neck={type: identity}", "postprocess.suppress.iou=0.6", "matcher={type: atss}", "train.optimizer.name=sgd",
    "head.anchors.ratios=[[1]]",
    "head.norm=batch", "backbone.weights=null", "train.transforms=[]", "train.transforms[0].type=flip",
)  # fmt: skip
CFG: Final = """\
[net]
width=64
height=64
channels=3
learning_rate=.001
burn_in=100
max_batches=500
policy=steps
steps=400
scales=.1

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=8
size=1
stride=1
pad=1
groups=2
activation=linear

[shortcut]
from=-2
activation=linear

[maxpool]
size=2
stride=2

[route]
layers=-1,-2

[upsample]
stride=2

[convolutional]
filters=14
size=1
stride=1
pad=1
activation=linear

[yolo]
mask=0,1
anchors=10,14, 23,27, 37,58, 81,82
classes=2
num=4
jitter=.3
ignore_thresh=.7
truth_thresh=1
random=1
"""
MANIFEST: Final = """\
api: 1
kinds: [{kind: gadget, interface: "zoo_x.components:Gadget"}]
components: ["zoo_x.components:Neck"]
converters: [{source: elsewhere, detectors: [mine]}]
hooks: [detzoo_register]
elsewhere: {neck/other: zoo-other}
detectors:
  mine: {extends: ssd_mobilenet_v2_fpn, summary: of a test, neck: {type: x/plain, width: 3}}
"""
SCHEMAS: Final[dict[str, Any]] = {
    "zoo_x.components:Neck": {
        "kind": "neck",
        "name": "plain",
        "summary": "of a test",
        "supplies": ["features"],
        "fields": {"width": {"type": {"is": "int"}, "default": 2}, "depth": {"type": {"is": "null"}, "default": None}},
        "gives": [],
        "needs": [],
    }
}


def images() -> list[Files]:
    """One image a set, in every format and pixel type that is read."""
    forms: list[tuple[str, str, str, dict[str, Any]]] = [
        ("png", "PNG", "RGB", {}), ("png", "PNG", "P", {}), ("png", "PNG", "I;16", {}), ("png", "PNG", "LA", {}),
        ("png", "PNG", "1", {}), ("jpg", "JPEG", "RGB", {}), ("jpg", "JPEG", "CMYK", {}), ("jpg", "JPEG", "L", {}),
        ("jpg", "JPEG", "RGB", {"progressive": True}), ("gif", "GIF", "RGB", {}), ("bmp", "BMP", "RGB", {}),
        ("tif", "TIFF", "RGB", {"compression": "tiff_lzw"}), ("tif", "TIFF", "I;16", {}), ("tif", "TIFF", "CMYK", {}),
        ("webp", "WEBP", "RGBA", {}), ("ppm", "PPM", "RGB", {}), ("jp2", "JPEG2000", "RGB", {}),
    ]  # fmt: skip
    sets = [{f"x.{ending}": encoded(form, 24, 17, mode, **options)} for ending, form, mode, options in forms]
    turned = Image.Exif()
    turned[0x0112] = 6
    return [*sets, {"x.jpg": encoded("JPEG", 24, 17, exif=turned.tobytes())}]


@cache
def leaves() -> list[tuple[str, Any]]:
    """Every path of the recipe with its defaults filled in, and the value there."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "tiny.yaml"
        recipe.write_text(TINY)
        values = load_recipe(recipe).values
    return [(show_key(key), _at(values, key)) for key in keys_in(values)]


def _at(value: Any, key: Key) -> Any:
    for part in key:
        value = value[part]
    return value


@cache
def tiny_checkpoint() -> bytes:
    """Of a detector small enough to build in a blink."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "tiny.yaml"
        recipe.write_text(TINY)
        detector = build(recipe, weights=None)
        path = Path(folder) / "x.safetensors"
        values = {"name": "tiny", "values": detector.recipe.values}
        save_checkpoint(path, Checkpoint(values, detector.classes, detector.state_dict(), run={"state": {"step": 1}}))
        return path.read_bytes()


def weights() -> list[Files]:
    """State dicts: safetensors, torch's own format plain and wrapped, and darknet's numbers."""
    state = small_network().state_dict()
    files: list[Files] = [{"x.safetensors": save(state, metadata={"format": "pt"})}]
    for content in (state, {"state_dict": state, "epoch": 3}, {"a.weight": state["0.weight"].half()}):
        stream = io.BytesIO()
        torch.save(content, stream)
        files.append({"x.pth": stream.getvalue()})
    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    return [*files, {"x.pth": stream.getvalue()}]


def small_network() -> torch.nn.Module:
    """A convolution and a norm."""
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def darknet_weights() -> list[Files]:
    """Version, images seen, and numbers."""
    return [{"x.weights": struct.pack("<iiiq30f", 0, 2, 0, 6400, *range(30))}]


def results() -> list[Files]:
    """Result files of the COCO set: with numbers, with file names, with masks."""
    truth = coco(outlines=True)
    rows = [
        {"image_id": one["image_id"], "category_id": one["category_id"], "bbox": one["bbox"], "score": 0.9 - i / 20}
        for i, one in enumerate(truth["annotations"])
    ]
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    masks = [row | {"segmentation": one["segmentation"]} for row, one in zip(rows, truth["annotations"], strict=True)]
    forms = (rows, [row | {"image_id": names[row["image_id"]]} for row in rows], masks)
    own = {"truth.json": json.dumps(truth, indent=1).encode(), "names.json": b'{"1": "cat", "2": "dog"}'}
    own |= {f"{name}.png": b"" for name in ("a", "b", "c")}
    return [{"detections.json": json.dumps(form, indent=1).encode()} | own for form in forms]


def manifests() -> list[Files]:
    """A plugin's package."""
    schemas = json.dumps(SCHEMAS, indent=1).encode()
    code = {"zoo_x/__init__.py": b"", "zoo_x/plugin.py": b"", "zoo_x/components.py": b""}
    return [{"zoo_x/registry.yaml": MANIFEST.encode(), "zoo_x/schemas.json": schemas} | code]
