"""Files of image-level regions: one safetensors file for many pictures, read slice by slice, nothing unpickled.

A picture is known by a hash of its decoded pixels, so the file serves whatever path, data set, worker or ``predict``
the picture comes through. What the file holds (P regions of N pictures, sorted by key):

- ``keys`` uint8 [N,16]: ``picture_key`` of each;
- ``ends`` int64 [N]: one past the last region of each;
- ``boxes`` float32 [P,4] xyxy px of the picture, right and bottom exclusive, best first;
- ``scores`` float32 [P];
- metadata: ``format``, ``version``, ``method`` and ``parameters`` (JSON): what made them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from detzoo.errors import DetzooError

FORMAT: Final = "detzoo.proposals"
VERSION: Final = "1"
KEY_BYTES: Final = 16
HOW: Final = "detzoo.data.proposal_file.write_proposals writes one"

Regions = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Boxes [P,4] and scores [P] of one picture."""


class ProposalsError(DetzooError):
    """Image-level regions are missing or wrong: no picture is at fault, so none may be left out for it."""


def picture_key(image: NDArray[np.uint8]) -> bytes:
    """16 bytes that name a picture: a hash of its size and pixels.

    Args:
        image: uint8 [H,W,3] RGB, EXIF orientation applied, as ``Dataset.sample`` and ``read_image`` give it.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES, person=b"detzoo picture")
    digest.update(np.array(image.shape, "<i8").tobytes())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def write_proposals(
    path: Path, regions: Mapping[bytes, Regions], *, method: str, parameters: Mapping[str, Any]
) -> None:
    """Write a file, whole or not at all.

    Args:
        path: usually ``*.safetensors``; replaced where it exists.
        regions: by ``picture_key``.
        method: the proposer's name.
        parameters: plain values; a reader can tell files of other parameters apart.

    Raises:
        ProposalsError: boxes or scores of another shape.
    """
    keys = sorted(regions)
    for key in keys:
        boxes, scores = regions[key]
        if len(key) != KEY_BYTES or boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
            raise ProposalsError(
                f"{path}: a picture needs a key of {KEY_BYTES} bytes, boxes [P,4] and scores [P], "
                f"found {len(key)} bytes, {list(boxes.shape)} and {list(scores.shape)}"
            )
    parts = [regions[key] for key in keys]
    tensors: dict[str, NDArray[Any]] = {
        "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES),
        "ends": np.cumsum([len(boxes) for boxes, _ in parts], dtype=np.int64),
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes, _ in parts)]).astype(np.float32),
        "scores": np.concatenate([np.zeros(0, np.float32), *(scores for _, scores in parts)]).astype(np.float32),
    }
    described = {
        "format": FORMAT,
        "version": VERSION,
        "method": method,
        "parameters": json.dumps(dict(parameters), sort_keys=True),
    }
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata=described)
    os.replace(partial, path)


class ProposalFile:
    """Regions of many pictures on the disk; a picture's are read when it is asked for.

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
        if not path.is_file():
            raise ProposalsError(f"{path}: no such file of proposals; {HOW}")
        try:
            self._file = cast("Any", safe_open(path, framework="numpy"))  # it is not typed
            described = self._file.metadata() or {}
            if described.get("format") != FORMAT:
                raise ProposalsError(f"{path} is no file of proposals; {HOW}")
            if described["version"] != VERSION:
                raise ProposalsError(
                    f"{path}: proposals of version {described['version']}, this detzoo reads {VERSION}: upgrade detzoo"
                )
            keys = self._file.get_tensor("keys").tobytes()
            ends: NDArray[np.int64] = self._file.get_tensor("ends")
            self._boxes, self._scores = self._file.get_slice("boxes"), self._file.get_slice("scores")
        except (SafetensorError, OSError) as error:
            raise ProposalsError(f"{path} cannot be read as a file of proposals: {error}") from None
        self.method = described["method"]
        self.parameters: dict[str, Any] = json.loads(described["parameters"])
        self._ends = [0, *ends.tolist()]
        self._row = {keys[i * KEY_BYTES : (i + 1) * KEY_BYTES]: i for i in range(len(ends))}

    def __len__(self) -> int:
        """Pictures."""
        return len(self._row)

    def __contains__(self, key: bytes) -> bool:
        return key in self._row

    def regions(self, key: bytes, most: int | None = None) -> Regions | None:
        """Boxes [P,4] and scores [P] of a picture, best first; None where the file does not know it.

        Args:
            key: of the picture.
            most: read only this many.
        """
        row = self._row.get(key)
        if row is None:
            return None
        start, end = self._ends[row], self._ends[row + 1]
        end = end if most is None else min(end, start + most)
        return self._boxes[start:end], self._scores[start:end]
