"""Which boxes are worth keeping after an image was warped, shrunk and cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.types import Sample


@dataclass(frozen=True, kw_only=True)
class BoxFilter:
    """What a box must have in the new image. Crowd boxes stay while any part of them is seen.

    Implementations differ: YOLOX's first release asks for 2 px, 0.2 and 20 after its mosaic and for 5 px, 0.2 and 20 in
    MixUp, as YOLOv5 does with 0.1 and 100; its later releases ask for 1 px alone.

    Args:
        min_side: px that both sides must exceed.
        min_visible: share of the box's area, at the new scale, that must lie inside the image.
        max_aspect: ratio of the longer to the shorter side that it must stay below.
    """

    min_side: Annotated[float, Field(ge=0)] = 2.0
    min_visible: Annotated[float, Field(ge=0, le=1)] = 0.2
    max_aspect: Annotated[float, Field(ge=1)] = 20.0

    def rows(self, sample: Sample, areas: NDArray[np.float32], clipped: NDArray[np.float32]) -> NDArray[np.bool_]:
        """bool [M]: the boxes that stay.

        Args:
            sample: for its crowd flags.
            areas: float32 [M] px of the boxes at the new scale, before anything was cut off.
            clipped: float32 [M,4] xyxy px: the boxes in the new image, cut to it.
        """
        sides = clipped[:, 2:] - clipped[:, :2]
        short, long = sides.min(axis=1), sides.max(axis=1)
        good = (short > self.min_side) & (long < self.max_aspect * short)
        good &= sides.prod(axis=1) >= self.min_visible * areas
        return np.asarray(good | (sample.crowd & (short > 0)))  # else a crowd's objects would become background


def areas_of(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [M] px."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
