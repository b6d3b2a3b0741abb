"""PASCAL VOC xml -> index: the devkit with ImageSets, or any folder of xml and images.

ImageNet-DET's xml is the same format. Coordinates in VOC files are 1-based and inclusive; which of the three ways in
use is taken to continuous boxes is a field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.cvat_xml import is_cvat
from detzoo.data.formats.index import Index, IndexBuilder
from detzoo.data.formats.paths import escapes, image_files
from detzoo.data.formats.units import corner_problem
from detzoo.data.formats.values import as_flag, as_pixels, as_side, shown
from detzoo.data.formats.voc_sets import listed_name
from detzoo.data.formats.voc_xml import VocFile, VocObject, read_voc_xml
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import files_below, files_in, is_folder, lines_of, read_text
from detzoo.runtime.images import MAX_PIXELS, read_header

Coordinates: TypeAlias = Literal["subtract_min", "subtract_all", "as_is"]
"""``subtract_min``: 1 is taken from xmin and ymin (Detectron2; a box 1..10 is 10 px wide); ``subtract_all``: from all
four (Fast R-CNN, mmdetection); ``as_is``: the file is 0-based and exclusive already."""

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_ANNOTATIONS = ("Annotations", "annotations", "xml", "xmls")
_IMAGES = ("JPEGImages", "images", "Images")


def find_roots(folder: Path) -> list[Path]:
    """The VOC roots at a folder or one level below: folders with Annotations, or with xml files of their own."""
    if _is_root(folder):
        return [folder]
    below = [path for path in sorted(folder.iterdir()) if is_folder(path)] if is_folder(folder) else []
    return [path for path in below if _is_root(path)]


def _is_root(folder: Path) -> bool:
    return any(is_folder(folder / name) for name in _ANNOTATIONS if _has_xml(folder / name)) or _has_xml(folder)


def _has_xml(folder: Path) -> bool:
    first = next(folder.glob("*.xml"), None)
    return first is not None and not is_cvat(first)


def annotation_files(folder: Path) -> dict[str, Path]:
    """The xml files of a root, or of a folder of annotations at any depth, by stem.

    Files of one stem in several folders are called by their path below the root, as ``a/0001``.
    """
    inside = _annotation_folder(folder)
    beside = [path for path in files_in(inside) if path.suffix == ".xml"]
    found = beside or [path for path in files_below(inside) if path.suffix == ".xml"]
    times = Counter(path.stem for path in found)
    return {
        path.stem if times[path.stem] == 1 else path.relative_to(inside).with_suffix("").as_posix(): path
        for path in found
    }


def discover_classes(roots: Sequence[Path]) -> tuple[str, ...]:
    """All class names in all files of the roots, sorted; VOC's twenty in VOC's order where they suffice for a VOC year.

    Every split must see the same classes, so the files of all splits are read.
    """
    names: set[str] = set()
    for folder in roots:
        for path in sorted(annotation_files(folder).values()):
            try:
                names |= {found.texts.get("name", "") for found in read_voc_xml(path).objects}
            except DataError:
                continue  # reported when the split is read
    names.discard("")
    if names <= set(VOC_CLASSES) and any(root.name.upper().startswith("VOC20") for root in roots):
        return VOC_CLASSES
    return tuple(sorted(names))


def read_voc(
    root: Path,
    image_set: Path | None,
    problems: Problems,
    *,
    classes: tuple[str, ...],
    coordinates: Coordinates = "subtract_min",
    images: Path | None = None,
) -> Index:
    """Read one split of one root.

    Args:
        root: folder with Annotations and JPEGImages, or with xml and images side by side; or of xml alone.
        image_set: list of stems; every xml of the root by default.
        problems: gets every defect.
        classes: names by label; boxes of other classes are left out and reported.
        coordinates: how the file's numbers become continuous boxes.
        images: folder of the images, at any depth, where they are not in the root.

    Raises:
        DataError: the boxes are in other units.
    """
    folder = _annotation_folder(root)
    files = annotation_files(root)
    below = any(path.parent != folder for path in files.values())
    found = image_files(images or _image_folder(root), deep=below or images is not None)
    if image_set is None:
        stems: list[tuple[str, Path | None, int | None]] = [(stem, None, None) for stem in files]
        for stem in sorted(found.keys() - {path.stem for path in files.values()}):
            problems.warning("no-annotation", found[stem][0], None, "the image has no xml; left out")
    else:
        stems = [(stem, image_set, line) for stem, line in _read_list(image_set, files, problems)]
    builder = IndexBuilder()
    reader = _Reader(problems, {name: label for label, name in enumerate(classes)}, coordinates, found)
    for stem, listed_in, line in stems:
        if stem in files:
            reader.file(builder, files[stem])
        else:
            problems.error(
                "no-annotation", listed_in or folder, line, f"{stem}: no xml of that name in {folder}; left out"
            )
    problem = corner_problem(reader.raw)
    if problem is not None:
        raise DataError(f"{folder}: {problem}")
    return builder.build()


def _annotation_folder(root: Path) -> Path:
    return next((root / name for name in _ANNOTATIONS if _has_xml(root / name)), root)


def _image_folder(root: Path) -> Path:
    return next((root / name for name in _IMAGES if is_folder(root / name)), root)


def _read_list(path: Path, files: Mapping[str, Path], problems: Problems) -> list[tuple[str, int]]:
    stems: list[tuple[str, int]] = []
    seen: set[str] = set()
    for line, text in enumerate(lines_of(read_text(path, what="list")), start=1):
        stem = listed_name(text, files)
        if not stem:
            continue
        if escapes(text.split()[0]):
            problems.error("unsafe-path", path, line, f"{text.split()[0]!r} leaves the annotation folder; left out")
        elif stem in seen:
            problems.error("duplicate-image-id", path, line, f"{stem} is listed twice; the second is left out")
        else:
            seen.add(stem)
            stems.append((stem, line))
    return stems


class _Reader:
    def __init__(
        self, problems: Problems, labels: dict[str, int], coordinates: Coordinates, found: dict[str, list[Path]]
    ) -> None:
        self.problems, self.labels, self.coordinates, self.found = problems, labels, coordinates, found
        self.raw: list[tuple[tuple[float, float, float, float], tuple[int, int]]] = []

    def file(self, builder: IndexBuilder, path: Path) -> None:
        try:
            content = read_voc_xml(path)
        except DataError as error:
            self._unreadable(path, str(error))
            return
        if content.latin1:
            self.problems.warning("xml-encoding", path, 1, "not UTF-8 and no encoding declared; read as Latin-1")
        image = self._image(path, content)
        if image is None:
            return
        builder.image(str(image), self._size(path, content, image))
        seen: set[tuple[tuple[str, str], ...]] = set()
        for found in content.objects:
            key = tuple(sorted(found.texts.items()))
            if key in seen:
                name = found.texts.get("name", "")
                self.problems.warning("duplicate-box", path, found.line, f"{name}: the same box again; kept")
            seen.add(key)
            self.object(builder, path, found)
        if not content.objects:
            self.problems.info("no-objects", path, 1, "no objects")

    def _unreadable(self, path: Path, message: str) -> None:
        place, _, rest = message.removeprefix(f"{path}").lstrip(":").partition(": ")
        line, text = (int(place), rest) if place.isdigit() else (None, message.removeprefix(f"{path}: "))
        code = "xml-entity" if "entities" in text else "bad-xml"
        self.problems.error(code, path, line, f"{text}; the image is left out")

    def _image(self, path: Path, content: VocFile) -> Path | None:
        """The image with the xml's stem; the one that ``filename`` names where there is none, or several."""
        name, line = content.filename or ("", None)
        unsafe = escapes(name)
        if unsafe:
            self.problems.error("unsafe-path", path, line, f"filename {name!r} leaves the image folder; not followed")
        named = [] if unsafe or not name else self.found.get(Path(name).stem, [])
        several = self.found.get(path.stem) or named
        if not several:
            self.problems.error("missing-image", path, line, f"no image called {path.stem}; left out")
            return None
        image = several[0] if len(several) == 1 else self._one_of(several, path, content)
        if image is not None and image.stem != Path(name).stem and [other.name for other in named] == [Path(name).name]:
            self.problems.warning(
                "filename-differs", path, line, f"filename says {name}, which is there too; {image.name} is read"
            )
        return image

    def _one_of(self, several: list[Path], path: Path, content: VocFile) -> Path | None:
        """Of images with one stem: the one that ``filename`` names, else the only one of the annotated size."""
        beside = [image for image in several if image.parent.name == path.parent.name] or several
        name, line = content.filename or ("", None)
        called = [image for image in beside if image.name == Path(name).name]
        if len(called or beside) == 1:
            return (called or beside)[0]
        stated = tuple(as_side(content.size.get(side)) for side in ("height", "width"))
        fitting = [image for image in called or beside if _header_size(image) == stated]
        names = ", ".join(image.name for image in several)
        if len(fitting) == 1:
            text = f"several images are called {path.stem} ({names}); {fitting[0].name} is read: it alone has the size"
            self.problems.warning("several-images", path, line, text)
            return fitting[0]
        text = f"several images are called {path.stem} ({names}), and <filename> names none of them; left out"
        self.problems.error("several-images", path, line, text)
        return None

    def _size(self, path: Path, content: VocFile, image: Path) -> tuple[int, int]:
        height, width = (as_side(content.size.get(side)) for side in ("height", "width"))
        if height and width and height * width <= MAX_PIXELS:
            return height, width
        stated = " x ".join(content.size.get(side, "?") for side in ("width", "height"))
        self.problems.warning(
            "xml-size", path, content.size_line, f"the image's size is given as {stated}; its own is used"
        )
        return _header_size(image)

    def object(self, builder: IndexBuilder, path: Path, found: VocObject) -> None:
        name = found.texts.get("name", "")
        if name not in self.labels:
            text = f"class {shown(name)} is not in the class list; left out"
            self.problems.error("unknown-class", path, found.line, text)
            return
        numbers = as_pixels([found.texts.get(tag) for tag in ("xmin", "ymin", "xmax", "ymax")])
        if numbers is None:
            stated = " ".join((found.texts.get(tag) or "?")[:40] for tag in ("xmin", "ymin", "xmax", "ymax"))
            self.problems.error("bad-box", path, found.line, f"{name}: coordinates {stated}; left out")
            return
        x1, y1, x2, y2 = numbers
        self.raw.append(((x1, y1, x2, y2), builder.sizes[-1]))
        if x2 <= x1 or y2 <= y1:
            kind = "negative" if x2 < x1 or y2 < y1 else "zero"
            self.problems.error(f"{kind}-box", path, found.line, f"{name}: box {x1:g} {y1:g} {x2:g} {y2:g}; left out")
            return
        if any(number != int(number) for number in (x1, y1, x2, y2)):
            self.problems.info(
                "float-coordinate", path, found.line, f"{name}: box {x1:g} {y1:g} {x2:g} {y2:g} is not in whole pixels"
            )
        box = _continuous((x1, y1, x2, y2), self.coordinates)
        if self._inside(builder.sizes[-1], path, found.line, name, box):
            builder.box(box, self.labels[name], difficult=self._difficult(path, found, name))

    def _difficult(self, path: Path, found: VocObject, name: str) -> bool:
        stated = found.texts.get("difficult")
        flag = as_flag(stated)
        if flag is None:
            text = f"{name}: difficult must be 0 or 1, not {shown(stated)}; taken as 0"
            self.problems.error("bad-flag", path, found.line, text)
        return flag is True

    def _inside(
        self, size: tuple[int, int], path: Path, line: int, name: str, box: tuple[float, float, float, float]
    ) -> bool:
        height, width = size
        if not (height and width):
            return True
        if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
            self.problems.error(
                "box-outside", path, line, f"{name}: box lies outside the image of {width} x {height} px; left out"
            )
            return False
        beyond = max(-box[0], -box[1], box[2] - width, box[3] - height)
        if beyond > 1:  # one pixel is the difference between 0-based and 1-based files
            self.problems.warning(
                "box-outside",
                path,
                line,
                f"{name}: box reaches {beyond:g} px beyond the image of {width} x {height} px; clipped",
            )
        return True


def _header_size(image: Path) -> tuple[int, int]:
    try:
        return read_header(image).size
    except DataError:
        return 0, 0  # the image is reported when it is read


def _continuous(box: tuple[float, float, float, float], coordinates: Coordinates) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    if coordinates == "subtract_min":
        return x1 - 1, y1 - 1, x2, y2
    if coordinates == "subtract_all":
        return x1 - 1, y1 - 1, x2 - 1, y2 - 1
    return box
