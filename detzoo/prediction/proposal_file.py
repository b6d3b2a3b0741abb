"""Files of image-level regions: one safetensors file for many images, read slice by slice, nothing unpickled.

An image is known by a hash of its decoded pixels, so the file serves whatever path, dataset, worker or ``predict``
the image comes through. What the file holds (P regions of N images, sorted by key):

- ``keys`` uint8 [N,16]: ``image_key`` of each;
- ``ends`` int64 [N]: one past the last region of each;
- ``boxes`` float32 [P,4] xyxy px of the image, right and bottom exclusive, best first;
- ``scores`` float32 [P];
- metadata: ``format``, ``version``, ``method`` and ``parameters`` (JSON): what made them.

Equal regions of an equal method give equal bytes, whatever the order in which they were made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from detzoo.errors import DetzooError
from detzoo.runtime.atomic_files import replacing
from detzoo.runtime.differences import differences
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.json_text import check_parts, parse_object

FORMAT: Final = "detzoo.proposals"
VERSION: Final = "1"
KEY_BYTES: Final = 16
HOW: Final = "`detzoo proposals make` writes one"
_ALTERED: Final = f"altered or damaged; {HOW}"
_ALIGNED: Final = 8  # bytes: where safetensors' tensors begin

Regions = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Boxes [P,4] and scores [P] of one image."""


class ProposalsError(DetzooError):
    """Image-level regions are missing or wrong: no image is at fault, so none may be left out for it."""


