"""What the files of annotation tools say, in one form, and its way into the index: one place where values are checked.

The parsers (``labelme``, ``via``, ``cvat_xml``, ``open_images``) take files apart and judge nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.image_names import ImageFolder, choose_folder, is_name
from detzoo.data.formats.index import Index, IndexBuilder
from detzoo.data.formats.mask_patch import joined, placed_mask
from detzoo.data.formats.values import as_flag, as_number, as_side, shown
from detzoo.errors import DataError
from detzoo.ops.mask_encoding import NO_MASK, encode_polygons
from detzoo.runtime.foreign_files import MissingFileError
from detzoo.runtime.images import MAX_PIXELS, read_header

_LOOKED_FOR: Final = 50
_MOST: Final = 2.0**31
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ToolShape:
    """One annotated object as a file states it.

    Args:
        name: of the class.
        points: x and y of two opposite corners, or of an outline of three points and more.
        line: where it stands.
        difficult: a flag.
        crowd: a flag: a group of objects.
        problem: why it cannot be read; the other values then mean nothing.
        kind: what the tool calls it, where it is no box and no outline; left out and counted.
        patch: a mask as PNG in base64, whose first and last pixel are the points.
        parts: outlines and masks that make one object together; the points then mean nothing.
    """

    name: Any
    points: Sequence[Any] = ()
    line: int | None = None
    difficult: Any = None
    crowd: Any = None
    problem: str | None = None
    kind: str | None = None
    patch: Any = None
    parts: Sequence[ToolShape] = ()


@dataclass(frozen=True)
class ToolImage:
    """One image of a file.

    Args:
        file: the annotation file.
        name: of the image.
        line: where it stands.
        size: height and width as stated; None where the format has none.
        relative: points are shares of the image.
        shapes: the objects.
        subset: the split that the file says it belongs to.
    """

    file: Path
    name: Any
    line: int | None = None
    size: tuple[Any, Any] | None = None
    relative: bool = False
    shapes: list[ToolShape] = field(default_factory=list)
    subset: str = ""


def class_names_of(entries: Sequence[ToolImage]) -> tuple[str, ...]:
    """The names of the classes in use, sorted."""
    shapes = (shape for entry in entries for shape in entry.shapes if shape.kind is None and shape.problem is None)
    return tuple(sorted({shape.name for shape in shapes if isinstance(shape.name, str) and shape.name}))


def to_index(
    entries: Sequence[ToolImage], folders: Sequence[Path], problems: Problems, *, classes: tuple[str, ...]
) -> Index:
    """Check every value and build the index.

    Args:
        entries: the images of a split.
        folders: that may hold them, the likeliest first.
        problems: gets every defect.
        classes: names by label.
    """
    good = [entry for entry in entries if is_name(entry.name)]
    for entry in entries:
        if not is_name(entry.name):
            text = f"the image has no name, but {shown(entry.name)}; left out"
            problems.error("bad-image", entry.file, entry.line, text)
    names = [entry.name for entry in good]
    place = choose_folder(folders, names[:: max(1, len(names) // _LOOKED_FOR)], names)
    guess = place.guess(names[0]) if names else None
    if guess is not None:
        problems.warning("guess", good[0].file, None, guess)
    reader = _Reader(problems, {name: label for label, name in enumerate(classes)}, place)
    for entry in good:
        reader.image(entry)
    for file, kinds in reader.unread.items():
        text = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        problems.warning("passed-over", file, None, f"neither boxes nor outlines, not read: {text}")
    return reader.builder.build()


class _Reader:
    def __init__(self, problems: Problems, labels: dict[str, int], place: ImageFolder) -> None:
        self.problems, self.labels, self.place = problems, labels, place
        self.builder = IndexBuilder()
        self.seen: set[Path] = set()
        self.unread: dict[Path, Counter[str]] = {}

    def image(self, entry: ToolImage) -> None:
        image = self.place.file(entry.name)
        if image is None:
            text = f"the image name {entry.name!r} leaves the image folder; left out"
            self.problems.error("unsafe-path", entry.file, entry.line, text)
            return
        if image in self.seen:
            text = f"{entry.name} is annotated twice; the second time is left out"
            self.problems.error("duplicate-image-id", entry.file, entry.line, text)
            return
        self.seen.add(image)
        try:
            own = read_header(image).size
        except DataError as error:
            code = "missing-image" if isinstance(error, MissingFileError) else "bad-image"
            text = f"{str(error).removeprefix(f'{image}: ')} ({image}); left out"
            self.problems.error(code, entry.file, entry.line, text)
            return
        size = self._size(entry, own)
        self.builder.image(str(image), size)
        kept: set[tuple[int, Box]] = set()
        for shape in entry.shapes:
            self._shape(entry, shape, size, kept)
        if not entry.shapes:
            self.problems.info("no-objects", entry.file, entry.line, f"{entry.name} has no objects")

    def _size(self, entry: ToolImage, own: tuple[int, int]) -> tuple[int, int]:
        if entry.size is None:
            return own
        height, width = (as_side(side) for side in entry.size)
        if height and width and height * width <= MAX_PIXELS:
            return height, width
        text = f"{entry.name}: height and width are {shown(entry.size)}; the image's own are used"
        self.problems.warning("no-size", entry.file, entry.line, text)
        return own

    def _shape(self, entry: ToolImage, shape: ToolShape, size: tuple[int, int], kept: set[tuple[int, Box]]) -> None:
        line = entry.line if shape.line is None else shape.line
        if shape.kind is not None:
            self.unread.setdefault(entry.file, Counter())[shape.kind] += 1
            return
        found = self._outline(entry, shape, size)
        problem = shape.problem or (found if isinstance(found, str) else None)
        if problem is not None or isinstance(found, str):
            self.problems.error("bad-annotation", entry.file, line, f"{entry.name}: {problem}; left out")
            return
        if not isinstance(shape.name, str) or shape.name not in self.labels:
            text = f"{entry.name}: class {shown(shape.name)} is not in the class list; left out"
            self.problems.error("unknown-class", entry.file, line, text)
            return
        box, mask = found
        name = f"{entry.name}: {shape.name}"
        if box[2] <= box[0] or box[3] <= box[1]:
            text = f"{name}: box of {box[2] - box[0]:g} x {box[3] - box[1]:g} px; left out"
            self.problems.error("zero-box", entry.file, line, text)
            return
        if not self._inside(entry.file, line, name, box, size):
            return
        label = self.labels[shape.name]
        if (label, box) in kept:
            self.problems.warning("duplicate-box", entry.file, line, f"{name}: the same box again; kept")
        kept.add((label, box))
        difficult, crowd = (self._flag(entry, line, name, value) for value in (shape.difficult, shape.crowd))
        self.builder.box(box, label, difficult=difficult, crowd=crowd, mask=mask)

    def _outline(self, entry: ToolImage, shape: ToolShape, size: tuple[int, int]) -> tuple[Box, bytes] | str:
        """Box and mask, or what is wrong with them."""
        if shape.parts:
            found = [self._outline(entry, part, size) for part in shape.parts]
            wrong = next((problem for problem in found if isinstance(problem, str)), None)
            return wrong or joined([part for part in found if not isinstance(part, str)], size)
        numbers = [as_number(value) for value in shape.points]
        good = [number for number in numbers if number is not None and abs(number) <= _MOST]
        if len(good) < len(numbers) or len(good) < 4 or len(good) % 2:
            return f"the points must be pairs of numbers, two at least, not {shown(list(shape.points))}"
        if shape.patch is not None:
            try:
                return placed_mask(shape.patch, good, size)
            except DataError as error:
                return str(error)
        if entry.relative:
            good = [number * size[1 - at % 2] for at, number in enumerate(good)]
        xs, ys = good[0::2], good[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
        return box, encode_polygons([good]) if len(good) >= 6 else NO_MASK

    def _flag(self, entry: ToolImage, line: int | None, name: str, value: Any) -> bool:
        flag = as_flag(value)
        if flag is None:
            text = f"{name}: a flag must be 0 or 1, not {shown(value)}; taken as 0"
            self.problems.error("bad-flag", entry.file, line, text)
        return flag is True

    def _inside(self, file: Path, line: int | None, name: str, box: Box, size: tuple[int, int]) -> bool:
        height, width = size
        if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
            text = f"{name}: box lies outside the image of {width} x {height} px; left out"
            self.problems.error("box-outside", file, line, text)
            return False
        beyond = max(-box[0], -box[1], box[2] - width, box[3] - height)
        if beyond > 1:
            text = f"{name}: box reaches {beyond:g} px beyond the image of {width} x {height} px; clipped"
            self.problems.warning("box-outside", file, line, text)
        return True
