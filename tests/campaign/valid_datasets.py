"""Small valid datasets of each layout, in memory: what the mutations start from."""

from __future__ import annotations

import io
import json
from typing import Any, Final

import numpy as np
from PIL import Image

from tests.campaign.mutations import Files

SIDES: Final = {"a": (64, 48), "b": (40, 40), "c": (33, 50)}
"""Width and height of each image."""


def encoded(form: str, width: int, height: int, mode: str = "RGB", **options: Any) -> bytes:
    """An image file of noise."""
    noise = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _images(folder: str) -> Files:
    return {f"{folder}/{name}.png": encoded("PNG", *side) for name, side in SIDES.items()}


def _boxes(width: int, height: int) -> list[list[float]]:
    return [[2, 3, 20, 20], [width - 12, height - 11, 10.5, 9.25], [5, 6, 4, 8]]


def coco(*, outlines: bool = False) -> dict[str, Any]:
    """A COCO file; with outlines of each kind that the format has."""
    images, annotations = [], list[dict[str, Any]]()
    for number, (name, (width, height)) in enumerate(SIDES.items(), start=1):
        images.append({"id": number, "file_name": f"{name}.png", "width": width, "height": height})
        for box in _boxes(width, height):
            x, y, w, h = box
            one: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": 1 + len(annotations) % 2,
            }
            one |= {"bbox": box, "area": w * h, "iscrowd": 0}
            if outlines:
                runs = {"size": [height, width], "counts": [0, 5, width * height - 5]}
                corners = [[x, y, x + w, y, x + w, y + h, x, y + h]]
                one["segmentation"] = runs if len(annotations) % 3 == 2 else corners
            annotations.append(one)
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_sets() -> list[Files]:
    """COCO: a file and its images, with and without outlines, two splits, and LVIS's form."""
    sets: list[Files] = []
    for outlines in (False, True):
        text = json.dumps(coco(outlines=outlines), indent=1).encode()
        sets.append({"annotations/instances_train.json": text} | _images("train"))
    text = json.dumps(coco()).encode()
    both = {"annotations/instances_train.json": text, "annotations/instances_val.json": text}
    federated = {"lvis_v1_val.json": json.dumps(lvis(), indent=1).encode()} | _images("val2017")
    return [*sets, both | _images("train") | _images("val"), federated]


def lvis() -> dict[str, Any]:
    """An LVIS file: images by URL, and which classes were looked for in each."""
    content = coco(outlines=True)
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image.pop('file_name')}"
        image |= {"neg_category_ids": [image["id"] % 2 + 1], "not_exhaustive_category_ids": [1]}
    for category, frequency in zip(content["categories"], "rf", strict=True):
        category["frequency"] = frequency
    return content


def voc_sets() -> list[Files]:
    """VOC: lists of two splits, and annotations next to images without any."""
    files: Files = {}
    for name, (width, height) in SIDES.items():
        objects = "".join(
            f"<object><name>{'cat' if i % 2 else 'dog'}</name><pose>Unspecified</pose><truncated>0</truncated>"
            f"<difficult>{int(i == 2)}</difficult><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax>"
            f"<ymax>{y + h}</ymax></bndbox></object>\n"
            for i, (x, y, w, h) in enumerate(_boxes(width, height))
        )
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation><folder>VOC</folder><filename>{name}.png</filename>{size}\n{objects}</annotation>"
        files[f"Annotations/{name}.xml"] = text.encode()
    lists = {"ImageSets/Main/train.txt": b"a\nb\n", "ImageSets/Main/val.txt": b"c\n"}
    described = (
        b"format: voc\nclasses: [cat, dog]\ncoordinates: as_is\nsplits: {train: {set: train}, val: {set: val}}\n"
    )
    plain = {name.replace("Annotations", "x"): text for name, text in files.items()} | _images("x")
    whole = files | lists | _images("JPEGImages")
    return [whole, whole | {"data.yaml": described}, plain]


def yolo_sets() -> list[Files]:
    """YOLO: boxes, outlines, Ultralytics' data.yaml, lists of images, and a list of classes."""
    boxes: Files = {}
    outlines: Files = {}
    for name, (width, height) in SIDES.items():
        rows, polygons = [], []
        for i, (x, y, w, h) in enumerate(_boxes(width, height)):
            rows.append(
                f"{i % 2} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} {w / width:.6f} {h / height:.6f}"
            )
            corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
            polygons.append(f"{i % 2} " + " ".join(f"{a / width:.6f} {b / height:.6f}" for a, b in corners))
        boxes[f"labels/train/{name}.txt"] = "\n".join(rows).encode() + b"\n"
        outlines[f"labels/train/{name}.txt"] = "\n".join(polygons).encode() + b"\n"
    images = _images("images/train")
    names = {"classes.txt": b"cat\ndog\n"}
    yaml = {"data.yaml": b"path: .\ntrain: images/train\nval: images/train\nnc: 2\nnames:\n  0: cat\n  1: dog\n"}
    listed = {
        "data.yaml": b"train: train.txt\nval: [images/train]\nnames: [cat, dog]\n",
        "train.txt": b"./images/train/a.png\nimages/train/b.png\n",
    }
    return [boxes | images | yaml, outlines | images | yaml, boxes | images | listed, boxes | images | names]


def mask_sets() -> list[Files]:
    """A folder per image, one mask per object."""
    files: Files = {}
    for name, (width, height) in SIDES.items():
        files[f"{name}/images/{name}.png"] = encoded("PNG", width, height)
        for i, (x, y, w, h) in enumerate(_boxes(width, height)):
            mask = np.zeros((height, width), np.uint8)
            mask[int(y) : int(y + h), int(x) : int(x + w)] = 255
            stream = io.BytesIO()
            Image.fromarray(mask).save(stream, "PNG")
            files[f"{name}/masks/{i}.png"] = stream.getvalue()
    listed = {
        "data.yaml": b"format: masks\nclasses: [cell]\nsplits: {train: {list: train.txt}}\n",
        "train.txt": b"a\nc\n",
    }
    return [files, files | listed]


def yaml_sets() -> list[Files]:
    """Descriptions of datasets: detzoo's own with every key, and generated data."""
    whole = coco_sets()[0] | {
        "data.yaml": b"format: coco\nname: pets\npath: .\nclasses: [cat, dog]\ndownload: from nowhere\nsplits:\n"
        b"  train: {annotations: annotations/instances_train.json, images: train}\n  both: [train, train]\n"
    }
    yolo = yolo_sets()[0] | {
        "data.yaml": b"format: yolo\nclasses: [cat, dog]\nsplits:\n"
        b"  train: {images: images/train, labels: labels/train}\n"
    }
    shapes = {"data.yaml": b"format: shapes\nsize: 48\ntrain: 2\nval: 2\ntest: 1\nseed: 3\n"}
    return [whole, yolo, shapes]
