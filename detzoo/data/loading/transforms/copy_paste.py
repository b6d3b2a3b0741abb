"""Copy-paste: objects of another image, cut out by their masks."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.data.loading.resize import resize
from detzoo.data.loading.transforms.box_rows import join_rows, keep_rows, large
from detzoo.data.loading.transforms.flips import Probability
from detzoo.errors import DataError
from detzoo.interfaces import Draw, Transform
from detzoo.types import Sample


class CopyPaste(Transform):
    """A random part of the objects of another image, pasted where they are.

    Of M objects of the other image as many are chosen as M draws with replacement name: 63 of 100 on average. What they
    cover is taken out of the masks below, whose boxes become the bounds of what is left. Objects without a mask are
    never pasted, and what covers them is not known: they stay. Works on images of one size, so that both come out of a
    large-scale jitter; where sizes differ, the other image is stretched to the first one's.

    Args:
        blend: whether the pasted objects' edges are softened, by a Gaussian of 5 px and sigma 2; the paper finds no
            gain in it.
        min_pixels: px of a covered object that must be left; mmdetection asks for 300.
        plain: whether the other image is taken as it lies in the dataset, or with the transforms before this one
            applied: Ghiasi et al. jitter both.
        p: how often.

    Source: Ghiasi et al. 2021 (arXiv 2012.07177), section 3; torchvision, references/detection/transforms.py
    ``SimpleCopyPaste``. Deliberate differences: torchvision's blending rounds the softened mask back to 0 and 1, and
    bounds leave out the last row and column; boxes of objects that nothing covers are left as annotated.
    """

    draws: ClassVar[int] = 1
    needs_masks: ClassVar[bool] = True

    def __init__(
        self,
        *,
        blend: bool = True,
        min_pixels: Annotated[int, Field(ge=1)] = 1,
        plain: bool = False,
        p: Probability = 1.0,
    ) -> None:
        self.blend, self.min_pixels, self.plain, self.p = blend, min_pixels, plain, p

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the sample with more objects, or the same one.

        Raises:
            DataError: the sample has no masks.
        """
        if rng.random() >= self.p:
            return sample
        other = draw(plain=self.plain)
        if sample.masks is None or other.masks is None:
            raise DataError(f"{sample.path}: CopyPaste cuts objects out by their masks, and this data has none")
        able = np.flatnonzero(other.masks.any((1, 2)))  # objects without a mask cannot be cut out
        if len(able) == 0:
            return sample
        chosen = able[np.unique(rng.integers(0, len(able), len(able)))]  # torchvision: torch.randint, then unique
        height, width = sample.image.shape[:2]
        pasted = resize(keep_rows(other, chosen), (height, width), cv2.INTER_LINEAR)
        assert pasted.masks is not None
        cover = np.asarray(pasted.masks.any(axis=0))
        image = self._composed(sample.image, pasted.image, cover)
        return join_rows(image, [self._covered(sample, cover), pasted])  # pasted last: they lie on top

    def _composed(
        self, image: NDArray[np.uint8], pasted: NDArray[np.uint8], cover: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        if not self.blend:
            return np.where(cover[:, :, None], pasted, image)
        alpha = cv2.GaussianBlur(cover.astype(np.float32), (5, 5), 2.0)[:, :, None]  # [H,W,1]
        return np.rint(image * (1 - alpha) + pasted * alpha).astype(np.uint8)

    def _covered(self, sample: Sample, cover: NDArray[np.bool_]) -> Sample:
        """The sample with what lies below ``cover`` taken out of its masks, and objects of which too little is left."""
        assert sample.masks is not None
        masks = np.where(cover, np.uint8(0), sample.masks)
        pixels, before = masks.sum((1, 2), dtype=np.int64), sample.masks.sum((1, 2), dtype=np.int64)
        changed = pixels < before
        boxes = sample.boxes.copy()
        for row in np.flatnonzero(changed & (pixels > 0)):
            boxes[row] = _bounds(masks[row])
        left = (pixels >= self.min_pixels) & large(boxes)
        return keep_rows(dataclasses.replace(sample, boxes=boxes, masks=masks), ~changed | left)


def _bounds(mask: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """xyxy px of a mask that is not empty, right and bottom exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
