"""What the rows of YOLO label files are: boxes, outlines, or what another tool wrote: keypoints, track ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Row = Sequence[float]
_FEW: Final = 5
"""Rows from which on all of them say something about the unit."""
_SLACK: Final = 0.01
"""Share of the image, or of a box, by which a number may be rounded."""
_SUSPICIOUS: Final = 0.2
"""Share of boxes that leave their image from which on the form of all is in doubt."""
_LARGEST_SHARE: Final = 1.5


@dataclass(frozen=True)
class RowForm:
    """How rows of more than five numbers are read.

    Args:
        keypoints: numbers after the box that are left out; 0: such rows are outlines.
        problem: why they can be neither; each such row is an error.
        guess: what was assumed.
    """

    keypoints: int = 0
    problem: str | None = None
    guess: str | None = None


def row_form(rows: Sequence[Row], *, kpt_shape: Sequence[int] | None = None, task: str | None = None) -> RowForm:
    """Decide how the long rows of a split are read.

    Outlines have as many points as each shape needs. Rows that are all of one length may be something else: keypoints
    lie within the box that the first four numbers describe, where an outline's first two points do not describe one.

    Args:
        rows: class and numbers, of any length.
        kpt_shape: keypoints of a row and numbers of each, as a data.yaml says.
        task: ``segment`` and ``obb`` say that the rows are outlines.
    """
    if kpt_shape is not None and task in (None, "pose"):
        return RowForm(keypoints=kpt_shape[0] * kpt_shape[1])
    long = [row for row in rows if len(row) > 5]
    if task in ("segment", "obb") or len({len(row) for row in long}) != 1:
        return RowForm()
    count = len(long[0])
    if count in (6, 7) and all(row[-1] == int(row[-1]) for row in long):
        return RowForm(problem="looks like a box with a track id; write class cx cy w h alone")
    if count > 7 and (count - 5) % 3 == 0 and all(set(row[7::3]) <= {0, 1, 2} for row in long):
        shape = f"[{(count - 5) // 3}, 3]"
        return RowForm(problem=f"looks like a box with keypoints; write `kpt_shape: {shape}` in the data.yaml")
    if count < 7 or count % 2 == 0:
        return RowForm()
    shape = f"[{(count - 5) // 2}, 2]"
    votes = [_is_pose(row) for row in long]
    if votes.count(True) > votes.count(False):
        return RowForm(
            problem=f"looks like a box with keypoints; write `kpt_shape: {shape}` in the data.yaml, or `task: segment` "
            "where it is an outline"
        )
    if not any(vote is False for vote in votes):
        text = f"rows of {count} numbers are taken for outlines; `kpt_shape: {shape}` in the data.yaml says otherwise"
        return RowForm(guess=text)
    return RowForm()


def _is_pose(row: Row) -> bool | None:
    """Whether the numbers after the first four are points within the box of those; None where both can be."""
    x, y, width, height = row[1:5]
    sides = ((x - width / 2, x + width / 2), (y - height / 2, y + height / 2))
    if not (width > 0 and height > 0 and all(low >= -_SLACK and high <= 1 + _SLACK for low, high in sides)):
        return False

    def inside(point: tuple[float, float]) -> bool:
        return all(low - _SLACK <= value <= high + _SLACK for value, (low, high) in zip(point, sides, strict=True))

    points = [point for point in zip(row[5::2], row[6::2], strict=True) if point != (0, 0)]  # 0 0: not seen
    if not all(inside(point) for point in points):
        return False
    return None if inside((width, height)) else True


def in_pixels(row: Row) -> bool:
    """Whether the first four numbers after the class, a box or two points, are too large for shares of an image.

    A single one is no sign of it: a far point of an outline, or a box that reaches far beyond the image.
    """
    return sum(number > _LARGEST_SHARE for number in row[1:5]) > 1


def pixel_problem(row: Row) -> str:
    """What is wrong with a row whose numbers are ``in_pixels``."""
    return f"the numbers look like px (the first: {_shown(row[1:5])}); YOLO's are shares of the image, 0 to 1"


def unit_problem(rows: Iterable[Row]) -> str | None:
    """What the numbers of plain boxes look like where they cannot be cx cy w h in shares of the image."""
    rows = list(rows)
    large = [row for row in rows if in_pixels(row)]
    if len(rows) >= _FEW and len(large) > len(rows) / 2:
        return pixel_problem(large[0])
    boxes = [row[1:5] for row in rows if len(row) == 5]
    if len(boxes) < _FEW:
        return None
    leaving = [
        (x, y, width, height)
        for x, y, width, height in boxes
        if x + width / 2 > 1 + _SLACK
        or y + height / 2 > 1 + _SLACK
        or x < width / 2 - _SLACK
        or y < height / 2 - _SLACK
    ]
    corners = all(x1 <= x2 <= 1 + _SLACK and y1 <= y2 <= 1 + _SLACK for x1, y1, x2, y2 in boxes)
    if corners and len(leaving) >= _SUSPICIOUS * len(boxes):
        return (
            f"the rows look like class x1 y1 x2 y2: taken as class cx cy w h, {len(leaving)} of {len(boxes)} boxes "
            f"leave their images (the first: {_shown(leaving[0])}); write class cx cy w h"
        )
    return None


def _shown(numbers: Iterable[Any]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
