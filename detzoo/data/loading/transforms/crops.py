"""Zooming out and in: SSD's expand and IoU crops, and the mild crop of fine-tuning.

Which boxes survive a crop is a rule of each transform, stated there. Crowd boxes stay while any part of them is seen:
they mark where a detector must not be punished.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.data.loading.transforms.box_rows import keep_rows, large, seen
from detzoo.data.loading.transforms.flips import Probability
from detzoo.data.loading.transforms.paste import Fill, filled, paste, paste_masks
from detzoo.interfaces import Draw, Transform
from detzoo.types import Sample


class Expand(Transform):
    """SSD's zoom out: the image at a random place on a canvas of the mean colour; all boxes stay.

    Args:
        ratio: largest ratio of the canvas's sides to the image's; sampled uniformly from 1.
        p: how often.
        fill: RGB byte values of the canvas; the mean that the network subtracts.

    Source: SSD, section 3.6 (without it 74.3 instead of 77.2); caffe ssd branch, ``ExpandImage``.
    """

    def __init__(
        self,
        *,
        ratio: Annotated[float, Field(ge=1, le=16)] = 4.0,
        p: Probability = 0.5,
        fill: Fill = (123.0, 117.0, 104.0),
    ) -> None:
        self.ratio, self.p, self.fill = ratio, p, fill

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the sample on a larger canvas, or the same one."""
        if rng.random() >= self.p:
            return sample
        ratio = rng.uniform(1, self.ratio)
        height, width = sample.image.shape[:2]
        tall, wide = int(height * ratio), int(width * ratio)  # one ratio: the aspect stays
        top, left = (int(rng.uniform(0, room + 1)) for room in (tall - height, wide - width))
        return cut(sample, (-left, -top, wide - left, tall - top), np.arange(len(sample.boxes)), self.fill)


class IouCrop(Transform):
    """SSD's batch sampler: a patch that overlaps some object enough, or the whole image.

    For each wanted overlap, and once with none, up to ``trials`` patches are sampled and the first that meets it is a
    choice; one of the choices and the whole image is taken, evenly. A box stays when its *centre* lies in the patch,
    cut to it. Images without objects stay whole.

    Args:
        min_overlaps: wanted IoU of the patch with at least one box; 0 is SSD's last sampler: any patch.
        scale: range of the square root of the patch's share of the image.
        aspect: range of width to height, relative to the image's.
        trials: patches sampled for each wanted overlap.
        p: how often; SSD: always, the whole image being one of the choices.

    Source: SSD, section 2.2; caffe ssd branch, sampler.cpp ``GenerateBatchSamples`` and ssd_pascal.py.
    """

    def __init__(
        self,
        *,
        min_overlaps: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0),
        scale: tuple[float, float] = (0.3, 1.0),
        aspect: tuple[float, float] = (0.5, 2.0),
        trials: Annotated[int, Field(ge=1, le=1000)] = 50,
        p: Probability = 1.0,
    ) -> None:
        self.min_overlaps, self.scale, self.aspect, self.trials, self.p = min_overlaps, scale, aspect, trials, p

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return a patch of the sample, or the same one."""
        objects = sample.boxes[~sample.crowd]  # a crowd is no object to aim a patch at
        if len(objects) == 0 or rng.random() >= self.p:
            return sample
        height, width = sample.image.shape[:2]
        choices = []
        for wanted in self.min_overlaps:
            patches = self._patches(rng) * np.array([width, height, width, height])
            good = np.flatnonzero((_overlaps(patches, objects) >= wanted).any(axis=1))
            if len(good):
                choices.append(patches[good[0]])  # SSD's max_sample 1: the first that fits
        chosen = int(rng.integers(len(choices) + 1))  # one more: the whole image
        if chosen == len(choices):
            return sample
        x1, y1, x2, y2 = (int(value) for value in choices[chosen])
        patch = (x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))
        return cut(sample, patch, _centred(sample, patch), (0.0, 0.0, 0.0))  # a patch lies inside: no fill is seen

    def _patches(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """[trials,4] xyxy relative to the image."""
        scale = rng.uniform(*self.scale, self.trials)
        # so that both sides fit
        low, high = np.maximum(self.aspect[0], scale**2), np.minimum(self.aspect[1], scale**-2)
        aspect = rng.uniform(low, np.maximum(low, high))
        wide, tall = np.minimum(scale * np.sqrt(aspect), 1), np.minimum(scale / np.sqrt(aspect), 1)
        left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - tall)
        return np.stack([left, top, left + wide, top + tall], axis=1)


class MildCrop(Transform):
    """A window a little smaller or larger than the image, shifted: scale and translation for fine-tuning.

    A box stays when at least ``min_visible`` of its area lies in the window, cut to it.

    Args:
        scale: range of the window's sides relative to the image's; above 1 the rim is filled.
        aspect: range of a further factor on the width, its inverse on the height.
        min_visible: share of a box's area that must remain.
        p: how often.
        fill: RGB byte values outside the image.
    """

    def __init__(
        self,
        *,
        scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0, le=8)]] = (0.7, 1.2),
        aspect: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.9, 1.1),
        min_visible: Annotated[float, Field(ge=0, le=1)] = 0.3,
        p: Probability = 0.8,
        fill: Fill = (123.0, 117.0, 104.0),
    ) -> None:
        self.scale, self.aspect, self.min_visible, self.p, self.fill = scale, aspect, min_visible, p, fill

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the sample seen through the window, or the same one."""
        if rng.random() >= self.p:
            return sample
        height, width = sample.image.shape[:2]
        scale, aspect = rng.uniform(*self.scale), float(np.sqrt(rng.uniform(*self.aspect)))
        wide, tall = max(1, round(width * scale * aspect)), max(1, round(height * scale / aspect))
        left, top = (round(float(rng.uniform(min(0, room), max(0, room)))) for room in (width - wide, height - tall))
        window = (left, top, left + wide, top + tall)
        return cut(sample, window, _visible(sample, window, self.min_visible), self.fill)


