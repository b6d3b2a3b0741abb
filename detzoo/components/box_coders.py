"""How a head writes boxes: offsets of centre and size, or distances to the four edges."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder
from detzoo.ops.box_coder import decode_centre_size, decode_edges, encode_centre_size, encode_edges
from detzoo.ops.boxes import sides

Positive = Annotated[float, Field(gt=0)]
DEFAULT_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
DEFAULT_CLAMP = math.log(1000 / 16)  # from a 16 px anchor to 1,000 px


class CentreSize(BoxCoder):
    """Centre offsets in units of the candidate's sides, and logarithms of the ratios of sides.

    Args:
        weights: multipliers of dx, dy, dw, dh, as torchvision and Detectron write them. Default 10, 10, 5, 5.
        variances: the same as Caffe's SSD writes it: divisors, 0.1, 0.1, 0.2, 0.2. Give one of the two.
        clamp: upper bound of log side ratios when decoding; log(1000 / 16) in Detectron and torchvision, null for none.
        legacy_plus_one: sides are x2 - x1 + 1, as in Caffe, py-faster-rcnn and Detectron; only for their old weights.
        legacy_extra_pixel: decoded boxes are 1 px wider and higher than they were encoded: py-faster-rcnn and its ports
            add 1 to the sides and do not take it off the right and bottom edges; Detectron does.

    Source: R-CNN, appendix C; py-faster-rcnn, lib/fast_rcnn/bbox_transform.py.
    """

    def __init__(
        self,
        *,
        weights: tuple[Positive, Positive, Positive, Positive] | None = None,
        variances: tuple[Positive, Positive, Positive, Positive] | None = None,
        clamp: Positive | None = DEFAULT_CLAMP,
        legacy_plus_one: bool = False,
        legacy_extra_pixel: bool = False,
    ) -> None:
        super().__init__()
        if weights is not None and variances is not None:
            raise RecipeError(
                "box_coder centre_size: both weights and variances are given, and they are two ways to write one "
                "thing (weight = 1 / variance); keep one of them"
            )
        if variances is not None:
            # Caffe divides by them as they are, without a root
            weights = (1 / variances[0], 1 / variances[1], 1 / variances[2], 1 / variances[3])
        self.weights = DEFAULT_WEIGHTS if weights is None else weights
        self.clamp = clamp
        self.legacy_plus_one, self.legacy_extra_pixel = legacy_plus_one, legacy_extra_pixel

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Deltas [...,4] of ``targets`` [...,4] seen from ``boxes`` [...,4]; strides play no part."""
        return encode_centre_size(targets, boxes, self.weights, plus_one=self.legacy_plus_one)

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px; strides play no part."""
        return decode_centre_size(
            deltas,
            boxes,
            self.weights,
            clamp=self.clamp,
            plus_one=self.legacy_plus_one,
            extra_pixel=self.legacy_extra_pixel,
        )


class Edges(BoxCoder):
    """Distances from the candidate's centre to the left, top, right and bottom edge.

    Args:
        unit: what distances are measured in: the ``stride`` of the candidate's level; the ``size`` of the candidate,
            horizontal distances in widths and vertical ones in heights (torchvision, whose candidates are squares of
            the nominal stride: a P6 of 13 cells on 800 px has a stride of 61 and squares of 64); or ``px``.

    Source: FCOS, eq. 1; torchvision ``BoxLinearCoder``. A box with negative distances is decoded as it stands; FCOS's
    head keeps them positive.
    """

    def __init__(self, *, unit: Literal["stride", "size", "px"] = "stride") -> None:
        super().__init__()
        self.unit = unit

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Distances [...,4] to the edges of ``targets`` [...,4] from the centres of ``boxes`` [...,4]."""
        return encode_edges(targets, boxes, self._units(boxes, strides))

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px."""
        return decode_edges(deltas, boxes, self._units(boxes, strides))

    def _units(self, boxes: Tensor, strides: Tensor) -> Tensor:
        """Px per unit of (left, top, right, bottom): [...,4], or [...,1] for all four."""
        if self.unit == "size":
            return torch.stack(sides(boxes) * 2, dim=-1)  # (w, h, w, h) for left, top, right, bottom
        return strides.unsqueeze(-1) if self.unit == "stride" else strides.new_ones(1)


class Bins(BoxCoder):
    """Distances from the candidate's centre to the four edges, in strides, each the mean of a distribution over bins.

    The bins stand for 0, 1, ... ``reg_max`` strides. ``decode`` reads the mean, which is what a head writes into
    ``deltas``; the loss of a distribution reads the bins.

    Args:
        reg_max: the last bin, in strides: the farthest that an edge can be from the centre.
        margin: what is encoded stays so far below ``reg_max`` (and never below 0), so that it lies between two bins:
            0.1 in GFL's release, 0.01 in Ultralytics' YOLOv8.

    Source: Li et al. 2020 (arXiv:2006.04388), section 3; the release's ``Integral`` and ``bbox2distance``.
    """

    values: Tensor

    def __init__(
        self, *, reg_max: Annotated[int, Field(ge=1)] = 16, margin: Annotated[float, Field(ge=0, lt=1)] = 0.1
    ) -> None:
        super().__init__()
        self.limit = reg_max - margin
        # not in checkpoints
        self.register_buffer("values", torch.arange(reg_max + 1, dtype=torch.float32), persistent=False)

    @property
    def bins(self) -> Tensor:
        """float32 [reg_max + 1]."""
        return self.values

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Distances [...,4] to the edges of ``targets`` [...,4] from the centres of ``boxes`` [...,4], in bins."""
        # so that a bin lies on either side
        return encode_edges(targets, boxes, strides.unsqueeze(-1)).clamp(0, self.limit)

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px."""
        return decode_edges(deltas, boxes, strides.unsqueeze(-1))
