"""Boxes in other units than they should be: COCO's are x y width height, VOC's corners, both in px of the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

_FEW: Final = 5
"""Boxes from which on all of them say something about the unit; a few tiny ones may be real."""
_LARGEST_SHARE: Final = 1.5
_SUSPICIOUS: Final = 0.2
"""Share of boxes that leave their image from which on the form of all is in doubt."""
_SLACK: Final = 2.0
"""Px by which a box may leave its image, for rounding."""

Numbers = tuple[float, float, float, float]


def unit_problem(boxes: Iterable[tuple[Numbers, tuple[int, int]]]) -> str | None:
    """What the numbers look like where they cannot be x y width height in px.

    Args:
        boxes: four numbers of each box, and (height, width) px of its image, 0 where unknown.

    Returns:
        a message without a place, or None where nothing speaks against px.
    """
    count = leaving = 0
    largest, first, corners = 0.0, None, True
    for (x, y, width, height), (rows, columns) in boxes:
        count += 1
        largest = max(largest, x, y, width, height)
        if rows and columns:
            corners = corners and x <= width <= columns + _SLACK and y <= height <= rows + _SLACK
            if x + width > columns + _SLACK or y + height > rows + _SLACK:
                leaving += 1
                first = first or [x, y, width, height]
    if count >= _FEW and largest <= _LARGEST_SHARE:
        return (
            f"the boxes look like shares of the image (the largest of all {count} x 4 numbers is {largest:g}); "
            "write [x, y, width, height] in px"
        )
    if count >= _FEW and leaving >= _SUSPICIOUS * count and corners:
        return (
            f"the boxes look like corners [x1, y1, x2, y2]: taken as [x, y, width, height], {leaving} of {count} leave "
            f"their images (the first: {first}); write [x, y, width, height] in px"
        )
    return None


def corner_problem(boxes: Sequence[tuple[Numbers, tuple[int, int]]]) -> str | None:
    """``unit_problem`` for VOC: what the numbers look like where they cannot be xmin ymin xmax ymax in px."""
    if len(boxes) < _FEW:
        return None
    largest = max(max(box) for box, _ in boxes)
    if largest <= _LARGEST_SHARE:
        return (
            f"the boxes look like shares of the image (the largest of all {len(boxes)} x 4 numbers is {largest:g}); "
            "write xmin ymin xmax ymax in px"
        )
    turned = [box for box, _ in boxes if box[2] < box[0] or box[3] < box[1]]
    sized = all(
        rows and columns and x + width <= columns + _SLACK and y + height <= rows + _SLACK
        for (x, y, width, height), (rows, columns) in boxes
    )
    if sized and len(turned) >= _SUSPICIOUS * len(boxes):
        return (
            f"the boxes look like [x, y, width, height]: taken as xmin ymin xmax ymax, {len(turned)} of {len(boxes)} "
            f"are turned round (the first: {list(turned[0])}); write xmin ymin xmax ymax in px"
        )
    return None
