"""An mp4 that is whole or not there: OpenCV's writer answers neither a full disk nor a wrong size with an error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2

from detzoo.errors import DataError, MachineError
from detzoo.runtime.atomic_files import replacing
from detzoo.runtime.drawing import ImageArray
from detzoo.runtime.own_drawings import note_at_end


class VideoFrames:
    """Frames on their way into a file.

    Args:
        file: ends in ``.mp4``.
        rate: frames/s.

    Attributes:
        count: frames so far.
    """

    def __init__(self, file: Path, rate: float) -> None:
        self.file, self.rate, self.count = file, rate, 0
        self._writer: cv2.VideoWriter | None = None

    def add(self, frame: ImageArray) -> None:
        """Append a frame, uint8 [H,W,3] RGB; all have the size of the first."""
        if self._writer is None:
            height, width = frame.shape[:2]
            self._writer = cv2.VideoWriter(str(self.file), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, (width, height))
            if not self._writer.isOpened():
                raise DataError(f"{self.file}: this OpenCV cannot write mp4 videos")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self.count += 1

    def release(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.release()


@contextlib.contextmanager
def writing_video(path: Path, rate: float, *, by: str) -> Iterator[VideoFrames]:
    """Gives what takes the frames; the file takes its place once all of them can be read back.

    Args:
        path: of the file, ``.mp4``.
        rate: frames/s.
        by: the command, whose note the file carries.

    Raises:
        DataError: OpenCV cannot write it at all.
        MachineError: frames are missing in the file: a full disk, or a size limit.
    """
    with replacing(path) as temporary:
        frames = VideoFrames(temporary, rate)
        try:
            yield frames
        finally:
            frames.release()
        found = _count(temporary)
        if found != frames.count:
            raise MachineError(
                f"{path}: {found} of {frames.count} frames could be written; is the disk full, or the size of files "
                "limited (`ulimit -f`)? Mend this and repeat the command"
            )
        with temporary.open("ab") as file:
            file.write(note_at_end(by))


def _count(file: Path) -> int:
    """Frames in a video, by its index, which is written last; 0 for half a file."""
    capture = cv2.VideoCapture(str(file))
    try:
        return round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()
