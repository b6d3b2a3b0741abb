"""Small valid datasets of each layout, in memory: what the mutations start from."""

from __future__ import annotations

import base64
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


def tool_sets() -> list[Files]:
    """labelme (with a PNG and a group), CVAT's xml (with subsets), VIA and Open Images."""
    return [
        labelme() | _images("."),
        cvat() | _images("images"),
        via() | _images("."),
        open_images(),
    ]


def labelme() -> Files:
    """A json for each image."""
    files: Files = {}
    pixels = base64.b64encode(encoded("PNG", 5, 4, "1")).decode()
    for name, (width, height) in SIDES.items():
        shapes: list[dict[str, Any]] = [
            {"label": "dog", "points": [[2, 3], [6, 6]], "shape_type": "mask", "mask": pixels, "group_id": None}
        ]
        for x, y, w, h in _boxes(width, height):
            corners = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
            shapes.append({"label": "cat", "points": corners, "shape_type": "polygon", "group_id": len(shapes) % 2})
        content = {"shapes": shapes, "imagePath": f"{name}.png", "imageHeight": height, "imageWidth": width}
        files[f"{name}.json"] = json.dumps(content, indent=1).encode()
    return files


def cvat() -> Files:
    """One file, each image in a subset of its own."""
    images = ""
    for (name, (width, height)), subset in zip(SIDES.items(), ("Train", "Validation", ""), strict=True):
        boxes = "".join(
            f'<box label="dog" xtl="{x}" ytl="{y}" xbr="{x + w}" ybr="{y + h}"></box>\n'
            for x, y, w, h in _boxes(width, height)
        )
        given = f'name="{name}.png" subset="{subset}" width="{width}" height="{height}"'
        images += f'<image {given}>\n{boxes}<polygon label="cat" points="1,1;9,1;9,8"></polygon>\n</image>\n'
    meta = "<meta><task><subset>Test</subset></task></meta>"
    return {"annotations.xml": f"<annotations>\n{meta}\n{images}</annotations>\n".encode()}


def via() -> Files:
    """One file."""
    content: dict[str, Any] = {}
    for name, side in SIDES.items():
        rectangles = [{"name": "rect", "x": x, "y": y, "width": w, "height": h} for x, y, w, h in _boxes(*side)]
        regions = [{"shape_attributes": one, "region_attributes": {"class": "dog"}} for one in rectangles]
        content[f"{name}.png9"] = {"filename": f"{name}.png", "size": 9, "regions": regions, "file_attributes": {}}
    return {"via.json": json.dumps(content, indent=1).encode()}


def open_images() -> Files:
    """A file of boxes and one of classes; the images are JPEG."""
    rows = [
        f"{name},/m/0bt9lr,{x / width:.4f},{(x + w) / width:.4f},{y / height:.4f},{(y + h) / height:.4f},0"
        for name, (width, height) in SIDES.items()
        for x, y, w, h in _boxes(width, height)
    ]
    text = "\n".join(["ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf", *rows, ""])
    images = {f"train/{name}.jpg": encoded("JPEG", *side) for name, side in SIDES.items()}
    return images | {"train-annotations-bbox.csv": text.encode(), "class-descriptions-boxable.csv": b"/m/0bt9lr,Dog\n"}


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