def cut(sample: Sample, window: tuple[int, int, int, int], kept: NDArray[np.int64], fill: Fill) -> Sample:
    """The sample seen through a window, which may reach beyond the image.

    Args:
        sample: is not changed.
        window: xyxy px of the sample's image.
        kept: rows of the boxes that stay; those cut to less than a pixel go as well. Of the proposals every one stays
            that is still seen.
        fill: RGB byte values outside the image.
    """
    x1, y1, x2, y2 = window
    wide, tall = x2 - x1, y2 - y1
    shift, border = np.array([x1, y1, x1, y1], np.float32), np.array([wide, tall, wide, tall], np.float32)

    def shown(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.clip(boxes - shift, 0, border), np.float32)

    # a box that was thinner than the limit before the cut is not the cut's fault
    rows = kept[large(shown(sample.boxes[kept])) | ~large(sample.boxes[kept])]
    inside = keep_rows(dataclasses.replace(sample, masks=None), rows)
    proposals = sample.proposals
    if proposals is not None:
        proposals = shown(proposals)[seen(proposals, shown(proposals))]
    return dataclasses.replace(
        inside,
        image=_window(sample.image, window, fill),
        boxes=shown(inside.boxes),
        masks=None if sample.masks is None else paste_masks(sample.masks[rows], (tall, wide), -x1, -y1),
        proposals=proposals,
    )


def _window(image: NDArray[np.uint8], window: tuple[int, int, int, int], fill: Fill) -> NDArray[np.uint8]:
    x1, y1, x2, y2 = window
    height, width = image.shape[:2]
    if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
        return np.ascontiguousarray(image[y1:y2, x1:x2])
    canvas = filled((y2 - y1, x2 - x1), fill)
    paste(canvas, image, -x1, -y1)
    return canvas


def _overlaps(patches: NDArray[np.float64], boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """IoU [P,M]."""
    corner1 = np.maximum(patches[:, None, :2], boxes[None, :, :2])
    corner2 = np.minimum(patches[:, None, 2:], boxes[None, :, 2:])
    common = np.clip(corner2 - corner1, 0, None).prod(axis=2)
    areas = (patches[:, 2:] - patches[:, :2]).prod(axis=1)[:, None] + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(common / np.maximum(areas - common, 1e-9))  # an empty box and patch: 0, not NaN


def _centred(sample: Sample, window: tuple[int, int, int, int]) -> NDArray[np.int64]:
    centres = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2
    inside = ((centres >= window[:2]) & (centres <= window[2:])).all(axis=1)
    return np.flatnonzero(inside | sample.crowd)  # crowds stay while any part is seen, to be ignored


def _visible(sample: Sample, window: tuple[int, int, int, int], share: float) -> NDArray[np.int64]:
    corner1 = np.maximum(sample.boxes[:, :2], window[:2])
    corner2 = np.minimum(sample.boxes[:, 2:], window[2:])
    seen = np.clip(corner2 - corner1, 0, None).prod(axis=1)
    areas = (sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(axis=1)
    return np.flatnonzero((seen >= share * areas) | sample.crowd)
