"""Darknet's ``.weights`` files: a short header, then float32 numbers, layer after layer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from detzoo.errors import WeightsError

SHORT, LONG = 16, 20
LARGE_COUNT: Final = 2
"""Version 10 major + minor from which the count of seen images has 64 bits."""
TRANSPOSED: Final = 1000
"""Major or minor version above which matrices of connected layers are transposed."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Version, images seen and numbers of a file.

    Args:
        path: the file.

    Returns:
        ``version`` int64 [3] (major, minor, revision), ``seen`` int64 [], ``values`` float32 [P].

    Raises:
        WeightsError: not there, or no such file.

    Source: darknet, parser.c ``load_weights_upto``.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: weights cannot be read ({error.strerror})") from None
    if len(data) < SHORT:
        raise WeightsError(f"{path} is no darknet weights file: {len(data)} bytes, its header alone has 16 or 20")
    major, minor, revision = np.frombuffer(data, "<i4", 3).tolist()
    large = major * 10 + minor >= LARGE_COUNT and major < TRANSPOSED and minor < TRANSPOSED
    header = LONG if large else SHORT
    if not (0 <= major <= 2 * TRANSPOSED and 0 <= minor <= 2 * TRANSPOSED):  # a text or pickle file gives wild numbers
        raise WeightsError(f"{path} is no darknet weights file: it would be of version {major}.{minor}.{revision}")
    if len(data) < header or (len(data) - header) % 4:
        raise WeightsError(
            f"{path} is cut off: {len(data)} bytes are not a header of {header} and whole numbers of 4; fetch it again"
        )
    seen = int(np.frombuffer(data, "<i8" if large else "<i4", 1, offset=12)[0])  # behind three int32
    # a copy: frombuffer is read-only
    values = torch.from_numpy(np.frombuffer(data, "<f4", offset=header).astype(np.float32))
    return {"version": torch.tensor([major, minor, revision]), "seen": torch.tensor(seen), "values": values}
