"""Writing a dataset in another format: COCO, VOC or YOLO, with a data.yaml next to it that ``open_dataset`` reads."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from detzoo.data.dataset import Dataset, read_as_annotated
from detzoo.data.formats.capabilities import Target, voc_corners, written_rows
from detzoo.data.formats.read_back import WrittenImage, differences
from detzoo.data.formats.ultralytics_yaml import OTHER_KEYS
from detzoo.data.formats.values import shown
from detzoo.errors import DataError
from detzoo.runtime.atomic_files import telling_disk
from detzoo.runtime.foreign_files import is_folder, is_there
from detzoo.runtime.images import read_header


def check_new(out: Path) -> None:
    """Refuse to write a dataset into a folder that holds anything.

    Raises:
        DataError: ``out`` is no new or empty folder.
    """
    if is_there(out) and (not is_folder(out) or any(out.iterdir())):
        raise DataError(f"{out}: exists and is not empty; choose another folder")


def write_datasets(splits: dict[str, Dataset], out: Path, target: Target, *, copy: bool = True) -> list[str]:
    """Write all splits of a dataset.

    Images with EXIF orientation, and made-up ones, are written as PNG; all others are copied or linked. Only COCO has
    masks and crowds, and YOLO has no difficult boxes: crowds and difficult boxes are left out there, as ordinary
    objects they would be learnt and counted.

    Args:
        splits: by name; all with the same classes.
        out: a new or empty folder; after an error it is as it was.
        target: the format.
        copy: copy images; False makes symbolic links.

    Returns:
        messages about images that could not be read and were left out.

    Raises:
        DataError: ``out`` is not empty, a split's name can be no folder's, the splits have different classes, or what
            was written does not read back as it should.
    """
    check_new(out)
    _check_splits(splits)
    with whole_or_not(out):
        return _written(splits, out, target, copy=copy)


def _check_splits(splits: dict[str, Dataset]) -> None:
    first, classes = next((name, data.classes) for name, data in splits.items())
    for name, data in splits.items():
        if not name or name in (".", "..") or set(name) & set('/\\:*?"<>|') or not name.isprintable():
            raise DataError(f"the split {name!r} cannot be the name of a folder: give it another one in a data.yaml")
        if data.classes != classes:
            one, other = (shown(", ".join(names)) for names in (classes, data.classes))
            raise DataError(
                f"the splits {first} and {name} have different classes ({one}; {other}): give all of them one list, "
                "with classes: in a data.yaml, or convert each split by itself, with --split"
            )


@contextlib.contextmanager
def whole_or_not(out: Path) -> Iterator[None]:
    """A folder that was new or empty is so again after an error: half a dataset looks like a whole one.

    Raises:
        DiskError: the disk is full, or failed.
    """
    there = is_there(out)
    try:
        with telling_disk(out, f"nothing is left in {out}"):
            yield
    except BaseException:
        if there:
            for entry in out.iterdir():
                shutil.rmtree(entry) if is_folder(entry) else entry.unlink()
        else:
            shutil.rmtree(out, ignore_errors=True)
        raise


def _written(splits: dict[str, Dataset], out: Path, target: Target, *, copy: bool) -> list[str]:
    left_out: list[str] = []
    written: dict[str, list[WrittenImage]] = {}
    taken: set[str] = set()
    for name, data in splits.items():
        records = _write_images(data, out, name, target, taken, left_out, copy=copy)
        {"coco": _write_coco, "voc": _write_voc, "yolo": _write_yolo}[target](data, out, name, records)
        written[name] = records
    first = next(iter(splits.values()))
    (out / "data.yaml").write_text(
        yaml.safe_dump(_description(first, splits, target), sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    found = differences(splits, written, out / "data.yaml", target)
    if found:
        more = f" and {len(found) - 1} more differences" if len(found) > 1 else ""
        raise DataError(f"{out}: what was written does not read back as it should: {found[0]}{more}")
    return left_out


def _image_folder(target: Target, split: str) -> str:
    return {"coco": split, "voc": "JPEGImages", "yolo": f"images/{split}"}[target]


def _write_images(
    data: Dataset, out: Path, split: str, target: Target, taken: set[str], left_out: list[str], *, copy: bool
) -> list[WrittenImage]:
    folder = out / _image_folder(target, split)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for position, path in enumerate(data.paths):
        stem = os.fsencode(Path(path).stem).decode("utf-8", "replace")  # lists and xml files are UTF-8
        stem = stem if f"{folder}/{stem}" not in taken else f"{split}_{position}_{stem}"
        taken.add(f"{folder}/{stem}")
        try:
            records.append(_write_image(data, position, path, folder, stem, copy=copy))
        except DataError as error:
            left_out.append(str(error))
    return records


def _write_image(data: Dataset, position: int, path: str, folder: Path, stem: str, *, copy: bool) -> WrittenImage:
    if not data.on_disk:
        image = data.sample(position, masks=False).image
        return WrittenImage(position, _write_png(image, folder / f"{stem}.png"), (image.shape[0], image.shape[1]))
    height, width = (int(side) for side in data.annotations().sizes[position])
    image = read_as_annotated(path, (height, width))
    size = (image.shape[0], image.shape[1])
    if read_header(Path(path)).orientation > 1:  # other readers disagree on EXIF; upright pixels have one meaning
        return WrittenImage(position, _write_png(image, folder / f"{stem}.png"), size)
    file = folder / f"{stem}{Path(path).suffix}"
    if copy:
        shutil.copyfile(path, file)
    else:
        os.symlink(Path(path).resolve(), file)
    return WrittenImage(position, file.name, size)


def _write_png(image: NDArray[np.uint8], file: Path) -> str:
    done, encoded = cv2.imencode(".png", image[:, :, ::-1])
    assert done
    file.write_bytes(encoded.tobytes())
    return file.name


def _write_coco(data: Dataset, out: Path, split: str, records: list[WrittenImage]) -> None:
    content = data.coco_ground_truth()
    ids = data.image_ids
    kept = {ids[record.position]: record for record in records}
    content["images"] = [
        entry | {"file_name": record.file, "height": record.size[0], "width": record.size[1]}
        for entry in content["images"]
        if (record := kept.get(entry["id"])) is not None
    ]
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in kept]
    folder = out / "annotations"
    folder.mkdir(exist_ok=True)
    (folder / f"instances_{split}.json").write_text(json.dumps(content))


def _write_voc(data: Dataset, out: Path, split: str, records: list[WrittenImage]) -> None:
    index = data.annotations()
    (out / "Annotations").mkdir(exist_ok=True)
    for record in records:
        objects = "".join(
            _voc_object(data.classes[int(index.labels[row])], index.boxes[row], bool(index.difficult[row]))
            for row in written_rows(index, record.position, "voc")
        )
        height, width = record.size
        text = (
            f"<annotation>\n\t<filename>{escape(record.file)}</filename>\n\t<size>\n\t\t<width>{width}</width>\n"
            f"\t\t<height>{height}</height>\n\t\t<depth>3</depth>\n\t</size>\n{objects}</annotation>\n"
        )
        (out / "Annotations" / f"{Path(record.file).stem}.xml").write_text(text, encoding="utf-8")
    lists = out / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{split}.txt").write_text("".join(f"{Path(record.file).stem}\n" for record in records), encoding="utf-8")


def _voc_object(name: str, box: NDArray[np.float64], difficult: bool) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), voc_corners(box), strict=True)
    sides = "".join(f"\t\t\t<{tag}>{value}</{tag}>\n" for tag, value in corners)
    return (
        f"\t<object>\n\t\t<name>{escape(name)}</name>\n\t\t<difficult>{int(difficult)}</difficult>\n"
        f"\t\t<bndbox>\n{sides}\t\t</bndbox>\n\t</object>\n"
    )


def _write_yolo(data: Dataset, out: Path, split: str, records: list[WrittenImage]) -> None:
    index = data.annotations()
    folder = out / "labels" / split
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        height, width = record.size
        lines = []
        for row in written_rows(index, record.position, "yolo"):
            x1, y1, x2, y2 = np.clip(index.boxes[row], 0, [width, height, width, height])
            values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            lines.append(" ".join([str(int(index.labels[row])), *(f"{value:.8g}" for value in values)]))
        (folder / f"{Path(record.file).stem}.txt").write_text("".join(f"{line}\n" for line in lines))


def _description(data: Dataset, splits: dict[str, Dataset], target: Target) -> dict[str, Any]:
    if target == "yolo" and not set(splits) & set(OTHER_KEYS):  # Ultralytics' own keys: its tools read the folder too
        return {
            "path": ".",
            **{name: f"images/{name}" for name in splits},
            "names": dict(enumerate(data.classes)),
        }
    parts: dict[str, Any] = {name: {"set": name} for name in splits}
    if target == "yolo":
        parts = {name: {"images": f"images/{name}", "labels": f"labels/{name}"} for name in splits}
    if target == "coco":
        parts = {name: {"annotations": f"annotations/instances_{name}.json", "images": name} for name in splits}
    return {"format": target, "name": data.name, "classes": list(data.classes), "splits": parts}
