"""Large-scale jitter: another size, then a crop or padding to a fixed one."""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from detzoo.data.loading.resize import resize
from detzoo.data.loading.transforms.box_rows import seen
from detzoo.data.loading.transforms.crops import cut
from detzoo.data.loading.transforms.letterbox import Side, canvas_size
from detzoo.data.loading.transforms.paste import Fill, random_corner
from detzoo.interfaces import Draw, Transform
from detzoo.types import Sample

_Factor = Annotated[float, Field(gt=0, le=16)]


class LargeScaleJitter(Transform):
    """The image at a random scale, cut at random to a fixed size, or filled up at the right and below.

    A box stays while more than a pixel of it is seen in both directions, cut to the image.

    Args:
        input_size: (height, width) px of the network input, or None where it follows the images.
        size: (height, width) px of the result; null is the network input.
        scale: range of the factor on the largest image that fits into ``size``: 0.1 to 2 in the paper, whose standard
            jitter is 0.8 to 1.25.
        fill: RGB byte values around a smaller image (torchvision: the mean).

    Source: Ghiasi et al. 2021 (arXiv 2012.07177), section 3; torchvision's plan ``lsj``: ``ScaleJitter`` and
    ``FixedSizeCrop`` of references/detection. Deliberate differences: torchvision takes one random number for both
    offsets of the crop, and mixes up height and width of a ``size`` that is not square.
    """

    def __init__(
        self,
        input_size: tuple[int, int] | None,
        /,
        *,
        size: tuple[Side, Side] | None = None,
        scale: tuple[_Factor, _Factor] = (0.1, 2.0),
        fill: Fill = (123.0, 117.0, 104.0),
    ) -> None:
        self.size, self.scale, self.fill = canvas_size(size, input_size), scale, fill

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the sample at its new size."""
        height, width = sample.image.shape[:2]
        ratio = min(self.size[0] / height, self.size[1] / width) * float(rng.uniform(*self.scale))
        # averaging areas where the image shrinks is torchvision's antialiasing
        mode = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
        jittered = resize(sample, (max(1, int(height * ratio)), max(1, int(width * ratio))), mode)
        left, top = random_corner(jittered.image.shape[:2], self.size, rng)
        window = (-left, -top, self.size[1] - left, self.size[0] - top)
        clipped = np.clip(jittered.boxes, window[:2] * 2, window[2:] * 2).astype(np.float32)
        # thin before the jitter: not its fault
        return cut(jittered, window, np.flatnonzero(seen(sample.boxes, clipped)), self.fill)
