"""YOLO txt -> index: ``labels/`` next to ``images/``, one line per box: class and relative cx cy w h, or a polygon."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.image_names import choose_folder
from detzoo.data.formats.index import Index, IndexBuilder
from detzoo.data.formats.paths import tell_passed_over
from detzoo.data.formats.values import as_number
from detzoo.data.formats.yolo_labels import NO_LABELS, label_folder
from detzoo.data.formats.yolo_rows import RowForm, in_pixels, pixel_problem, row_form, unit_problem
from detzoo.errors import DataError
from detzoo.ops.mask_encoding import NO_MASK, encode_polygons
from detzoo.runtime.foreign_files import MissingFileError, files_below, is_folder, is_ordinary, lines_of, read_text
from detzoo.runtime.images import SUFFIXES, read_header

_SAMPLED: Final = 500
"""Label files that are looked at before they are read."""
_LOOKED_FOR: Final = 50
"""Images of a list that are looked for."""
_LARGEST: Final = 1e9
"""Numbers beyond it are no shares of an image, whatever they are."""


def list_images(entry: Path, problems: Problems, root: Path | None = None) -> list[Path]:
    """Images of a split: those of a folder, or those that a text file lists, one path per line.

    Args:
        entry: the folder, or the list.
        problems: gets every defect.
        root: of the dataset; the paths of a list are relative to the folder of the list, or to this one.
    """
    if is_folder(entry):
        below = files_below(entry)
        tell_passed_over(entry, below, problems)
        return [path for path in below if path.suffix.lower() in SUFFIXES]
    if not is_ordinary(entry):
        raise DataError(f"{entry}: no such folder or list of images")
    lines = enumerate(lines_of(read_text(entry, what="list of images")), start=1)
    names = {line: text.strip() for line, text in lines if text.strip()}
    listed = list(names.values())
    folders = list(dict.fromkeys((entry.parent, root or entry.parent)))
    place = choose_folder(folders, listed[:: max(1, len(listed) // _LOOKED_FOR)], listed)
    guess = place.guess(listed[0]) if listed else None
    if guess is not None:
        problems.warning("guess", entry, None, guess)
    found: dict[Path, int] = {}
    for line, name in names.items():
        file = place.file(name)
        if file is None:
            problems.error("unsafe-path", entry, line, f"{name!r} leaves the dataset's folder; left out")
        elif found.setdefault(file, line) != line:
            text = f"{name} is listed in line {found[file]} already; this one is left out"
            problems.error("duplicate-image-id", entry, line, text)
    return list(found)


def read_yolo(
    images: Path,
    labels: Path,
    problems: Problems,
    *,
    classes: dict[int, str],
    label_of: dict[int, int],
    skip_unlabelled: bool = False,
    kpt_shape: Sequence[int] | None = None,
    task: str | None = None,
    root: Path | None = None,
) -> Index:
    """Read one split.

    Args:
        images: folder of images, or a text file that lists them.
        labels: folder of the label files.
        problems: gets every defect.
        classes: name by the number that stands in the files.
        label_of: label by the same number; numbers in ``classes`` but not here are left out on purpose.
        skip_unlabelled: leave out images without a label file, instead of taking them for empty.
        kpt_shape: keypoints of a row and numbers of each, which are left out.
        task: ``segment`` or ``obb``: long rows are outlines, without a look at them.
        root: of the dataset.

    Raises:
        DataError: the numbers are no shares of the image.
    """
    builder = IndexBuilder()
    pairs = [(image, _label_of(image, images, labels)) for image in list_images(images, problems, root)]
    expected = {label for _, label in pairs}
    shared = Counter(label for _, label in pairs)
    rows = _sample([label for _, label in pairs])
    problem = unit_problem(rows)
    if problem is not None:
        raise DataError(f"{labels}: {problem}")
    form = row_form(rows, kpt_shape=kpt_shape, task=task)
    if form.guess is not None:
        problems.warning("guess", labels, None, form.guess)
    reader = _Reader(problems, classes, label_of, skip_unlabelled, form)
    for image, label in pairs:
        if shared[label] > 1:
            problems.warning("shared-label", image, None, f"{shared[label]} images have the label file {label}")
        reader.image(builder, image, label)
    for label in files_below(labels) if is_folder(images) and is_folder(labels) else []:
        if label.suffix == ".txt" and label not in expected and label.name not in NO_LABELS:
            problems.error("missing-image", label, None, f"no image called {label.stem}; {_boxes(label)} left out")
    return builder.build()


def _label_of(image: Path, images: Path, labels: Path) -> Path:
    if is_folder(images):
        return labels / image.parent.relative_to(images) / f"{image.stem}.txt"
    # a list may name images of many folders, each with its own labels next to it
    there = label_folder(image.parent) / f"{image.stem}.txt"
    beside = image.with_suffix(".txt")
    # os.path's own: pathlib's raises where a name of the list is too long for any file
    return beside if not os.path.exists(there) and os.path.exists(beside) else there


def _sample(labels: list[Path]) -> list[list[float]]:
    """The rows of label files from all over the split, as numbers; rows with anything else are left to the reader."""
    rows = []
    for label in labels[:: max(1, len(labels) // _SAMPLED)]:
        try:
            texts = lines_of(read_text(label, what="label file")) if os.path.isfile(label) else []
        except DataError:
            continue
        for text in texts:
            numbers = [as_number(word) for word in text.split()]
            if len(numbers) >= 5 and None not in numbers:
                rows.append([number for number in numbers if number is not None])
    return rows


def _no_label(label: Path) -> str:
    folder = "" if is_folder(label.parent) else f" (there is no folder {label.parent})"
    return f"no label file {label}{folder}"


def _boxes(label: Path) -> str:
    try:
        return f"{sum(1 for text in lines_of(read_text(label, what='label file')) if text.strip())} boxes"
    except DataError:
        return "its boxes"


class _Reader:
    def __init__(
        self,
        problems: Problems,
        classes: dict[int, str],
        label_of: dict[int, int],
        skip_unlabelled: bool,
        form: RowForm,
    ) -> None:
        self.form = form
        self.problems, self.classes, self.label_of = problems, classes, label_of
        self.skip_unlabelled = skip_unlabelled

    def image(self, builder: IndexBuilder, image: Path, label: Path) -> None:
        try:
            size = read_header(image).size
        except DataError as error:
            code = "missing-image" if isinstance(error, MissingFileError) else "bad-image"
            self.problems.error(code, image, None, f"{str(error).removeprefix(f'{image}: ')}; left out")
            return
        if self.skip_unlabelled and not os.path.lexists(label):
            self.problems.warning("no-annotation", image, None, f"{_no_label(label)}; left out")
            return
        builder.image(str(image), size)
        try:
            text = read_text(label, what="label file")
        except DataError as error:
            if isinstance(error, MissingFileError) and not os.path.islink(label):
                text = f"{_no_label(label)}; taken for an image without objects"
                self.problems.warning("no-annotation", image, None, text)
                return
            reason = str(error).removeprefix(f"{label}: ")
            self.problems.error("bad-annotation", label, None, f"{reason}; the boxes are left out")
            return
        seen: set[str] = set()
        for line, row in enumerate(lines_of(text), start=1):
            if not row.strip():
                continue
            if row.strip() in seen:
                self.problems.warning("duplicate-box", label, line, "the same line again; kept")
            seen.add(row.strip())
            self.box(builder, label, line, row.split(), size)
        if not seen:
            self.problems.info("no-objects", label, None, "no objects")

    def box(self, builder: IndexBuilder, path: Path, line: int, row: list[str], size: tuple[int, int]) -> None:
        numbers = [number for text in row if (number := as_number(text)) is not None and abs(number) <= _LARGEST]
        keypoints, problem = self.form.keypoints, self.form.problem
        polygon = len(row) >= 7 and len(row) % 2 == 1 and not keypoints and problem is None
        boxed = len(row) in (5, 5 + keypoints)
        if len(numbers) < len(row) or not (boxed or polygon) or numbers[0] != int(numbers[0]):
            needed = "needed: class cx cy w h, or class and the x y of at least 3 points"
            if keypoints:
                needed = f"needed: class cx cy w h, and {keypoints} numbers of keypoints (kpt_shape)"
            why = needed if problem is None or len(row) <= 5 else problem
            self.problems.error("bad-annotation", path, line, f"{' '.join(row)[:60]!r}: {why}; left out")
            return
        number = int(numbers[0])
        if number not in self.classes:
            self.problems.error("unknown-class", path, line, f"class {number} has no name in the class list; left out")
            return
        if number not in self.label_of:
            return
        name = self.classes[number]
        if in_pixels(numbers):
            self.problems.error("bad-annotation", path, line, f"{name}: {pixel_problem(numbers)}; left out")
            return
        box, mask = _polygon(numbers[1:], size) if polygon else (_centre_box(numbers[1:5], size), NO_MASK)
        width, height = box[2] - box[0], box[3] - box[1]
        if width <= 0 or height <= 0:
            kind = "negative" if min(width, height) < 0 else "zero"
            self.problems.error(f"{kind}-box", path, line, f"{name}: box of {width:g} x {height:g} px; left out")
        elif self._inside(path, line, name, box, size):
            builder.box(box, self.label_of[number], mask=mask)

    def _inside(
        self, path: Path, line: int, name: str, box: tuple[float, float, float, float], size: tuple[int, int]
    ) -> bool:
        height, width = size
        if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
            self.problems.error("box-outside", path, line, f"{name}: box lies outside the image; left out")
            return False
        beyond = max(-box[0], -box[1], box[2] - width, box[3] - height)
        if beyond > 1:
            self.problems.warning(
                "box-outside", path, line, f"{name}: box reaches {beyond:.1f} px beyond the image; clipped"
            )
        return True


def _centre_box(values: list[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    (height, width), (cx, cy, w, h) = size, values
    return (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height


def _polygon(values: list[float], size: tuple[int, int]) -> tuple[tuple[float, float, float, float], bytes]:
    height, width = size
    xs, ys = [x * width for x in values[0::2]], [y * height for y in values[1::2]]
    points = [value for pair in zip(xs, ys, strict=True) for value in pair]
    return (min(xs), min(ys), max(xs), max(ys)), encode_polygons([points])
