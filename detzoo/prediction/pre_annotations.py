"""Detections as pre-annotations: files that CVAT and Label Studio import, so that a person corrects and draws less.

Formats: CVAT, "CVAT for images 1.1"; Label Studio, "Import pre-annotated data" (tasks with ``predictions``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

from detzoo.errors import DataError
from detzoo.prediction.mask_outlines import largest_outline
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.images import is_url
from detzoo.runtime.report_text import class_name
from detzoo.schema.describing import unknown

Tool: TypeAlias = Literal["cvat", "labelstudio"]
TOOLS: Final[tuple[Tool, ...]] = get_args(Tool)
FILES: Final[dict[Tool, tuple[str, ...]]] = {
    "cvat": ("cvat.xml",),
    "labelstudio": ("label_studio.json", "label_studio.xml"),
}
"""What is imported, and Label Studio's labelling configuration for it."""
_MARK: Final = "detzoo predict"
_HEAD: Final = 4096
_LOCAL: Final = "/data/local-files/?d="
"""How Label Studio calls a file below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""

Record: TypeAlias = dict[str, Any]


def check_tools(tools: Sequence[str]) -> tuple[Tool, ...]:
    """The tools asked for.

    Raises:
        DataError: one is not known.
    """
    found: list[Tool] = []
    for name in tools:
        tool = next((tool for tool in TOOLS if tool == name), None)
        if tool is None:
            raise DataError(f"--to: {unknown('tool', name, TOOLS)}")
        found.append(tool)
    return tuple(dict.fromkeys(found))


def check_replaceable(out: Path, tools: Sequence[Tool]) -> None:
    """Reject to replace a file that a prediction did not write.

    Raises:
        DataError: such a file is in the way.
    """
    for path in (out / name for tool in tools for name in FILES[tool]):
        if not os.path.lexists(path):
            continue
        own = False
        if is_ordinary(path):
            with path.open("rb") as file:
                own = _MARK.encode() in file.read(_HEAD)
        if not own:
            raise DataError(
                f"{path} exists and was not written by detzoo predict; choose another --out, or move it away"
            )


def write_pre_annotations(
    out: Path,
    tools: Sequence[Tool],
    records: Sequence[Record],
    *,
    classes: Sequence[str | None],
    model: str,
    report: Callable[[str], None],
) -> None:
    """Write the files of each tool.

    Args:
        out: folder.
        tools: which.
        records: of ``detections.json``: ``file``, ``height``, ``width``, ``detections``.
        classes: names by label.
        model: name of the detector.
        report: callback with a message about what a tool's file cannot hold.
    """
    if not tools:
        return
    frames = sum("frame" in record for record in records)
    if frames:
        report(f"{frames} frames of videos are not in the files for {', '.join(tools)}: these name images")
    images = [record for record in records if "frame" not in record]
    images, more = _with_outlines(images)
    if more:
        report(
            f"{more} masks of several parts: {', '.join(tools)} get the outline of the largest; {out} has them whole"
        )
    used = {one["label"] for record in images for one in record["detections"]}
    names = [class_name(classes, label) for label, name in enumerate(classes) if name is not None or label in used]
    if "cvat" in tools:
        _write_cvat(out, images, names, report)
    if "labelstudio" in tools:
        _write_label_studio(out, images, names, model)


def _with_outlines(records: Sequence[Record]) -> tuple[list[Record], int]:
    """The records with ``outline`` for each mask, and how many masks have several parts."""
    found, more = [], 0
    for record in records:
        detections = []
        for one in record["detections"]:
            corners, parts = largest_outline(one["segmentation"]) if "segmentation" in one else ([], 0)
            more += parts > 1
            detections.append(one | {"outline": corners})
        found.append(record | {"detections": detections})
    return found, more


def common_folder(files: Sequence[str]) -> Path | None:
    """The folder that all image files lie in or below; None where there are none, but addresses."""
    folders = [os.path.dirname(os.path.abspath(file)) for file in files if not is_url(file)]
    return Path(os.path.commonpath(folders)) if folders else None


def _image_name(file: str, root: Path | None) -> str:
    """Path of an image below the common folder, with slashes; the last part of an address."""
    if is_url(file):
        return Path(unquote(urlsplit(file).path)).name or "image"
    assert root is not None
    return Path(os.path.abspath(file)).relative_to(root).as_posix()


def _write_cvat(out: Path, records: Sequence[Record], names: Sequence[str], report: Callable[[str], None]) -> None:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "size").text = str(len(records))
    labels = ElementTree.SubElement(task, "labels")
    for name in names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "attributes")
    folder = common_folder([record["file"] for record in records])
    taken: set[str] = set()
    for record in records:
        name = _image_name(record["file"], folder)
        if name in taken:
            report(f"{record['file']}: another image is called {name} too; it is left out of {FILES['cvat'][0]}")
            continue
        given = {"id": str(len(taken)), "name": name, "width": str(record["width"]), "height": str(record["height"])}
        taken.add(name)
        image = ElementTree.SubElement(root, "image", given)
        for one in record["detections"]:
            tag, place = "polygon", {"points": ";".join(f"{x:.2f},{y:.2f}" for x, y in one["outline"])}
            if not one["outline"]:
                tag = "box"
                place = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{value:.2f}" for value in one["box"]), strict=True))
            plain = {"label": one["class"], "source": "auto", "occluded": "0", **place, "z_order": "0"}
            ElementTree.SubElement(image, tag, plain)
    ElementTree.indent(root)
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<!-- {_MARK} -->\n'
    write_text(out / FILES["cvat"][0], head + ElementTree.tostring(root, encoding="unicode") + "\n")


def _write_label_studio(out: Path, records: Sequence[Record], names: Sequence[str], model: str) -> None:
    folder = common_folder([record["file"] for record in records])
    tasks = []
    for number, record in enumerate(records):
        file = record["file"]
        place = file if is_url(file) else _LOCAL + quote(_image_name(file, folder))
        scores = [one["score"] for one in record["detections"]]
        prediction = {
            "model_version": f"{model} ({_MARK})",
            "score": sum(scores) / len(scores) if scores else 0.0,  # Label Studio sorts its queue by it
            "result": [_region(one, record, f"{number}-{at}") for at, one in enumerate(record["detections"])],
        }
        tasks.append({"predictions": [prediction], "data": {"image": place}})
    write_text(out / FILES["labelstudio"][0], json.dumps(tasks, indent=1) + "\n")
    view = ElementTree.Element("View")
    view.append(ElementTree.Comment(f" {_MARK} "))
    ElementTree.SubElement(view, "Image", {"name": "image", "value": "$image"})
    outlined = any(one["outline"] for record in records for one in record["detections"])
    tags = {"RectangleLabels": "label"} | ({"PolygonLabels": "outline"} if outlined else {})
    for tag, called in tags.items():
        labels = ElementTree.SubElement(view, tag, {"name": called, "toName": "image"})
        for name in names:
            ElementTree.SubElement(labels, "Label", {"value": name})
    ElementTree.indent(view)
    write_text(out / FILES["labelstudio"][1], ElementTree.tostring(view, encoding="unicode") + "\n")


def _region(one: dict[str, Any], record: Record, name: str) -> dict[str, Any]:
    """A rectangle or a polygon in percent of the image."""
    width, height = record["width"], record["height"]
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    value: dict[str, Any]
    if one["outline"]:
        kind, control = "polygonlabels", "outline"
        value = {"points": [[100 * x / width, 100 * y / height] for x, y in one["outline"]], "closed": True}
    else:
        kind, control = "rectanglelabels", "label"
        x1, y1, x2, y2 = one["box"]
        value = {
            "x": 100 * x1 / width,
            "y": 100 * y1 / height,
            "width": 100 * (x2 - x1) / width,
            "height": 100 * (y2 - y1) / height,
            "rotation": 0,
        }
    return {
        "id": name, "type": kind, "from_name": control, "to_name": "image", **size,
        "value": value | {kind: [one["class"]]}, "score": one["score"],
    }  # fmt: skip
