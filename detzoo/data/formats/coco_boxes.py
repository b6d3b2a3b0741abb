"""The values of one COCO annotation, checked: box, flags, area and mask go to the builder, defects to the problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.index import IndexBuilder
from detzoo.data.formats.values import as_flag, as_id, as_number, as_pixels, shown
from detzoo.errors import DataError
from detzoo.ops.mask_encoding import NO_MASK, decode_polygons, is_polygons
from detzoo.ops.segmentation import encode_segmentation, extent

Id: TypeAlias = int | str
Box: TypeAlias = tuple[float, float, float, float]
_SHARES: Final = 1.5
"""Largest number of an outline that is given in shares of the image."""


class CocoBoxes:
    """Annotations of known images and classes.

    Args:
        path: of the file.
        problems: gets every defect.
        line: finds the line of the n-th annotation; None where lines are left out.
    """

    def __init__(self, path: Path, problems: Problems, line: Callable[[int], int | None]) -> None:
        self.path, self.problems, self.line = path, problems, line

    def add(
        self, builder: IndexBuilder, row: int, entry: dict[str, Any], label: int, seen: set[tuple[int, Box]]
    ) -> None:
        """Add an annotation to the image that was begun last, unless its box is none.

        Args:
            builder: gets it.
            row: of the annotation.
            entry: the annotation.
            label: of its category.
            seen: labels and boxes of the image; gets this one.
        """
        name = entry_name(entry)
        box = self._box(builder, row, name, entry.get("bbox"))
        if box is None:
            return
        if (label, box) in seen:
            self._tell(row, "duplicate-box", f"{name}: the same box again; kept")
        seen.add((label, box))
        builder.box(
            box,
            label,
            difficult=self._flag(row, name, entry, "ignore"),
            crowd=self._flag(row, name, entry, "iscrowd"),
            area=self._area(row, name, entry),
            mask=self._mask(builder.sizes[-1], row, name, entry.get("segmentation"), box),
        )

    def _box(self, builder: IndexBuilder, row: int, name: str, value: Any) -> Box | None:
        numbers = as_pixels(value)
        if numbers is None:
            self._bad(row, "bad-box", f"{name}: bbox must be four finite numbers x y w h, not {shown(value)}; left out")
            return None
        x, y, width, height = numbers
        if width <= 0 or height <= 0:
            kind = "negative" if min(width, height) < 0 else "zero"
            self._bad(row, f"{kind}-box", f"{name}: box of {width:g} x {height:g} px; left out")
            return None
        box = (x, y, x + width, y + height)
        return box if self._inside(builder, row, name, box) else None

    def _inside(self, builder: IndexBuilder, row: int, name: str, box: Box) -> bool:
        height, width = builder.sizes[-1]
        if not (height and width):
            return True
        if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
            self._bad(row, "box-outside", f"{name}: box lies outside the image of {width} x {height} px; left out")
            return False
        beyond = max(-box[0], -box[1], box[2] - width, box[3] - height)
        if beyond > 1:
            self._tell(
                row,
                "box-outside",
                f"{name}: box reaches {beyond:g} px beyond the image of {width} x {height} px; clipped",
            )
        return True

    def _flag(self, row: int, name: str, entry: dict[str, Any], key: str) -> bool:
        flag = as_flag(entry.get(key))
        if flag is None:
            self._bad(row, "bad-flag", f"{name}: {key} must be 0 or 1, not {shown(entry[key])}; taken as 0")
        return flag is True

    def _area(self, row: int, name: str, entry: dict[str, Any]) -> float | None:
        area = as_number(entry.get("area"))
        if area is not None and area > 0:
            return area
        text = f"{name}: no area; {'the segmentation' if entry.get('segmentation') else 'width x height'} is used"
        self._tell(row, "no-area", text)
        return None

    def _mask(self, size: tuple[int, int], row: int, name: str, value: Any, box: Box) -> bytes:
        try:
            mask = encode_segmentation(value, size)
            if not is_polygons(mask):
                if mask == NO_MASK and value:
                    text = f"{name}: a segmentation of less than three points; the box has no mask"
                    self._tell(row, "bad-mask", text)
                return mask
            self._check_outline(size, row, name, extent(decode_polygons(mask)), box)
        except DataError as error:
            self._bad(row, "bad-mask", f"{name}: {error}; the box has no mask")
            return NO_MASK
        return mask

    def _check_outline(self, size: tuple[int, int], row: int, name: str, outline: Box, box: Box) -> None:
        """Report an outline that reaches beyond the image.

        Raises:
            DataError: it lies elsewhere than its box, which the mask would contradict.
        """
        if max(outline) <= _SHARES and min(outline) >= 0 and max(box[2] - box[0], box[3] - box[1]) > 2 * _SHARES:
            raise DataError("the outline lies within 0..1: it looks like shares of the image, COCO's is in px")
        if outline[0] > box[2] or outline[1] > box[3] or outline[2] < box[0] or outline[3] < box[1]:
            raise DataError("the outline lies outside its box")
        height, width = size
        beyond = max(-outline[0], -outline[1], outline[2] - width, outline[3] - height)
        if all(size) and beyond > 1:
            self._tell(
                row,
                "mask-outside",
                f"{name}: the outline reaches {beyond:g} px beyond the image of {width} x {height} px; clipped",
            )

    def _bad(self, row: int, code: str, message: str) -> None:
        self.problems.error(code, self.path, self.line(row), message)

    def _tell(self, row: int, code: str, message: str) -> None:
        self.problems.warning(code, self.path, self.line(row), message)


def entry_name(entry: dict[str, Any]) -> str:
    """What messages call an annotation."""
    own = as_id(entry.get("id"))
    return f"annotation {shown(entry.get('id')) if own is None else plain_id(own)}"


def plain_id(own: Id) -> str:
    """An id for a message; long or unprintable text is quoted and cut."""
    return own if isinstance(own, str) and len(own) <= 60 and own.isprintable() else shown(own)
