"""COCO instances JSON -> index."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.index import Index, IndexBuilder
from detzoo.data.formats.paths import escapes
from detzoo.errors import DataError
from detzoo.ops.mask_encoding import NO_MASK, encode_polygons, encode_rle


def read_coco(
    path: Path, images: Path | None, problems: Problems, *, classes: tuple[str, ...] | None = None, lines: bool = False
) -> tuple[Index, tuple[str, ...], tuple[int, ...]]:
    """Read an annotation file.

    Args:
        path: the JSON file.
        images: folder that ``file_name`` is relative to; looked for next to the file by default.
        problems: gets every defect.
        classes: use only these, in this order; all categories by id otherwise.
        lines: find the line of each defect, at the price of a second reading.

    Returns:
        index, class names and category ids by label.

    Raises:
        DataError: the file as a whole is unusable.
    """
    text, content = _load(path)
    reader = _Reader(path, problems, _Lines(text) if lines else None)
    names, ids = _categories(content, path, classes)
    unused = {entry["id"] for entry in content["categories"]} - set(ids)
    reader.check_categories(sorted({*ids, *unused}))
    images = images or _find_images(path, content["images"])
    by_image = reader.group(content["annotations"], {entry.get("id") for entry in content["images"]})
    label_of = {own: label for label, own in enumerate(ids)}
    builder = IndexBuilder()
    for row, entry in enumerate(content["images"]):
        if reader.image(builder, row, entry, images):
            own = by_image.get(entry["id"], [])
            if not own:
                problems.info("no-objects", path, reader.line("images", row), f"{entry['file_name']} has no objects")
            for at in own:
                reader.annotation(builder, at, content["annotations"][at], label_of, unused)
    return builder.build(), names, ids


def _load(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text)
    except FileNotFoundError:
        raise DataError(f"{path}: no such annotation file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise DataError(f"{path}: not valid JSON: nested too deeply") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(
                f"{path}: not a COCO instances file: the list `{key}` is missing "
                "(needed: images, annotations, categories)"
            )
    return text, content


def _categories(
    content: dict[str, Any], path: Path, classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    found: dict[int, str] = {}
    for entry in content["categories"]:
        own, name = (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if not isinstance(own, int) or isinstance(own, bool) or not isinstance(name, str):
            raise DataError(f"{path}: a category needs a whole number `id` and a `name`, not {entry!r}")
        if own in found:
            raise DataError(f"{path}: category id {own} stands for both {found[own]!r} and {name!r}")
        found[own] = name
    doubled = [name for name, count in Counter(found.values()).items() if count > 1]
    if doubled:
        raise DataError(f"{path}: two categories are called {doubled[0]!r}")
    if classes is None:
        ids = tuple(sorted(found))
        return tuple(found[own] for own in ids), ids
    id_of = {name: own for own, name in found.items()}
    missing = [name for name in classes if name not in id_of]
    if missing:
        raise DataError(f"{path}: no category is called {missing[0]!r}; there are {', '.join(sorted(id_of))}")
    return classes, tuple(id_of[name] for name in classes)


def _find_images(path: Path, entries: list[Any]) -> Path:
    """The folder beside the annotation file in which the first images lie; its own if none does."""
    stem = path.stem.removeprefix("instances_")
    up = path.parent.parent
    candidates = [up / "images" / stem, up / stem, up / "images", path.parent / "images", path.parent, up]
    candidates += sorted(folder for folder in (up / "images").glob("*") if folder.is_dir())
    names = [entry["file_name"] for entry in entries[:20] if isinstance(entry, dict) and _is_name(entry)]
    for folder in candidates:
        if any((folder / name).is_file() for name in names if not escapes(name)):
            return folder
    return path.parent


def _is_name(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("file_name"), str) and bool(entry["file_name"])


class _Lines:
    """Line of the n-th entry of a top-level list, found by walking the text again; only for reports."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts: dict[str, list[int]] = {}

    def line(self, key: str, row: int) -> int:
        if key not in self.starts:
            self.starts[key] = list(self._offsets(key))
        return self.text.count("\n", 0, self.starts[key][row]) + 1

    def _offsets(self, key: str) -> Iterator[int]:
        decoder = json.JSONDecoder()
        at = self._skip(self.text.index("{") + 1)
        while self.text[at] != "}":
            name, at = decoder.raw_decode(self.text, at)
            at = self._skip(at)  # stands at ":"
            at = self._skip(at + 1)
            if name == key:
                at = self._skip(at + 1)
                while self.text[at] != "]":
                    yield at
                    _, at = decoder.raw_decode(self.text, at)
                    at = self._skip(at)
                return
            _, at = decoder.raw_decode(self.text, at)
            at = self._skip(at)

    def _skip(self, at: int) -> int:
        while self.text[at] in " \t\r\n,\ufeff":
            at += 1
        return at


