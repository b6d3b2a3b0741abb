"""The images and annotations of a COCO file: good ones go to the builder, the rest to the problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.coco_boxes import Box, CocoBoxes, Id, entry_name, plain_id
from detzoo.data.formats.image_names import ImageFolder, is_name
from detzoo.data.formats.index import IndexBuilder
from detzoo.data.formats.json_file import EntryLines, JsonFile
from detzoo.data.formats.units import unit_problem
from detzoo.data.formats.values import as_id, as_pixels, as_side, is_numeric_id, shown
from detzoo.errors import DataError
from detzoo.runtime.images import MAX_PIXELS, read_header


def file_name(entry: dict[str, Any]) -> Any:
    """What an image is called; LVIS gives no ``file_name`` but the URL."""
    return entry.get("file_name", entry.get("coco_url"))


class CocoEntries:
    """One pass over the entries of a file.

    Args:
        file: the file, with the lists ``images``, ``annotations``, ``categories``.
        problems: gets every defect.
        lines: finds the line of a defect; None leaves lines out.
    """

    def __init__(self, file: JsonFile, problems: Problems, lines: EntryLines | None) -> None:
        self.file, self.path, self.problems, self.lines = file, file.path, problems, lines
        self.images: list[Any] = file.content["images"]
        self.boxes: list[Any] = file.content["annotations"]
        self.image_ids: set[Id] = set()
        self.rows: dict[str, int] = {}
        self.values = CocoBoxes(self.path, problems, lambda row: self.line("annotations", row))
        self.text_ids = {"category_id": 0, "image_id": 0}
        known = [as_id(entry.get("id")) for entry in self.images if isinstance(entry, dict)]
        self.known = {own for own in known if own is not None}
        self.numbered = all(is_numeric_id(own) for own in self.known)

    def line(self, key: str, row: int) -> int | None:
        """Line of the n-th entry of a list."""
        return None if self.lines is None else self.lines.line(key, row)

    def check_keys(self) -> None:
        """Report keys that stand twice in one object: of their values only the last is there."""
        for key in self.file.repeated_in(self.file.content):
            self.problems.error(
                "duplicate-key", self.path, None, f"the key {shown(key)} stands twice; the last is read"
            )
        for name in ("images", "annotations", "categories") if self.file.repeated else ():
            for row, entry in enumerate(self.file.content[name]):
                for key in self.file.repeated_in(entry):
                    text = f"{name}[{row}]: the key {shown(key)} stands twice; the last is read"
                    self.problems.error("duplicate-key", self.path, self.line(name, row), text)

    def check_categories(self, ids: list[int]) -> None:
        """Note gaps between category ids, and image ids that result files cannot hold."""
        if ids and ids != list(range(ids[0], ids[0] + len(ids))):
            gaps = ids[-1] - ids[0] + 1 - len(ids)
            self.problems.info(
                "category-gaps",
                self.path,
                self.line("categories", 0),
                f"{len(ids)} category ids from {ids[0]} to {ids[-1]} with {gaps} gaps; labels are 0..{len(ids) - 1}",
            )
        if not self.numbered:
            first = next(own for own in self.known if not is_numeric_id(own))
            self.problems.warning(
                "image-ids",
                self.path,
                self.line("images", 0),
                f"image ids are not all whole numbers below 2^63 (as {shown(first)}); images are numbered 1, 2, 3, ...",
            )

    def check_units(self) -> None:
        """Reject a file whose boxes are not x y width height in px.

        Raises:
            DataError: the boxes look like corners, or like shares of the image.
        """
        sizes = {
            as_id(entry.get("id")): (as_side(entry.get("height")), as_side(entry.get("width")))
            for entry in self.images
            if isinstance(entry, dict)
        }
        pairs = (
            (box, sizes.get(as_id(entry.get("image_id")), (0, 0)))
            for entry in self.boxes
            if isinstance(entry, dict) and (box := as_pixels(entry.get("bbox"))) is not None
        )
        problem = unit_problem(pairs)
        if problem:
            raise DataError(f"{self.path}: {problem}")

    def group(self) -> dict[Id, list[int]]:
        """Rows of the annotations by image; what belongs to no image, and what shares an id, is reported."""
        groups: dict[Id, list[int]] = {}
        seen: set[Id] = set()
        for row, entry in enumerate(self.boxes):
            if not isinstance(entry, dict):
                self._bad(row, "bad-annotation", f"annotation {row} is not a mapping; left out")
                continue
            own = as_id(entry.get("id"))
            if own == 0:
                text = "annotation id 0: pycocotools takes it for unmatched; renumbered here"
                self.problems.warning("annotation-id-0", self.path, self.line("annotations", row), text)
            if own is not None and own in seen:
                text = f"annotation id {plain_id(own)} is used twice; both boxes are kept"
                self._bad(row, "duplicate-annotation-id", text)
            if own is not None:
                seen.add(own)
            image = as_id(entry.get("image_id"))
            if image is None or image not in self.known:
                text = f"{entry_name(entry)}: no image has the id {shown(entry.get('image_id'))}; left out"
                self._bad(row, "unknown-image", text)
                continue
            self.text_ids["image_id"] += isinstance(entry["image_id"], str) and isinstance(image, int)
            groups.setdefault(image, []).append(row)
        return groups

    def image(self, builder: IndexBuilder, row: int, entry: Any, place: ImageFolder) -> Id | None:
        """Begin an image; its id, or None where it is left out."""
        problem = self._image_problem(entry, place)
        if problem:
            self.problems.error(problem[0], self.path, self.line("images", row), problem[1])
            return None
        own, file = as_id(entry["id"]), place.file(file_name(entry))
        assert own is not None
        assert file is not None
        self.image_ids.add(own)
        before = self.rows.setdefault(str(file), row)
        if before != row:
            text = f"{file_name(entry)}: the file of image {plain_id(self.images[before]['id'])} too; both are kept"
            self.problems.warning("duplicate-image", self.path, self.line("images", row), text)
        size = (as_side(entry.get("height")), as_side(entry.get("width")))
        if not all(size) or size[0] * size[1] > MAX_PIXELS:
            self.problems.warning(
                "no-size",
                self.path,
                self.line("images", row),
                f"{file_name(entry)}: width and height are missing or impossible; the image's own are used",
            )
            size = _read_size(file)
        builder.image(str(file), size, own if self.numbered and isinstance(own, int) else None)
        return own

    def _image_problem(self, entry: Any, place: ImageFolder) -> tuple[str, str] | None:
        own, name = (as_id(entry.get("id")), file_name(entry)) if isinstance(entry, dict) else (None, None)
        if own is None or name is None or not is_name(name):
            return "bad-image", f"an image needs an `id` and a `file_name`, not {shown(entry, 80)}; left out"
        if own in self.image_ids:
            return "duplicate-image-id", f"image id {plain_id(own)} is used twice; {name} is left out"
        if place.file(name) is None:
            return "unsafe-path", f"file_name {name!r} leaves the image folder; the image is left out"
        return None

    def annotations(self, builder: IndexBuilder, rows: list[int], label_of: dict[Id, int | None]) -> None:
        """Add the boxes of the image that was begun last.

        Args:
            builder: gets them.
            rows: of the annotations.
            label_of: label by category id; None for categories that are left out on purpose.
        """
        seen: set[tuple[int, Box]] = set()
        for row in rows:
            entry = self.boxes[row]
            category = as_id(entry.get("category_id"))
            if category is None or category not in label_of:
                text = f"{entry_name(entry)}: no category has the id {shown(entry.get('category_id'))}; left out"
                self._bad(row, "unknown-class", text)
                continue
            label = label_of[category]
            if label is None:
                continue
            self.text_ids["category_id"] += isinstance(entry["category_id"], str)
            self.values.add(builder, row, entry, label, seen)

    def tell_text_ids(self) -> None:
        """Note ids that were written as text."""
        for key, count in self.text_ids.items():
            if count:
                text = f"{count} annotations have their {key} as text; taken as numbers"
                self.problems.info("text-id", self.path, None, text)

    def _bad(self, row: int, code: str, message: str) -> None:
        self.problems.error(code, self.path, self.line("annotations", row), message)


def _read_size(path: Path) -> tuple[int, int]:
    try:
        return read_header(path).size
    except DataError:
        return 0, 0  # the image itself is reported when it is read
