"""Regions of a file that is not finished: appended image by image, whole after SIGKILL, nothing unpickled.

Next to ``voc.safetensors`` is ``voc.safetensors.unfinished``: a line of JSON that says what makes the regions, then one
record per image: its key, the number of its boxes, the seconds they took, a checksum, boxes and scores.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from detzoo.errors import DataError
from detzoo.prediction.proposal_file import KEY_BYTES, ProposalsError, Regions, check_made_by
from detzoo.runtime.json_text import parse_object
from detzoo.runtime.locks import take_lock

FORMAT: Final = "detzoo.proposals.unfinished/1"
_HEAD: Final = struct.Struct(f"<{KEY_BYTES}sId")  # key, boxes, seconds
_CHECK: Final = struct.Struct("<I")
_DESCRIBED: Final[dict[str, Callable[[Any], bool]]] = {
    "format": lambda value: value == FORMAT,
    "method": lambda value: isinstance(value, str),
    "parameters": lambda value: isinstance(value, dict),
}
_BOX_BYTES: Final = 20  # four coordinates and a score


class _Record(NamedTuple):
    start: int
    boxes: int
    seconds: float


class ProposalStore(Mapping[bytes, Regions]):
    """What an interrupted command had done, and where the next one goes on. A half-written last record is cut off.

    Args:
        path: of the unfinished file; made if need be.
        method: the proposer's name.
        parameters: all of them.

    Raises:
        ProposalsError: another command writes it at this moment, or it holds regions of another method or of other
            parameters.
    """

    def __init__(self, path: Path, *, method: str, parameters: Mapping[str, Any]) -> None:
        self.path = path
        self._records: dict[bytes, _Record] = {}
        path.touch()
        self._file: BinaryIO = path.open("r+b")
        try:
            _lock(self._file, path)
            self._begin(method, parameters)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, method: str, parameters: Mapping[str, Any]) -> None:
        line = self._file.readline()
        if not line.endswith(b"\n"):  # new, or killed before it held anything
            about = {"format": FORMAT, "method": method, "parameters": dict(parameters)}
            self._file.seek(0)
            self._file.truncate()
            self._file.write(json.dumps(about, sort_keys=True).encode() + b"\n")
            self._file.flush()
            return
        try:
            described = parse_object(line, self.path, _DESCRIBED)
        except DataError:
            raise ProposalsError(
                f"{self.path} is no unfinished file of proposals; move it away and repeat the command"
            ) from None
        check_made_by(
            self.path,
            (described["method"], described["parameters"]),
            (method, parameters),
            "It was left by an interrupted command: repeat that one, or delete the file, or choose another --out.",
        )
        self._scan()

    def _scan(self) -> None:
        while True:
            start = self._file.tell()
            head, check = self._file.read(_HEAD.size), self._file.read(_CHECK.size)
            if len(check) == _CHECK.size:
                key, count, seconds = _HEAD.unpack(head)
                body = self._file.read(count * _BOX_BYTES)
                if len(body) == count * _BOX_BYTES and _CHECK.unpack(check)[0] == zlib.crc32(body, zlib.crc32(head)):
                    self._records[key] = _Record(start + _HEAD.size + _CHECK.size, count, seconds)
                    continue
            self._file.seek(start)
            self._file.truncate()
            return

    def add(self, key: bytes, boxes: NDArray[np.float32], scores: NDArray[np.float32], seconds: float) -> None:
        """Append an image's regions; they reach the operating system at once.

        Args:
            key: of the image.
            boxes: float32 [P,4].
            scores: float32 [P].
            seconds: that they took.
        """
        body = np.ascontiguousarray(boxes, "<f4").tobytes() + np.ascontiguousarray(scores, "<f4").tobytes()
        head = _HEAD.pack(key, len(boxes), seconds)
        start = self._file.seek(0, 2)
        self._file.write(head + _CHECK.pack(zlib.crc32(body, zlib.crc32(head))) + body)
        self._file.flush()
        self._records[key] = _Record(start + _HEAD.size + _CHECK.size, len(boxes), seconds)

    @property
    def seconds(self) -> list[float]:
        """What each image took."""
        return [record.seconds for record in self._records.values()]

    def __getitem__(self, key: bytes) -> Regions:
        start, count, _ = self._records[key]
        self._file.seek(start)
        values = np.frombuffer(self._file.read(count * _BOX_BYTES), "<f4")
        return values[: 4 * count].reshape(count, 4), values[4 * count :]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: object) -> bool:
        return key in self._records

    def remove(self) -> None:
        """Delete the file: all of it is elsewhere now."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _lock(file: BinaryIO, path: Path) -> None:
    """For this process alone; another one may have finished and removed the file a moment ago."""
    if not take_lock(file, wait=False):
        raise ProposalsError(
            f"{path}: another command writes this file at this moment; wait for it, or choose another --out"
        )
