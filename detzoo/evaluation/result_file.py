"""Anybody's COCO result file: read, checked against the dataset, and brought into the dataset's own ids.

What can only be meant in one way is taken so and said (file names for image ids, whole numbers written as text). What
may be meant in two ways is rejected, with the option that decides it.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from detzoo.data.formats.json_file import JSON_BYTES
from detzoo.data.formats.values import as_id, as_number, as_pixels, is_numeric_id, shown
from detzoo.errors import DataError
from detzoo.evaluation.classes import listed, map_classes
from detzoo.evaluation.result_content import shifted_by
from detzoo.evaluation.result_images import ImageIds, match_images
from detzoo.ops.segmentation import pack_segmentation
from detzoo.runtime.foreign_files import MissingFileError, decode_text, is_ordinary, lines_of, read_file, read_text
from detzoo.runtime.near_names import nearest_path

Row: TypeAlias = dict[str, Any]
BoxForm: TypeAlias = Literal["xywh", "xyxy"]
WANTED: Final = "a COCO result file is a list of objects with image_id, category_id, bbox and score"
MOST_BYTES: Final = 1 << 30
"""What a packed result file may unpack to: the rows of 100,000 images with 100 detections each."""
SUSPICIOUS: Final = 0.2
"""Share of boxes beyond their image from which on the form of all boxes is in doubt."""
SLACK: Final = 2.0
"""Px that a box may reach beyond its image, for rounding."""


@dataclass
class ResultFile:
    """Rows that belong to a dataset, and what was assumed to make them so.

    Args:
        rows: COCO result rows with the dataset's own ids; masks as compressed run lengths.
        warnings: the assumptions.
    """

    rows: list[Row]
    warnings: list[str] = field(default_factory=list)


def read_results(
    path: Path,
    truth: Mapping[str, Any],
    *,
    categories: Mapping[int, str] | None = None,
    boxes: BoxForm | None = None,
    image_ids: ImageIds | None = None,
) -> ResultFile:
    """Read a result file for a dataset.

    Args:
        path: of the file.
        truth: COCO ground truth.
        categories: name by the file's category id; None takes its ids as the dataset's.
        boxes: what four numbers mean; None takes COCO's xywh, and rejects what looks different.
        image_ids: what the file calls images by; None finds out, and says so.

    Raises:
        DataError: it does not belong to the dataset, or is no result file; the first wrong row is named.
    """
    if boxes not in (None, "xywh", "xyxy"):
        raise DataError(f"--boxes {boxes}: allowed are xywh and xyxy")
    rows = read_detections(path)
    if boxes == "xyxy":  # first of all: ids are held against what the boxes cover
        rows = [row | {"bbox": xywh(row["bbox"], path)} if "bbox" in row else row for row in rows]
    found = ResultFile(*match_images(rows, truth, path, wanted=image_ids))
    match_categories(found, truth, categories, path)
    fit_masks(found, truth, path)
    if boxes is None:
        check_boxes(found, truth, path)
    return found


def read_detections(path: Path) -> list[Row]:
    """COCO result rows of a file (``.json`` or ``.json.gz``), each with a box or a mask.

    Raises:
        DataError: the file is missing, no JSON, or not a list of results; the first wrong row is named.
    """
    try:
        rows = json.loads(_text(path))
    except MissingFileError:
        hint = nearest_path(path)
        raise DataError(f"{path} does not exist; {f'{hint} ' if hint else ''}give a COCO result file") from None
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(rows, list):
        raise DataError(f"{path} holds {type(rows).__name__}, not a list; {WANTED}")
    for number, row in enumerate(rows, start=1):
        if (problem := row_problem(row)) is not None:
            raise DataError(f"{path}: row {number} {problem}; {WANTED}")
        row["category_id"] = as_id(row["category_id"])  # "2" and 2.0 can only mean 2
        if isinstance(row["image_id"], float):
            row["image_id"] = as_id(row["image_id"])
    return rows


def _text(path: Path) -> str:
    """The text of a file, unpacked where its name ends in ``.gz``.

    Raises:
        ValueError: more than MOST_BYTES come out: a file that would fill the memory.
    """
    if path.suffix != ".gz":
        return read_text(path, limit=JSON_BYTES, what="result file")
    packed = read_file(path, limit=MOST_BYTES, what="result file")
    with gzip.open(io.BytesIO(packed)) as file:
        content = file.read(MOST_BYTES + 1)  # one more: enough to know
    if len(content) > MOST_BYTES:
        raise ValueError(f"it unpacks to more than {MOST_BYTES >> 20} MiB")
    return decode_text(content, path)


def row_problem(row: Any) -> str | None:
    """What is wrong with one result row."""
    if not isinstance(row, dict):
        return "is not an object"
    missing = [key for key in ("image_id", "category_id", "score") if key not in row]
    if "bbox" not in row and row.get("segmentation") is None:
        missing.append("bbox")
    if missing:
        return f"has no {', '.join(missing)}"
    box = row.get("bbox", [0, 0, 0, 0])
    if not isinstance(box, list) or as_pixels(box) is None or not all(is_number(v) for v in box):
        return f"has the bbox {shown(box)}, not four numbers [x, y, width, height]"
    if box[2] < 0 or box[3] < 0:
        return f"has the bbox {box!r} with a negative width or height (it is [x, y, width, height])"
    if not is_number(row["score"]):
        return f"has the score {shown(row['score'])}, not a number"
    category = as_id(row["category_id"])
    if not isinstance(category, int) or not is_numeric_id(category):
        return f"has the category_id {shown(row['category_id'])}, not a whole number"
    if as_id(row["image_id"]) is None:
        return f"has the image_id {shown(row['image_id'])}, neither a whole number nor a text"
    return None


def is_number(value: Any) -> bool:
    """Whether JSON gave a finite number (true and false are none)."""
    return not isinstance(value, str) and as_number(value) is not None


def match_categories(found: ResultFile, truth: Mapping[str, Any], names: Mapping[int, str] | None, path: Path) -> None:
    """Bring category ids into the dataset's own.

    Raises:
        DataError: an id means nothing to the dataset, or the names are not those of its classes.
    """
    own = {int(category["id"]): str(category["name"]) for category in truth["categories"]}
    used = Counter(row["category_id"] for row in found.rows)
    if names is None:
        strange = sorted(used.keys() - own.keys())
        if strange:
            raise DataError(category_refusal(path, strange, used, own))
        shift = shifted_by(found.rows, truth)
        if shift is not None:
            raise DataError(
                f"{path}: the category ids look {abs(shift)} too {'large' if shift > 0 else 'small'}: shifted, they "
                "agree with the objects that the boxes cover; name the file's own classes with --categories"
            )
        return
    nameless = sorted(used.keys() - names.keys())
    if nameless:
        raise DataError(
            f"{path}: {sum(used[i] for i in nameless)} rows have a category_id without a name in --categories "
            f"({listed([str(i) for i in nameless])}); it names {listed([f'{i} {n}' for i, n in names.items()])}"
        )
    labels = sorted(names)
    classes = map_classes([names[i] for i in labels], list(own.values()), list(own))
    meant = dict(zip(labels, classes.category_of, strict=True))
    found.rows = [row | {"category_id": meant[row["category_id"]]} for row in found.rows]
    found.rows = [row for row in found.rows if row["category_id"] is not None]
    found.warnings += classes.warnings


def category_refusal(path: Path, strange: Sequence[int], used: Counter[int], own: Mapping[int, str]) -> str:
    """Why ids are not the dataset's, and what they look like."""
    rows = sum(used[i] for i in strange)
    hint = ""
    if 0 in used and max(used) < len(own):
        hint = " They look like labels counted from 0;"
    elif min(used) >= 1 and max(used) <= len(own):
        hint = " They look like classes counted from 1;"
    shown = listed([str(i) for i in strange])
    return (
        f"{path}: {rows} of {used.total()} rows have a category_id that the dataset does not have ({shown}); "
        f"it has {listed([f'{i} {name}' for i, name in own.items()])}.{hint} name the file's own classes with "
        "--categories (a,b,c counted from 0, or a file), and they are matched by name"
    )


