"""Rotation, scale, shear and translation in one warp, as YOLO's training applies it after a mosaic."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.data.loading.transforms.box_filter import BoxFilter, areas_of
from detzoo.data.loading.transforms.box_rows import keep_rows, seen
from detzoo.data.loading.transforms.paste import Fill
from detzoo.types import Sample


@dataclass(frozen=True, kw_only=True)
class Affine:
    """How far the warp may go. Where implementations differ, the field says who does what.

    Args:
        degrees: largest rotation, either way.
        translate: largest shift, as a part of the output's sides.
        scale: range of the factor; YOLOX: 0.1 to 2, its nano and tiny models 0.5 to 1.5.
        shear: largest shear in degrees, along both axes.
        about: the point that stays: the ``centre`` of the canvas comes to the centre of the output (YOLOv5, YOLOX's
            first release); or the ``corner`` at the top left stays there (YOLOX's later releases, mmdetection), so that
            at scale 1 the output shows the top left quarter of a mosaic.
        keep: which boxes stay.

    Source: Ge et al. 2021 (YOLOX, arXiv 2107.08430), section 2.1; Megvii-BaseDetection/YOLOX, data_augment.py.
    """

    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    translate: Annotated[float, Field(ge=0, le=1)] = 0.1
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0, le=16)]] = (0.1, 2.0)
    shear: Annotated[float, Field(ge=0, lt=90)] = 2.0
    about: Literal["centre", "corner"] = "centre"
    keep: BoxFilter = field(default_factory=BoxFilter)


def random_affine(
    sample: Sample, size: tuple[int, int], settings: Affine, fill: Fill, rng: np.random.Generator
) -> Sample:
    """The sample warped to a size (height, width) px.

    A box becomes the bounds of its four warped corners, cut to the output.
    """
    scale = float(rng.uniform(*settings.scale))
    matrix = affine_matrix(sample.image.shape[:2], size, settings, scale, rng)
    warped = warp(sample, matrix, size, fill)
    # shear keeps areas nearly
    kept = settings.keep.rows(sample, areas_of(sample.boxes) * np.float32(scale**2), warped.boxes)
    return keep_rows(warped, kept)


def affine_matrix(
    source: tuple[int, ...], target: tuple[int, int], settings: Affine, scale: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """float64 [2,3]: from (x, y) px of the source (height, width) to the target's."""
    degrees = float(rng.uniform(-settings.degrees, settings.degrees))
    shear = np.tan(np.radians(rng.uniform(-settings.shear, settings.shear, 2)))
    shift = rng.uniform(-settings.translate, settings.translate, 2)
    centre = np.zeros(2)
    if settings.about == "centre":
        centre, shift = np.array(source[1::-1]) / 2, shift + 0.5  # (x, y)
    cosine, sine = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    rotation = np.array([[cosine, sine], [-sine, cosine]])  # counter-clockwise on the screen, as OpenCV's
    turned = np.array([[1, shear[0]], [shear[1], 1]]) @ rotation
    offset = shift * target[::-1] - turned @ centre
    return np.concatenate([turned, offset[:, None]], axis=1)


def warp(sample: Sample, matrix: NDArray[np.float64], size: tuple[int, int], fill: Fill) -> Sample:
    """The sample seen through an affine map; all boxes stay, cut to the output, of which proposals must be seen."""
    height, width = size

    def moved(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2).astype(np.float64)  # [M,4,2]
        corners = corners @ matrix[:, :2].T + matrix[:, 2]
        bounds = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return np.asarray(np.clip(bounds, 0, [width, height, width, height]), np.float32)

    masks = sample.masks
    if masks is not None:
        warped = [cv2.warpAffine(mask, _pixels(matrix), (width, height), flags=cv2.INTER_NEAREST) for mask in masks]
        masks = np.stack(warped).astype(np.uint8) if warped else np.zeros((0, height, width), np.uint8)
    proposals = sample.proposals
    if proposals is not None:
        proposals = moved(proposals)[seen(proposals, moved(proposals))]
    image = cv2.warpAffine(sample.image, _pixels(matrix), (width, height), borderValue=fill)  # OpenCV: (w, h)
    return dataclasses.replace(
        sample, image=np.asarray(image, np.uint8), boxes=moved(sample.boxes), masks=masks, proposals=proposals
    )


def _pixels(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The map between pixel indices: OpenCV's (0, 0) is the middle of a pixel, that of boxes its corner."""
    half = np.array([0.5, 0.5])
    offset = matrix[:, :2] @ half + matrix[:, 2] - half
    return np.concatenate([matrix[:, :2], offset[:, None]], axis=1)
