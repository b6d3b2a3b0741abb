"""Files that somebody else put there: opened only where they are ordinary, read up to a limit, decoded strictly.

Every file of a dataset is opened here. A FIFO or a device would be read for ever, and a file of unlimited size would
fill the memory. Symbolic links to ordinary files and folders are followed, wherever they lead: people link images.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from detzoo.errors import DataError
from detzoo.runtime.machine_failures import machine_failure

TEXT_BYTES: Final = 64 * 2**20
"""Largest text file: a list of a million images, or the labels of one image, need less."""
_MOST_ENTRIES: Final = 5_000_000
_SPECIAL: Final = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


_NOTHING: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)


class MissingFileError(DataError):
    """The file is not there."""


def check_ordinary(path: Path | str, *, limit: int, what: str) -> int:
    """Size in bytes of a file that may be read.

    Args:
        path: of the file.
        limit: bytes; larger files are rejected.
        what: for messages, as ``image`` or ``label file``.

    Raises:
        MissingFileError: it is not there.
        DataError: it is a folder, a FIFO, a socket or a device, its links lead in a circle, its name is impossible, or
            it is too large; the message begins with the path.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        more = f": a symbolic link to {os.readlink(path)}, which does not exist" if os.path.islink(path) else ""
        raise MissingFileError(f"{path}: no such {what}{more}") from None
    except OSError as error:
        text = "its symbolic links lead in a circle" if error.errno == errno.ELOOP else error.strerror
        raise DataError(f"{path}: cannot be read: {text}") from None
    except ValueError as error:  # NUL, or letters that no file name can have
        raise DataError(f"{str(path)!r}: is no possible file name: {error}") from None
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        raise DataError(f"{path}: is a folder, not an ordinary file ({what})")
    if kind != stat.S_IFREG:
        raise DataError(f"{path}: is {_SPECIAL.get(kind, 'a special file')}, not an ordinary file ({what}); not opened")
    if found.st_size > limit:
        raise DataError(f"{path}: {found.st_size:,} bytes are too many for one {what}; at most {limit:,} are read")
    return found.st_size


def read_file(path: Path | str, *, limit: int, what: str) -> bytes:
    """The bytes of an ordinary file; see ``check_ordinary`` for arguments and errors."""
    size = check_ordinary(path, limit=limit, what=what)
    if size == 0:  # files of /proc say 0, and some of them never end
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except MemoryError:
        raise DataError(f"{path}: {size:,} bytes do not fit into memory") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def read_text(path: Path | str, *, limit: int = TEXT_BYTES, what: str = "text file") -> str:
    """The text of an ordinary file: UTF-8, or UTF-16 with a byte order mark; a mark is no letter.

    Raises:
        DataError: as ``check_ordinary``; or the text is in another encoding.
    """
    return decode_text(read_file(path, limit=limit, what=what), path)


def decode_text(data: bytes, name: Path | str) -> str:
    """``read_text`` for bytes in memory; ``name`` is for messages."""
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise DataError(f"{name}: not {error.encoding.upper()}: {place}; save the file as UTF-8") from None
    if "\0" in text:
        raise DataError(f"{name}: holds NUL characters (UTF-16 without a byte order mark?); save the file as UTF-8")
    return text


def lines_of(text: str) -> list[str]:
    """The lines of a text; ``str.splitlines`` would also cut a name in two at U+0085 or U+2028."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n") if text else []


def count_words(text: bytes | mmap.mmap, words: Sequence[bytes]) -> int:
    """Number of some ASCII words that a text holds, whether it is UTF-8 or UTF-16, with its mark or without."""
    wide = text[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in text[:2]
    return sum(text.find(b"\0".join(bytes([one]) for one in word) if wide else word) >= 0 for word in words)


def is_there(path: Path | str) -> bool:
    """Whether something stands at a path, links followed; ``Path.exists`` raises for a name that is too long.

    Raises:
        DataError: nobody may look: a folder above is closed, or the disk failed.
    """
    return _mode(path) is not None


def is_folder(path: Path | str) -> bool:
    """Whether a folder, or a link to one, stands at a path; see ``is_there``."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def is_ordinary(path: Path | str) -> bool:
    """Whether a path leads to an ordinary file: no folder, no special file; see ``is_there``."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def _mode(path: Path | str) -> int | None:
    """What stands at a path; None where nothing does, or nothing can: impossible names, links in a circle."""
    try:
        return os.stat(path).st_mode
    except ValueError:  # NUL, or letters that no file name can have
        return None
    except OSError as error:
        if error.errno in _NOTHING:
            return None
        if machine_failure(error) is not None:
            raise
        raise DataError(f"{path}: cannot be looked at: {error.strerror}") from None


def files_in(folder: Path) -> list[Path]:
    """What lies in a folder and is no folder, sorted: ordinary and special files, and links that lead nowhere."""
    return sorted(path for path, is_folder, _ in _entries(folder) if not is_folder)


def files_below(folder: Path) -> list[Path]:
    """``files_in`` of a folder and all folders below it, sorted.

    Linked folders are followed. Each folder is visited once, by its own path rather than by a link, so that links in
    a circle end.

    Raises:
        DataError: a folder cannot be listed, or millions of files lie below.
    """
    return sorted(walk(folder))


def walk(folder: Path) -> Iterator[Path]:
    """The files of ``files_below`` one after the other, so that who finds what it looks for need not see them all."""
    seen: set[tuple[int, int]] = set()
    real, linked = [folder], list[Path]()
    count = 0
    while real or linked:
        here = real.pop() if real else linked.pop(0)
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for path, is_folder, is_link in sorted(_entries(here)):
            count += 1
            if is_folder:
                (linked if is_link else real).append(path)
            else:
                yield path
        if count > _MOST_ENTRIES:
            raise DataError(f"{folder}: more than {_MOST_ENTRIES:,} files lie below it; does a link lead to the root?")


def _entries(folder: Path) -> list[tuple[Path, bool, bool]]:
    """(path, whether a folder, whether a link) of everything in a folder."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    is_folder = entry.is_dir()
                except OSError:  # links in a circle: their reader says so
                    is_folder = False
                found.append((folder / entry.name, is_folder, entry.is_symlink()))
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be listed: {error.strerror}") from None
    return found
