"""Videos with frames that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from detzoo.errors import DataError
from detzoo.prediction.video_source import VideoSource


def clip(path: Path, count: int, broken: tuple[int, ...] = ()) -> Path:
    """A video of ``count`` frames of noise, frame n around 10 n + 30, some of which are no JPEG any more."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (64, 48))
    rng = np.random.default_rng(0)
    for number in range(count):  # noise: a JPEG of some size, whose damage stays within it
        writer.write((10 * number + rng.integers(0, 60, (48, 64, 3))).astype(np.uint8))
    writer.release()
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data) - 2) if data[at : at + 3] == b"\xff\xd8\xff"]
    assert len(starts) == count
    for number in broken:
        data[starts[number] : starts[number] + 300] = bytes(300)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("broken", [(), (2,), (0,), (3, 4), (1, 5)])
def test_frames_behind_a_broken_one_are_read(tmp_path: Path, broken: tuple[int, ...]) -> None:
    video = VideoSource(str(clip(tmp_path / "a.avi", 8, broken)))
    batches = list(video.batches(3))
    video.close()
    numbers = [number for batch in batches for number, _ in batch]
    assert numbers == [number for number in range(8) if number not in broken]
    assert all(abs(float(frame.mean()) - 10 * number - 29.5) < 3 for batch in batches for number, frame in batch)
    assert max(map(len, batches)) <= 3
    assert (video.read, tuple(video.unreadable), video.promised, video.rate) == (8 - len(broken), broken, 8, 5.0)
    loss = video.loss()
    assert (loss is None) == (not broken)
    assert loss is None or f"{8 - len(broken)} of 8 frames were read" in loss


def test_a_video_that_ends_early(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.avi", 8, (6, 7))
    video = VideoSource(str(path))
    assert sum(map(len, video.batches(4))) == 6
    assert video.unreadable == [6, 7]


def test_files_that_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(b"no video")
    video = VideoSource(str(tmp_path / "a.avi"))
    assert list(video.batches(4)) == []
    os.mkfifo(tmp_path / "b.avi")
    with pytest.raises(DataError, match="FIFO"):
        VideoSource(str(tmp_path / "b.avi"))
    with pytest.raises(DataError, match="no such video"):
        VideoSource(str(tmp_path / "c.avi"))