class _Reader:
    """One pass over the entries: good ones go to the builder, the rest to the problems."""

    def __init__(self, path: Path, problems: Problems, lines: _Lines | None) -> None:
        self.path, self.problems, self.lines = path, problems, lines
        self.image_ids: set[int] = set()

    def line(self, key: str, row: int) -> int | None:
        return None if self.lines is None else self.lines.line(key, row)

    def check_categories(self, ids: list[int]) -> None:
        if ids and ids != list(range(ids[0], ids[0] + len(ids))):
            gaps = ids[-1] - ids[0] + 1 - len(ids)
            self.problems.info(
                "category-gaps",
                self.path,
                self.line("categories", 0),
                f"{len(ids)} category ids from {ids[0]} to {ids[-1]} with {gaps} gaps; labels are 0..{len(ids) - 1}",
            )

    def group(self, annotations: list[Any], image_ids: set[Any]) -> dict[int, list[int]]:
        """Rows of the annotations by image; what belongs to no image, and what shares an id, is reported."""
        groups: dict[int, list[int]] = {}
        seen: set[Any] = set()
        for row, entry in enumerate(annotations):
            if not isinstance(entry, dict):
                self._bad(row, "bad-annotation", f"annotation {row} is not a mapping; left out")
                continue
            own = entry.get("id")
            if own == 0:
                self.problems.warning(
                    "annotation-id-0",
                    self.path,
                    self.line("annotations", row),
                    "annotation id 0: pycocotools takes it for unmatched; renumbered here",
                )
            if own is not None and own in seen:
                self._bad(row, "duplicate-annotation-id", f"annotation id {own} is used twice; both boxes are kept")
            seen.add(own)
            image = entry.get("image_id")
            if not isinstance(image, int) or image not in image_ids:
                self._bad(row, "unknown-image", f"annotation {own}: no image has the id {image}; left out")
            else:
                groups.setdefault(image, []).append(row)
        return groups

    def image(self, builder: IndexBuilder, row: int, entry: Any, folder: Path) -> bool:
        problem = self._image_problem(entry)
        if problem:
            self.problems.error(problem[0], self.path, self.line("images", row), problem[1])
            return False
        self.image_ids.add(entry["id"])
        size = (_side(entry.get("height")), _side(entry.get("width")))
        if not all(size):
            self.problems.warning(
                "no-size",
                self.path,
                self.line("images", row),
                f"{entry['file_name']}: width and height are missing or not positive; the image's own are used",
            )
            size = _read_size(folder / entry["file_name"])
        builder.image(str(folder / entry["file_name"]), size, entry["id"])
        return True

    def _image_problem(self, entry: Any) -> tuple[str, str] | None:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int) or not _is_name(entry):
            return "bad-image", f"an image needs a whole number `id` and a `file_name`, not {str(entry)[:80]}; left out"
        if entry["id"] in self.image_ids:
            return "duplicate-image-id", f"image id {entry['id']} is used twice; {entry['file_name']} is left out"
        if escapes(entry["file_name"]):
            return "unsafe-path", f"file_name {entry['file_name']!r} leaves the image folder; the image is left out"
        return None

    def annotation(
        self, builder: IndexBuilder, row: int, entry: dict[str, Any], label_of: dict[int, int], unused: set[int]
    ) -> None:
        category, name = entry.get("category_id"), f"annotation {entry.get('id')}"
        if category in unused:
            return  # a category that the user chose not to read
        if category not in label_of:
            self._bad(row, "unknown-class", f"{name}: no category has the id {category}; left out")
            return
        box = _numbers(entry.get("bbox"))
        if box is None:
            self._bad(
                row, "bad-box", f"{name}: bbox must be four finite numbers x y w h, not {entry.get('bbox')}; left out"
            )
            return
        x, y, width, height = box
        if width <= 0 or height <= 0:
            kind = "negative" if min(width, height) < 0 else "zero"
            self._bad(row, f"{kind}-box", f"{name}: box of {width:g} x {height:g} px; left out")
            return
        if not self._inside(builder, row, name, (x, y, x + width, y + height)):
            return
        area = entry.get("area")
        usable = isinstance(area, int | float) and math.isfinite(area) and area > 0
        if not usable:
            self.problems.warning(
                "no-area", self.path, self.line("annotations", row), f"{name}: no area; width x height is used"
            )
        builder.box(
            (x, y, x + width, y + height),
            label_of[category],
            difficult=bool(entry.get("ignore", 0)),
            crowd=bool(entry.get("iscrowd", 0)),
            area=float(area) if usable and area is not None else None,
            mask=self._mask(row, name, entry.get("segmentation")),
        )

    def _inside(self, builder: IndexBuilder, row: int, name: str, box: tuple[float, float, float, float]) -> bool:
        height, width = builder.sizes[-1]
        if not (height and width):
            return True
        if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
            self._bad(row, "box-outside", f"{name}: box lies outside the image of {width} x {height} px; left out")
            return False
        beyond = max(-box[0], -box[1], box[2] - width, box[3] - height)
        if beyond > 1:
            self.problems.warning(
                "box-outside",
                self.path,
                self.line("annotations", row),
                f"{name}: box reaches {beyond:g} px beyond the image of {width} x {height} px; clipped",
            )
        return True

    def _mask(self, row: int, name: str, segmentation: Any) -> bytes:
        if not segmentation:
            return NO_MASK
        if isinstance(segmentation, list):
            parts = [_numbers(part, None) for part in segmentation]
            if all(part is not None and len(part) >= 6 and len(part) % 2 == 0 for part in parts):
                return encode_polygons([part for part in parts if part is not None])
        elif isinstance(segmentation, dict) and _is_rle(segmentation):
            return encode_rle(segmentation["counts"], segmentation["size"])
        self.problems.warning(
            "bad-mask",
            self.path,
            self.line("annotations", row),
            f"{name}: segmentation is damaged; the box has no mask",
        )
        return NO_MASK

    def _bad(self, row: int, code: str, message: str) -> None:
        self.problems.error(code, self.path, self.line("annotations", row), message)


def _is_rle(segmentation: dict[str, Any]) -> bool:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        return False
    if isinstance(counts, str):
        return bool(counts)
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts):
        return False
    return bool(sum(counts) == size[0] * size[1])


def _side(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _read_size(path: Path) -> tuple[int, int]:
    from detzoo.runtime.images import read_header

    try:
        return read_header(path).size
    except DataError:
        return 0, 0  # the image itself is reported when it is read


def _numbers(values: Any, count: int | None = 4) -> list[float] | None:
    if not isinstance(values, list) or (count is not None and len(values) != count):
        return None
    good = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    return [float(value) for value in values] if good else None
