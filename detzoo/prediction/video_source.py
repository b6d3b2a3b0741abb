"""The frames of a video file, also of a damaged one: a frame that cannot be read is counted, and the next one read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from detzoo.runtime.drawing import ImageArray
from detzoo.runtime.foreign_files import check_ordinary

MAX_VIDEO_BYTES: Final = 2**44
_UNKNOWN_RATE: Final = 25.0  # frames/s of videos that do not say
_IN_A_ROW: Final = 250  # unreadable frames after which the rest is given up: headers may promise any number
_ESTIMATE: Final = 0.05
"""Share of the promised frames that may be missing at the end of a whole video; or one second."""
_NAMED: Final = 10


class VideoSource:
    """The frames of a video, in order.

    Args:
        source: path of the file.

    Attributes:
        rate: frames per second.
        promised: frames that the file says it has; 0 where it does not say.
        read: frames read so far.
        unreadable: numbers from 0 of the frames that could not be read.

    Raises:
        DataError: there is no such file, or it is none that may be read.
    """

    def __init__(self, source: str) -> None:
        check_ordinary(Path(source), limit=MAX_VIDEO_BYTES, what="video")
        self._capture = cv2.VideoCapture(source)
        rate, promised = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # OpenCV gives 0 or NaN where the file does not say
        self.rate = float(rate) if np.isfinite(rate) and rate > 0 else _UNKNOWN_RATE
        self.promised = int(promised) if np.isfinite(promised) and promised > 0 else 0
        self.source, self.read = source, 0
        self.unreadable: list[int] = []

    def close(self) -> None:
        """Let go of the file."""
        self._capture.release()

    def batches(self, size: int) -> Iterator[list[tuple[int, ImageArray]]]:
        """Lists of at most ``size`` (number from 0, RGB image)."""
        frames: list[tuple[int, ImageArray]] = []
        for number, frame in self._frames():
            frames.append((number, frame))
            if len(frames) == size:
                yield frames
                frames = []
        if frames:
            yield frames

    def _frames(self) -> Iterator[tuple[int, ImageArray]]:
        number, failed = 0, 0
        while True:
            fine, frame = self._capture.read()
            if fine:
                # only a frame behind them shows that the earlier ones are lost and not just promised
                self.unreadable += range(number - failed, number)
                failed = 0
                self.read += 1
                yield number, np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
            elif number >= self.promised or failed >= _IN_A_ROW:
                break
            else:
                failed += 1
            number += 1
        met = self.read + len(self.unreadable)
        # all but AVI estimate their number, or count frames that editing has cut off
        allowed = 0.0 if self.source.lower().endswith(".avi") else max(self.rate, _ESTIMATE * self.promised)
        if self.promised - met > allowed:
            self.unreadable += range(met, self.promised)

    def loss(self) -> str | None:
        """What to tell about frames that could not be read; None where all were.

        To be asked when the batches have ended.
        """
        lost = len(self.unreadable)
        if lost == 0:
            return None
        named = ", ".join(map(str, self.unreadable[:_NAMED])) + (", ..." if lost > _NAMED else "")
        return f"{self.source}: {self.read} of {self.promised} frames were read; unreadable, counted from 0: {named}"