def read_categories(text: str) -> dict[int, str]:
    """``a,b,c``, or a file (one name per line; or JSON: a list, id -> name, or with COCO's ``categories``).

    Returns:
        name by category id; lists are counted from 0.

    Raises:
        DataError: the file is none of these.
    """
    path = Path(text)
    if not is_ordinary(path):
        if path.suffix in (".json", ".txt", ".names"):
            hint = nearest_path(path)
            raise DataError(f"--categories {text}: no such file{f'; {hint}' if hint else ''}")
        return dict(enumerate(name.strip() for name in text.split(",")))
    content = read_text(path, what="list of categories")
    if path.suffix != ".json":
        return dict(enumerate(line.strip() for line in lines_of(content) if line.strip()))
    try:
        value = json.loads(content)
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return dict(enumerate(value))
        if "categories" in value:
            return {_category(category["id"]): str(category["name"]) for category in value["categories"]}
        return {_category(key): str(name) for key, name in value.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(
            f"--categories {text}: expected a list of names, an object of id -> name, or COCO's categories"
        ) from None


def _category(value: Any) -> int:
    own = as_id(value)
    if not isinstance(own, int):
        raise ValueError(f"{shown(value)} is no category id")
    return own


def fit_masks(found: ResultFile, truth: Mapping[str, Any], path: Path) -> None:
    """Masks as compressed run lengths; boxes around them where there are none.

    Raises:
        DataError: a mask cannot be read, or has another size than its image.
    """
    if not any(row.get("segmentation") is not None for row in found.rows):
        return
    from pycocotools import mask as coco_mask

    sizes = {image["id"]: (int(image["height"]), int(image["width"])) for image in truth["images"]}
    boxless = 0
    for place, row in enumerate(found.rows):
        if row.get("segmentation") is None:
            continue
        size = sizes[row["image_id"]]
        packed = packed_mask(row["segmentation"], size, f"{path}: mask of image {row['image_id']!r}")
        found.rows[place] = row | {"segmentation": packed}
        if "bbox" not in row:
            boxless += 1
            found.rows[place]["bbox"] = [float(v) for v in coco_mask.toBbox(packed)]
    if boxless:
        found.warnings.append(f"{path.name}: {boxless} rows have no bbox; the box around the mask is taken")


def packed_mask(value: Any, size: tuple[int, int], where: str) -> dict[str, Any]:
    """Polygons or run lengths of any kind -> {size, counts: text}."""
    try:
        return pack_segmentation(value, size)
    except DataError as error:
        raise DataError(f"{where}: {error}; allowed: COCO's run lengths, or polygons") from None


def check_boxes(found: ResultFile, truth: Mapping[str, Any], path: Path) -> None:
    """Nobody said what form the boxes have: whether they can be xywh px.

    Raises:
        DataError: they look like something else.
    """
    if len(found.rows) == 0:
        return
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    boxes = [(row["bbox"], *sizes[row["image_id"]]) for row in found.rows]
    largest = max(max(box) for box, _, _ in boxes)
    if len(boxes) >= 5 and largest <= 1.5:  # a few tiny boxes may be real
        raise DataError(
            f"{path}: the boxes look like shares of the image (the largest of all numbers is {largest:g}); "
            "COCO's are [x, y, width, height] in px; --boxes xywh takes them as they are"
        )
    beyond = [box for box, height, width in boxes if leaves(box, height, width)]
    if len(beyond) < SUSPICIOUS * len(boxes):  # a few: a careless detector, not another form
        return
    how_many = f"{len(beyond)} of {len(boxes)} reach beyond their images (the first: {beyond[0]})"
    if all(corners(*one) for one in boxes):
        raise DataError(
            f"{path}: the boxes look like [x1, y1, x2, y2]: taken as [x, y, width, height], {how_many}; "
            "say which with --boxes xyxy or --boxes xywh"
        )
    found.warnings.append(
        f"{path.name}: of the boxes {how_many}; is this the right dataset, and are they px of the original images?"
    )


def corners(box: Sequence[float], height: int, width: int) -> bool:
    """Whether four numbers can be two corners within an image."""
    x1, y1, x2, y2 = box
    return x1 <= x2 <= (width or math.inf) + SLACK and y1 <= y2 <= (height or math.inf) + SLACK


def leaves(box: Sequence[float], height: int, width: int) -> bool:
    """Whether an xywh box reaches beyond an image of known size."""
    return bool(width and height) and (box[0] + box[2] > width + SLACK or box[1] + box[3] > height + SLACK)


def xywh(box: Sequence[float], path: Path) -> list[float]:
    """An xyxy box, the COCO way."""
    x1, y1, x2, y2 = box
    if x2 < x1 or y2 < y1:
        raise DataError(f"{path}: the bbox {list(box)} has its corners the wrong way round for --boxes xyxy")
    return [x1, y1, x2 - x1, y2 - y1]
