"""Boxes, names and scores on images.

Colours belong to labels, not to images: label 3 looks the same everywhere. Every line has a dark rim, and every label
its own background, so that both can be read on any image.
"""

from __future__ import annotations

import base64
import colorsys
import dataclasses
import html
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from detzoo.errors import DataError
from detzoo.runtime.atomic_files import write_bytes
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.report_text import class_name

if TYPE_CHECKING:
    from detzoo.prediction.detections import Detections
    from detzoo.types import Sample

ImageArray: TypeAlias = NDArray[np.uint8]
Colour: TypeAlias = tuple[int, int, int]
Rectangle: TypeAlias = tuple[int, int, int, int]

# Okabe and Ito, "Color Universal Design" (2008): distinguishable with the common colour-vision deficiencies. Black is
# left out (it is the outline), and the order puts the most different ones first.
OKABE_ITO: Final[tuple[Colour, ...]] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
DARK: Final[Colour] = (16, 16, 16)
LIGHT: Final[Colour] = (250, 250, 250)
GREY: Final[Colour] = (150, 150, 150)
_GOLDEN: Final = 0.61803398875  # of a turn: successive hues stay far apart, however many there are
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_MASK_OPACITY: Final = 0.45
_CROWDED: Final = 0.2  # share of the image that labels may hide


@dataclass(frozen=True)
class Mark:
    """One thing to draw.

    Args:
        box: xyxy px of the image.
        text: label, or empty.
        colour: RGB.
        dashed: for what does not count as usual (difficult, crowd, ignored).
        mask: bool or uint8 [H,W], or None.
        weight: line width relative to the image's usual one; thin lines (below 1) have no dark rim.
    """

    box: tuple[float, float, float, float]
    text: str = ""
    colour: Colour = OKABE_ITO[0]
    dashed: bool = False
    mask: NDArray[Any] | None = None
    weight: float = 1.0


