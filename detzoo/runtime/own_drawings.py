"""Drawings that carry the name of the command that made them, so that it replaces its own and nobody else's images."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Final

from detzoo.errors import DataError
from detzoo.runtime.atomic_files import write_bytes
from detzoo.runtime.drawing import ImageArray, encode_image
from detzoo.runtime.foreign_files import is_folder, is_ordinary

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_AFTER_HEADER: Final = 33  # bytes of a PNG's signature and its first chunk, IHDR
_LOOKED_AT: Final = 256  # bytes at each end of a file


def marked(content: bytes, by: str) -> bytes:
    """The bytes of a PNG or JPEG file with a note of who made it; other formats as they are.

    A text chunk behind the header of a PNG, a comment at the start of a JPEG.

    Args:
        content: of the file.
        by: the command, such as ``predict``.
    """
    note = _note(by)
    if content.startswith(_PNG):
        chunk = b"tEXtSoftware\0" + note
        chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return content[:_AFTER_HEADER] + chunk + content[_AFTER_HEADER:]
    if content.startswith(_JPEG):
        return _JPEG + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + content[len(_JPEG) :]
    return content


def note_at_end(by: str) -> bytes:
    """What an MP4 file is extended by: a box that players pass over."""
    note = _note(by)
    return struct.pack(">I", len(note) + 8) + b"free" + note


def may_write(path: Path, by: str) -> bool:
    """Whether nothing is lost by writing there: no file, a device, or what the same command wrote earlier."""
    if not os.path.lexists(path):
        return True
    if os.path.islink(path) or is_folder(path):
        return False
    if not is_ordinary(path):
        return True
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
        file.seek(max(0, path.stat().st_size - _LOOKED_AT))
        return _note(by) in head or _note(by) in file.read()


def check_may_write(path: Path, by: str) -> None:
    """The same as an error, before slow work.

    Raises:
        DataError: a file is there that the command did not write.
    """
    if not may_write(path, by):
        raise DataError(f"{path} exists and was not written by detzoo {by}; choose another --out, or move it away")


def write_drawing(path: Path, image: ImageArray, *, by: str) -> None:
    """Write an image with the note of its maker, whole or not at all.

    Args:
        path: the suffix decides the format.
        image: uint8 [H,W,3] RGB.
        by: the command.

    Raises:
        DataError: a file is there that the command did not write.
        MachineError: the disk is full, or failed otherwise.
    """
    check_may_write(path, by)
    write_bytes(path, marked(encode_image(image, path.suffix), by))


def _note(by: str) -> bytes:
    return f"made by detzoo {by}".encode()
