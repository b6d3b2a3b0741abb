"""Where the images lie that a file names: as it is written, or as the tool that wrote it had them on its machine.

Tools write absolute paths and URLs of their own machine, backslashes, %20, and names with a prefix. A name is never
followed out of the folder of the images. Another reading than the written one is one rule for a whole file, must lead
each name to an image of its own, and is told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from detzoo.data.formats.paths import escapes
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import is_ordinary

_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://[^/]*")
_DRIVE: Final = re.compile(r"[a-zA-Z]:(?=[/\\])")
_UPLOAD: Final = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio writes before the name of an uploaded file."""
_DEEPEST: Final = 12


def is_name(value: Any) -> bool:
    """Whether a ``file_name`` can be one: text that the operating system can write."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, as \\ud800
        return False
    return True


@dataclass(frozen=True)
class Naming:
    """How names become paths below the folder of the images.

    Args:
        decoded: URLs, backslashes and %20 are taken apart.
        dropped: leading folders that are left out, of decoded names; the file's own name stays.
        uploaded: Label Studio's prefix is left out as well.
    """

    decoded: bool = False
    dropped: int = 0
    uploaded: bool = False

    def relative(self, name: str) -> str | None:
        """Path below the folder; None where the name would lead out of it."""
        if not self.decoded:
            return None if escapes(name) else name
        parts = parts_of(name)
        if not parts:
            return None
        kept = parts[min(self.dropped, len(parts) - 1) :]
        if self.uploaded:
            kept[-1] = _UPLOAD.sub("", kept[-1], count=1)
        return "/".join(kept)


AS_WRITTEN: Final = Naming()


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images, and how a file names those in it."""

    folder: Path
    naming: Naming = AS_WRITTEN

    def file(self, name: str) -> Path | None:
        """The file that a name means; None where it would lie elsewhere."""
        relative = self.naming.relative(name)
        return None if relative is None else self.folder / relative

    def guess(self, example: str) -> str | None:
        """What to tell the user; None where names are taken as they are written."""
        if self.naming == AS_WRITTEN:
            return None
        return f"the images are looked for in {self.folder}, {example!r} as {self.naming.relative(example)}"


def parts_of(name: str) -> list[str]:
    """Folders and file of a path or URL of any operating system; what stands before a ``..`` is left out."""
    if "\0" in name:
        return []
    text = name.split("?d=", 1)[-1]  # Label Studio's local files: /data/local-files/?d=folder/name.jpg
    if _URL.match(text):
        text = _URL.sub("", text, count=1).split("?")[0].split("#")[0]
    text = unquote(_DRIVE.sub("", text, count=1)).replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".", "~")]
    last = max((at for at, part in enumerate(parts) if part == ".."), default=-1)
    return [] if "\0" in text else parts[last + 1 :]


def choose_folder(folders: Sequence[Path], sample: Sequence[str], names: Iterable[str]) -> ImageFolder:
    """The folder, and the naming, that find most of a sample; the first folder as written where nothing is found.

    Args:
        folders: that may hold the images, the likeliest first.
        sample: names that are looked for.
        names: all of them, each of which must lead to a file of its own.
    """
    every = set(names)
    best, most = ImageFolder(folders[0]), 0
    for naming in namings(sample):
        for folder in folders:
            place = ImageFolder(folder, naming)
            found = count_found(place, sample)
            if found > most and tells_apart(naming, every):
                best, most = place, found
        if 2 * most >= len(sample):
            break
    return best


def namings(sample: Sequence[str]) -> Iterator[Naming]:
    """Readings of names, the nearest to the written one first."""
    yield AS_WRITTEN
    deepest = max((len(parts_of(name)) for name in sample), default=0)
    yield from (Naming(decoded=True, dropped=count) for count in range(min(deepest, _DEEPEST)))
    if sample and all(_UPLOAD.match((parts_of(name) or [""])[-1]) for name in sample):
        yield Naming(decoded=True, dropped=deepest, uploaded=True)


def count_found(place: ImageFolder, sample: Sequence[str]) -> int:
    """Number of names that lead to a file."""
    return sum((file := place.file(name)) is not None and is_readable(file) for name in sample)


def is_readable(file: Path) -> bool:
    """Whether an ordinary file is there, and in a folder that is open to us: folders beside a dataset may not be."""
    try:
        return is_ordinary(file)
    except DataError:
        return False


def tells_apart(naming: Naming, names: set[str]) -> bool:
    """Whether no two names lead to one file."""
    return naming == AS_WRITTEN or len({naming.relative(name) for name in names}) == len(names)


def ending_below(folder: Path, name: str) -> Path | None:
    """The longest end of a path of another machine that exists below a folder; None where none does."""
    parts = parts_of(name)
    return next((place for at in range(len(parts)) if os.path.exists(place := folder.joinpath(*parts[at:]))), None)
