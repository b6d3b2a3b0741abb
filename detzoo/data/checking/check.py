"""``detzoo data check``: every defect of a dataset, with file and line, severity and a stable code.

The readers report what is wrong in annotation files while they read, the same way for training and for checking. Here
the images are decoded as well, and splits compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from detzoo.data.checking.leaks import duplicates, find_leaks, find_near_duplicates
from detzoo.data.checking.near_duplicates import ImagePrint, thumbnail
from detzoo.data.checking.problems import DataProblem, Problems, gathered
from detzoo.data.checking.statistics import boxes_by_class, opening_lines
from detzoo.data.dataset import Dataset, read_as_annotated
from detzoo.data.formats.opening import list_splits, open_dataset
from detzoo.errors import DataError, UnknownSplitError
from detzoo.recipes.class_matching import near_equal, one_letter_apart, spelled_alike
from detzoo.runtime.foreign_files import MissingFileError
from detzoo.runtime.images import ImageHeader, bits_in_use, decode_image, header_of, read_bytes

_SUFFIX_OF: Final = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg"},
    "PNG": {".png"},
    "BMP": {".bmp", ".dib"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "AVIF": {".avif"},
    "JPEG2000": {".jp2", ".j2k"},
}
_MODES: Final = {
    "1": ("grey-image", "black and white; read as RGB"),
    "L": ("grey-image", "grey; read as RGB"),
    "LA": ("alpha-image", "grey with transparency; transparency is dropped"),
    "PA": ("alpha-image", "palette with transparency; transparency is dropped"),
    "RGBA": ("alpha-image", "RGBA; transparency is dropped"),
    "P": ("palette-image", "palette colours; read as RGB"),
    "CMYK": ("cmyk-image", "CMYK; converted to RGB without a colour profile"),
}


def check(
    spec: str | Path,
    split: str | None = None,
    *,
    progress: Callable[[Iterable[str], int], Iterable[str]] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[DataProblem]:
    """All problems of a dataset, annotation files first, then images, then splits.

    Args:
        spec: as ``open_dataset`` takes it.
        split: only this one; all by default.
        progress: wraps the walk over the images.
        say: gets a line of the splits, and what is in each of them, as soon as it has been read.

    Raises:
        DataError: there is no dataset at ``spec``, or no such split.
    """
    problems = Problems()
    names = list_splits(spec) if split is None else (split,)
    say(f"{spec}: {len(names)} split{'s' if len(names) != 1 else ''}: {', '.join(names)}")
    opened = []
    for name in names:
        data = _open(spec, name, problems)
        for line in [f"{name}: cannot be read"] if data is None else opening_lines(data):
            say(line)
        if data is not None:
            opened.append(data)
    problems.found.extend(gathered([(data.problems, len(data)) for data in opened]))
    _check_names(spec, opened, problems)
    sizes: dict[str, tuple[int, int]] = {}
    for data in opened:
        if data.on_disk:
            index = data.annotations()
            for position in range(len(index)):
                height, width = (int(side) for side in index.sizes[position])
                sizes.setdefault(index.path(position), (height, width))
    known = {problem.path for problem in problems.found if problem.code in ("bad-image", "missing-image")}
    prints = _check_images({path: size for path, size in sizes.items() if path not in known}, problems, progress)
    digests: dict[str, list[str]] = {}
    for path, found in prints.items():
        digests.setdefault(found.digest, []).append(path)
    duplicates(opened, digests, problems)
    find_leaks(opened, digests, problems)
    find_near_duplicates(opened, prints, problems)
    return list(dict.fromkeys(problems.found))


def _open(spec: str | Path, name: str, problems: Problems) -> Dataset | None:
    try:
        data = open_dataset(spec, name, lines=True, quiet=True)
    except UnknownSplitError:
        raise
    except DataError as error:
        problems.found.append(problem_of(error, str(spec)))
        return None
    return data


def problem_of(error: DataError, place: str) -> DataProblem:
    """An error that ended the reading, as a problem; file and line are taken out of its message."""
    text = str(error)
    if text.startswith(f"{place}: "):
        return DataProblem("error", "unreadable", place, None, text.removeprefix(f"{place}: "))
    found = re.match(r"(?P<path>[^\n]+?\.\w+)(?::(?P<line>\d+))?: (?P<text>.*)", text, re.DOTALL)
    if found is None:
        return DataProblem("error", "unreadable", place, None, text)
    line = int(found["line"]) if found["line"] else None
    return DataProblem("error", "unreadable", found["path"], line, found["text"])


def _check_images(
    sizes: dict[str, tuple[int, int]],
    problems: Problems,
    progress: Callable[[Iterable[str], int], Iterable[str]] | None,
) -> dict[str, ImagePrint]:
    """Decode every image; returns what the images are compared by, by path."""
    prints: dict[str, ImagePrint] = {}
    told: list[DataProblem] = []
    paths = list(sizes)
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda path: check_image(path, sizes[path]), paths)
        for path in progress(paths, len(paths)) if progress else paths:
            found, own = next(results)
            told.extend(found)
            if own is not None:
                prints[path] = own
    problems.found.extend(gathered([(told, len(prints))]))
    return prints


def check_image(path: str, annotated: tuple[int, int]) -> tuple[list[DataProblem], ImagePrint | None]:
    """What is wrong with one image, and what it is compared by.

    Args:
        path: the file.
        annotated: (height, width) px in the annotation; 0 where unknown.
    """
    problems = Problems()
    try:
        data = read_bytes(Path(path))
    except DataError as error:
        code = "missing-image" if isinstance(error, MissingFileError) else "bad-image"
        problems.error(code, path, None, _without(path, error), path)
        return problems.found, None
    try:
        header = header_of(data, path)
        small = thumbnail(decode_image(data, path))
    except DataError as error:
        problems.error("bad-image", path, None, _without(path, error), path)
        return problems.found, None
    _check_header(path, header, data, problems)
    _check_frame(path, header, annotated, problems)
    return problems.found, ImagePrint(hashlib.sha1(data, usedforsecurity=False).hexdigest(), small)


def _check_header(path: str, header: ImageHeader, data: bytes, problems: Problems) -> None:
    suffixes = _SUFFIX_OF.get(header.format)
    if suffixes is not None and Path(path).suffix.lower() not in suffixes:
        problems.warning("wrong-extension", path, None, f"holds a {header.format} image; read as such", path)
    if header.mode in _MODES:
        problems.info(_MODES[header.mode][0], path, None, _MODES[header.mode][1], path)
    if header.bits == 16:
        kind = "16-bit grey" if header.mode.startswith("I") else "16 bits per channel"
        used = bits_in_use(data, path)
        if used == 16:
            problems.info("16-bit-image", path, None, f"{kind}; reduced to 8", path)
        else:
            problems.warning(
                "16-bit-image", path, None, f"{kind}, of which {used} are used; scaled as {used} bits", path
            )
    if header.frames > 1:
        problems.info("animated-image", path, None, f"{header.frames} frames; only the first is read", path)


def _check_frame(path: str, header: ImageHeader, annotated: tuple[int, int], problems: Problems) -> None:
    try:
        image = read_as_annotated(path, annotated)
    except DataError as error:
        problems.error("size-mismatch", path, None, f"{_without(path, error)}; left out", path)
        return
    if header.orientation == 1:
        return
    if all(annotated) and image.shape[:2] != header.size:
        problems.warning(
            "exif-rotated",
            path,
            None,
            f"EXIF orientation {header.orientation}, but the boxes fit the image as it lies; not turned",
            path,
        )
    else:
        problems.info("exif-rotated", path, None, f"EXIF orientation {header.orientation}; turned upright", path)


def _check_names(spec: str | Path, opened: Sequence[Dataset], problems: Problems) -> None:
    known = list(dict.fromkeys(name for data in opened for name in data.classes))
    for group in near_equal(known):
        names = " and ".join(repr(name) for name in group)
        why = "differ only in case, spaces, underscores or hyphens"
        if len({spelled_alike(name) for name in group}) > 1:
            why = "are VOC's and COCO's names of one class"
        problems.warning(
            "near-equal-names", str(spec), None, f"the classes {names} {why}; kept apart: is it one class?"
        )
    for name in (name for name in known if name != name.strip()):
        text = f"the class {name!r} begins or ends with a space, which other readers drop; is it meant?"
        problems.warning("near-equal-names", str(spec), None, text)
    for name in (name for name in known if name != name.strip()):
        text = f"the class {name!r} begins or ends with a space, which other readers drop; is it meant?"
        problems.warning("near-equal-names", str(spec), None, text)
    boxes = boxes_by_class(opened)
    for pair in one_letter_apart(known):
        told = " and ".join(f"{name!r} ({boxes[name]} boxes)" for name in pair)
        text = f"the classes {told} differ in a letter; kept apart: is one of them a slip?"
        problems.warning("near-equal-names", str(spec), None, text)


def _without(path: str, error: DataError) -> str:
    return str(error).removeprefix(f"{path}: ")