def colour_of(label: int) -> Colour:
    """RGB of a class: seven colours for colour-blind readers, then hues that differ in lightness too."""
    if 0 <= label < len(OKABE_ITO):
        return OKABE_ITO[label]
    value = (0.95, 0.72, 0.5)[label % 3]
    red, green, blue = colorsys.hsv_to_rgb((label * _GOLDEN) % 1.0, 0.75, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def line_width(size: tuple[int, int]) -> int:
    """Pixels of a box's outline on an image of (height, width): 2 at 500 px, 4 at 1300."""
    return max(1, round(sum(size) / 2 * 0.0032))


def draw_detections(image: Any, detections: Detections, *, min_score: float = 0.0) -> ImageArray:
    """Boxes, names and scores on a copy of an image.

    Args:
        image: array uint8 [H,W,3] RGB, PIL image, path or URL: the image that the detections belong to.
        detections: in the image's pixels.
        min_score: detections below it are left out.

    Returns:
        uint8 [H,W,3] RGB.
    """
    from detzoo.runtime.images import read_image

    pixels = read_image(image)
    if pixels.shape[:2] != detections.size:
        raise DataError(
            f"these detections belong to an image of {detections.size[0]}x{detections.size[1]} px (height x width), "
            f"this one has {pixels.shape[0]}x{pixels.shape[1]}; draw on the image that was given to predict"
        )
    names = detections.names
    marks = []
    for row, (box, score, label) in enumerate(
        zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
    ):
        if score >= min_score:
            mask = None if detections.masks is None else detections.masks[row].numpy()
            text = f"{names[row]} {score:.2f}"
            marks.append(Mark(tuple(box), text, colour_of(label), mask=mask, weight=_weight(mask)))
    return draw_marks(pixels, marks[::-1])  # the best score last: on top


def draw_sample(sample: Sample, classes: Sequence[str | None]) -> ImageArray:
    """The ground truth of a sample on a copy of its image; difficult and crowd boxes are dashed and say so.

    Args:
        sample: image and annotations.
        classes: name of each label.

    Returns:
        uint8 [H,W,3] RGB.
    """
    marks = []
    for row, (box, label) in enumerate(zip(sample.boxes.tolist(), sample.labels.tolist(), strict=True)):
        flags = [
            name for name, flag in (("difficult", sample.difficult[row]), ("crowd", sample.crowd[row])) if bool(flag)
        ]
        name = class_name(classes, label)
        text = f"{name} ({', '.join(flags)})" if flags else name
        mask = None if sample.masks is None else sample.masks[row]
        marks.append(Mark(tuple(box), text, colour_of(label), dashed=bool(flags), mask=mask, weight=_weight(mask)))
    return draw_marks(sample.image, marks)


def _weight(mask: object | None) -> float:
    """Next to an outline the box is less prominent."""
    return 1.0 if mask is None else 0.5


def draw_marks(image: ImageArray, marks: Iterable[Mark]) -> ImageArray:
    """All marks on a copy of an image: masks below boxes below labels, the later marks on top.

    Labels that together would hide too much of the image are left out, all of them.

    Args:
        image: uint8 [H,W,3] RGB.
        marks: in the image's pixels; boxes may reach beyond it.
    """
    drawn = np.ascontiguousarray(image).copy()
    marks = [mark for mark in marks if np.isfinite(mark.box).all()]
    for mark in marks:
        if mark.mask is not None:
            _tint(drawn, mark)
    width = line_width(drawn.shape[:2])
    if _hidden_by_labels(drawn, marks) > _CROWDED:
        marks = [dataclasses.replace(mark, text="") for mark in marks]
    for mark in marks:
        _outline(drawn, mark, max(1, round(width * mark.weight)))
    taken: list[Rectangle] = []
    for mark in reversed(marks):  # the most important label chooses its place first
        if mark.text:
            taken.append(_label(drawn, mark, taken))
    return drawn


def _tint(image: ImageArray, mark: Mark) -> None:
    """The mask tinted and outlined; only the rectangle around it is touched."""
    inside = np.asarray(mark.mask).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(inside)
    if not width:
        return
    inside = inside[top : top + height, left : left + width]
    part = image[top : top + height, left : left + width]
    tinted = part[inside > 0] * (1 - _MASK_OPACITY) + np.array(mark.colour) * _MASK_OPACITY  # pixels of the mask alone
    part[inside > 0] = tinted.round().astype(np.uint8)
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, line_width(image.shape[:2]) // 2)
    cv2.drawContours(image, outlines, -1, mark.colour, thickness, offset=(left, top))


def _hidden_by_labels(image: ImageArray, marks: Sequence[Mark]) -> float:
    """Share of the image that all labels take together."""
    sizes = [_label_size(image, mark.text) for mark in marks if mark.text]
    hidden: int = sum(width * height for width, height in sizes)
    share: float = hidden / (image.shape[0] * image.shape[1])
    return share


def _outline(image: ImageArray, mark: Mark, width: int) -> None:
    """A coloured rectangle with a dark rim, centred on the box's edge."""
    # OpenCV's fixed-point coordinates overflow
    x1, y1, x2, y2 = (round(float(np.clip(value, -1e4, 1e5))) for value in mark.box)
    # right and bottom are exclusive
    corners = np.array([[x1, y1], [x2 - 1, y1], [x2 - 1, y2 - 1], [x1, y2 - 1]], np.int32)
    rim = width + max(2, width // 2 * 2)
    lines = ((DARK, rim), (mark.colour, width)) if mark.weight >= 1 else ((mark.colour, width),)
    for colour, thickness in lines:
        if mark.dashed:
            _dashes(image, corners, colour, thickness, 4 * width + 4)
        else:
            cv2.polylines(image, [corners], isClosed=True, color=colour, thickness=thickness)


def _dashes(image: ImageArray, corners: NDArray[np.int32], colour: Colour, thickness: int, length: int) -> None:
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        span = float(np.linalg.norm(end - start))
        count = min(max(1, int(span // length)), 999) | 1  # odd: a dash at both ends
        points = np.linspace(start, end, count + 1).round().astype(int)
        for first, last in zip(points[:-1:2], points[1::2], strict=True):
            cv2.line(image, first.tolist(), last.tolist(), colour, thickness)


def _label(image: ImageArray, mark: Mark, taken: Sequence[Rectangle]) -> Rectangle:
    """Write the text on its own background at the first free place of the box; the rectangle it took."""
    scale, stroke, pad = _lettering(image)
    text = _plain(mark.text)
    size = _label_size(image, mark.text)
    ascent = cv2.getTextSize(text, _FONT, scale, stroke)[0][1]
    left, top = _place(mark.box, size, image.shape[:2], taken)
    cv2.rectangle(image, (left, top), (left + size[0] - 1, top + size[1] - 1), mark.colour, cv2.FILLED)
    cv2.rectangle(image, (left, top), (left + size[0] - 1, top + size[1] - 1), DARK, 1)
    ink = DARK if _luminance(mark.colour) > 0.186 else LIGHT  # 0.186: both inks have the same contrast there
    cv2.putText(image, text, (left + pad, top + pad + ascent), _FONT, scale, ink, stroke, cv2.LINE_AA)
    return left, top, left + size[0], top + size[1]


def _lettering(image: ImageArray) -> tuple[float, int, int]:
    """Scale, stroke and padding of labels on an image of this size."""
    scale = max(0.35, line_width(image.shape[:2]) * 0.22)
    return scale, max(1, round(scale * 1.6)), max(2, round(scale * 5))


def _label_size(image: ImageArray, text: str) -> tuple[int, int]:
    """(width, height) px of a label."""
    scale, stroke, pad = _lettering(image)
    (width, ascent), descent = cv2.getTextSize(_plain(text), _FONT, scale, stroke)
    return width + 2 * pad, ascent + descent + 2 * pad


def _place(
    box: tuple[float, float, float, float], size: tuple[int, int], limits: tuple[int, ...], taken: Sequence[Rectangle]
) -> tuple[int, int]:
    """Top left corner of a label: above the box, inside it at the top, below it, inside at the bottom; else above."""
    width, height = size
    x1, y1, x2, y2 = (int(np.clip(round(float(value)), -1e4, 1e5)) for value in box)
    furthest = max(0, limits[1] - width)
    lowest = max(0, limits[0] - height)
    columns = [min(max(x, 0), furthest) for x in (x1, x2 - width)]
    wishes = [(x, y) for y in (y1 - height, y1, y2, y2 - height) for x in columns]
    inside = [(x, y) for x, y in wishes if 0 <= y <= lowest] or [(columns[0], min(max(y1, 0), lowest))]
    for x, y in inside:
        if not any(x < r and x + width > left and y < b and y + height > t for left, t, r, b in taken):
            return x, y
    return inside[0]


def _luminance(colour: Colour) -> float:
    """Relative luminance 0..1 (WCAG 2)."""
    linear = [(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _plain(text: str) -> str:
    """OpenCV's own font knows ASCII alone: accents fall off, other letters become question marks."""
    simple = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return simple.encode("ascii", "replace").decode("ascii")


def detections_html(detections: Detections, *, max_side: int = 800) -> str:
    """What a notebook shows: the image with its boxes where the file is at hand, then a table.

    Args:
        detections: of one image.
        max_side: the image is shrunk to this many pixels, to keep notebooks small.
    """
    image = ""
    if detections.path is not None and is_ordinary(Path(detections.path)):
        drawn = draw_detections(detections.path, detections)
        shrink = min(1.0, max_side / max(drawn.shape[:2]))
        if shrink < 1:
            drawn = cv2.resize(drawn, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        data = base64.b64encode(encode_image(drawn, ".jpg")).decode("ascii")
        image = f'<img src="data:image/jpeg;base64,{data}" alt="{len(detections)} detections">'
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{score:.3f}</td><td>{', '.join(f'{v:.1f}' for v in box)}</td></tr>"
        for name, score, box in zip(
            detections.names, detections.scores.tolist(), detections.boxes.tolist(), strict=True
        )
    )
    if not rows:
        return f"{image}<p>no detections</p>"
    head = "<tr><th>class</th><th>score</th><th>x1, y1, x2, y2 (px)</th></tr>"
    return f"{image}<table>{head}{rows}</table>"


def encode_image(image: ImageArray, suffix: str = ".png", *, quality: int = 92) -> bytes:
    """The bytes of an image file.

    Args:
        image: uint8 [H,W,3] RGB.
        suffix: of the file format: ``.png``, ``.jpg``.
        quality: 1..100, for JPEG.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix.lower() in {".jpg", ".jpeg"} else []
    try:
        fine, encoded = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    except cv2.error:
        fine = False
    if not fine:
        raise DataError(f"cannot write images as {suffix}; use .png or .jpg")
    return bytes(encoded.tobytes())


def write_image(path: Path, image: ImageArray) -> None:
    """Write an image, whole or not at all; the suffix decides the format. Any path works, also beyond ASCII."""
    write_bytes(path, encode_image(image, path.suffix))