def image_key(image: NDArray[np.uint8]) -> bytes:
    """16 bytes that name an image: a hash of its size and pixels.

    Args:
        image: uint8 [H,W,3] RGB, EXIF orientation applied, as ``Dataset.sample`` and ``read_image`` give it.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES, person=b"detzoo image")
    digest.update(np.array(image.shape, "<i8").tobytes())  # the size too: bytes alone do not tell 2 x 3 from 3 x 2
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def write_proposals(
    path: Path, regions: Mapping[bytes, Regions], *, method: str, parameters: Mapping[str, Any]
) -> None:
    """Write a file, whole or not at all, and with no more than one image's regions in memory.

    Args:
        path: usually ``*.safetensors``; replaced where it exists.
        regions: by ``image_key``; a mapping may read them from the disk, and each is asked for twice.
        method: the proposer's name.
        parameters: plain values; a reader can tell files of other parameters apart.

    Raises:
        ProposalsError: boxes or scores of another shape.
    """
    keys = sorted(regions)  # the same regions make the same file
    counts = np.zeros(len(keys), np.int64)
    for row, key in enumerate(keys):
        boxes, scores = regions[key]
        if len(key) != KEY_BYTES or boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
            raise ProposalsError(
                f"{path}: an image needs a key of {KEY_BYTES} bytes, boxes [P,4] and scores [P], "
                f"found {len(key)} bytes, {list(boxes.shape)} and {list(scores.shape)}"
            )
        counts[row] = len(boxes)
    header, starts = _header(counts, method, parameters)
    # two places of one file: boxes and scores of an image are written in one pass
    with replacing(path) as partial, partial.open("wb") as file, partial.open("r+b") as second:
        file.write(header)
        file.write(np.cumsum(counts, dtype="<i8").tobytes())
        file.flush()
        second.seek(starts["scores"])
        _write_regions(file, second, regions, keys)
        second.seek(starts["keys"])
        second.write(b"".join(keys))
        for each in (file, second):
            each.flush()


def _header(counts: NDArray[np.int64], method: str, parameters: Mapping[str, Any]) -> tuple[bytes, dict[str, int]]:
    """What stands before the tensors, and where in the file each of them begins; the widest numbers come first."""
    described = {
        "format": FORMAT,
        "version": VERSION,
        "method": method,
        "parameters": json.dumps(dict(parameters), sort_keys=True),
    }
    images, total = len(counts), int(counts.sum())
    shapes = {"ends": [images], "boxes": [total, 4], "scores": [total], "keys": [images, KEY_BYTES]}
    kinds = {"ends": ("I64", 8), "boxes": ("F32", 4), "scores": ("F32", 4), "keys": ("U8", 1)}
    content: dict[str, Any] = {"__metadata__": described}
    starts, at = {}, 0
    for name, shape in shapes.items():
        kind, size = kinds[name]
        starts[name], end = at, at + size * int(np.prod(shape))
        content[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)  # safetensors pads its header with spaces
    before = 8 + len(text)
    # safetensors: 8 bytes of length, the header, then the tensors
    return len(text).to_bytes(8, "little") + text, {name: before + start for name, start in starts.items()}


def _write_regions(
    boxes_at: BinaryIO, scores_at: BinaryIO, regions: Mapping[bytes, Regions], keys: list[bytes]
) -> None:
    for key in keys:
        boxes, scores = regions[key]
        boxes_at.write(np.ascontiguousarray(boxes, "<f4").tobytes())
        scores_at.write(np.ascontiguousarray(scores, "<f4").tobytes())


def check_made_by(
    path: Path, found: tuple[str, Mapping[str, Any]], wanted: tuple[str, Mapping[str, Any]], then: str
) -> None:
    """Reject regions of another method or of other parameters.

    Args:
        path: where they stand.
        found: the method and the parameters that made them.
        wanted: those that were asked for.
        then: what can be done about it.

    Raises:
        ProposalsError: every difference in one message.
    """
    told = differences({"method": found[0], **found[1]}, {"method": wanted[0], **wanted[1]})
    if told:
        lines = "\n".join(f"  {name}: {was} in the file, {now} asked for" for name, was, now in told)
        raise ProposalsError(f"{path} holds other proposals than were asked for:\n{lines}\n{then}")


class ProposalFile(Mapping[bytes, Regions]):
    """Regions of many images on the disk; an image's are read when it is asked for.

    Args:
        path: the file.

    Attributes:
        method: what made the regions.
        parameters: of the method.

    Raises:
        ProposalsError: the file is missing, or none of ``write_proposals``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not is_ordinary(path):
            raise ProposalsError(f"{path}: no such file of proposals; {HOW}")
        try:
            self._file = cast("Any", safe_open(path, framework="numpy"))  # it is not typed
            described = self._file.metadata() or {}
            if described.get("format") != FORMAT:
                raise ProposalsError(f"{path} is no file of proposals; {HOW}")
            if described.get("version") != VERSION:
                version = described.get("version", "unknown")
                raise ProposalsError(
                    f"{path}: proposals of version {version:.80}, this detzoo reads {VERSION}: upgrade detzoo"
                )
            check_parts(described, f"{path}: {_ALTERED}", {"method": bool, "parameters": bool}, error=ProposalsError)
            keys: NDArray[np.uint8] = self._file.get_tensor("keys")
            ends: NDArray[np.int64] = self._file.get_tensor("ends")
            self._boxes, self._scores = self._file.get_slice("boxes"), self._file.get_slice("scores")
        except (SafetensorError, OSError) as error:
            raise ProposalsError(f"{path} cannot be read as a file of proposals: {error}") from None
        self.method = described["method"]
        place = f"{path}: {_ALTERED}: parameters"
        self.parameters = parse_object(described["parameters"], place, {}, error=ProposalsError)
        self._check_shapes(keys, ends)
        self._ends: list[int] = [0, *ends.tolist()]  # row i of the file is _ends[i] to _ends[i + 1]
        self._row = {row.tobytes(): i for i, row in enumerate(keys)}

    def _check_shapes(self, keys: NDArray[Any], ends: NDArray[Any]) -> None:
        """Rows beyond the regions would be found at the first image that needs them, in the midst of a training."""
        total = int(ends[-1]) if ends.ndim == 1 and len(ends) and ends.dtype == np.int64 else 0
        found = {
            "keys": (keys.dtype.name, list(keys.shape)),
            "ends": (ends.dtype.name, list(ends.shape)),
            "boxes": (self._boxes.get_dtype(), self._boxes.get_shape()),
            "scores": (self._scores.get_dtype(), self._scores.get_shape()),
        }
        wanted = {
            "keys": ("uint8", [len(keys) if keys.ndim else 0, KEY_BYTES]),
            "ends": ("int64", [len(keys) if keys.ndim else 0]),
            "boxes": ("F32", [total, 4]),
            "scores": ("F32", [total]),
        }
        for name, (kind, shape) in wanted.items():
            if found[name] != (kind, shape):
                raise ProposalsError(
                    f"{self.path}: {_ALTERED}: {name} is {found[name][0]} {found[name][1]}, not {kind} {shape}"
                )
        if len(ends) and (int(ends[0]) < 0 or (np.diff(ends) < 0).any()):
            raise ProposalsError(f"{self.path}: {_ALTERED}: ends do not ascend")

    def __len__(self) -> int:
        """Images."""
        return len(self._row)

    @property
    def boxes(self) -> int:
        """Regions of all images together."""
        return self._ends[-1]

    def __iter__(self) -> Iterator[bytes]:
        """Keys of all images, in their order in the file."""
        return iter(self._row)

    def __contains__(self, key: object) -> bool:
        return key in self._row

    def __getitem__(self, key: bytes) -> Regions:
        found = self.regions(key)
        if found is None:
            raise KeyError(key)
        return found

    def regions(self, key: bytes, most: int | None = None) -> Regions | None:
        """Boxes [P,4] and scores [P] of an image, best first; None where the file does not know it.

        Args:
            key: of the image.
            most: read only this many.
        """
        row = self._row.get(key)
        if row is None:
            return None
        start, end = self._ends[row], self._ends[row + 1]
        end = end if most is None else min(end, start + most)
        return self._boxes[start:end], self._scores[start:end]  # slices: only these bytes are read
