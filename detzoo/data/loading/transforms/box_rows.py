"""Which boxes of a sample stay, and everything that belongs to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detzoo.data.loading.transforms.paste import paste_masks
from detzoo.types import Sample

MIN_SIDE = 1.0  # px; what a cut leaves of a box must be larger, in both directions


def keep_rows(sample: Sample, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Sample:
    """The same image with the boxes at some rows, and their labels, flags, masks and weights; proposals stay."""
    return dataclasses.replace(
        sample,
        boxes=sample.boxes[rows],
        labels=sample.labels[rows],
        difficult=sample.difficult[rows],
        crowd=sample.crowd[rows],
        masks=None if sample.masks is None else sample.masks[rows],
        weight=None if sample.weight is None else sample.weight[rows],
    )


def join_rows(image: NDArray[np.uint8], samples: Sequence[Sample]) -> Sample:
    """One image with the boxes of several samples, which must lie in its frame; the rest is the first sample's.

    Masks, proposals and weights are joined where any sample has them: a sample without masks adds empty ones, one
    without weights adds ones.
    """
    masks = proposals = weight = None
    if any(one.masks is not None for one in samples):
        masks = np.concatenate([_masks_of(one, image.shape[:2]) for one in samples])
    if any(one.proposals is not None for one in samples):
        proposals = np.concatenate([one.proposals for one in samples if one.proposals is not None])
    if any(one.weight is not None for one in samples):
        weight = np.concatenate([weight_of(one) for one in samples])
    return dataclasses.replace(
        samples[0],
        image=image,
        boxes=np.concatenate([one.boxes for one in samples]),
        labels=np.concatenate([one.labels for one in samples]),
        difficult=np.concatenate([one.difficult for one in samples]),
        crowd=np.concatenate([one.crowd for one in samples]),
        masks=masks,
        proposals=proposals,
        weight=weight,
    )


def placed(sample: Sample, size: tuple[int, int], left: int, top: int) -> Sample:
    """The boxes of a sample whose image lies at (left, top) on a canvas, cut to it; those that are not seen go.

    Masks and proposals follow. The image stays as it is: pasting it is the caller's.

    Args:
        sample: is not changed.
        size: (height, width) px of the canvas.
        left: px.
        top: px.
    """
    shift, border = np.array([left, top, left, top], np.float32), np.array([size[1], size[0]] * 2, np.float32)

    def moved(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.clip(boxes + shift, 0, border), np.float32)

    kept = keep_rows(sample, seen(sample.boxes, moved(sample.boxes)))
    proposals = kept.proposals
    if proposals is not None:
        proposals = moved(proposals)[seen(proposals, moved(proposals))]
    return dataclasses.replace(
        kept,
        boxes=moved(kept.boxes),
        masks=None if kept.masks is None else paste_masks(kept.masks, size, left, top),
        proposals=proposals,
    )


def weight_of(sample: Sample) -> NDArray[np.float32]:
    """float32 [M]: the weight of each box, 1 where the sample has none."""
    return np.ones(len(sample.boxes), np.float32) if sample.weight is None else sample.weight


def large(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """bool [M]: boxes of more than ``MIN_SIDE`` in both directions."""
    return np.asarray(((boxes[:, 2:] - boxes[:, :2]) > MIN_SIDE).all(axis=1))


def seen(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.bool_]:
    """bool [M]: boxes of which enough is left after a cut.

    A box that was thinner than the limit before is not the cut's fault: of it, anything is enough.
    """
    return large(after) | ((after[:, 2:] > after[:, :2]).all(axis=1) & ~large(before))


def _masks_of(sample: Sample, size: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.zeros((len(sample.boxes), *size), np.uint8) if sample.masks is None else sample.masks
