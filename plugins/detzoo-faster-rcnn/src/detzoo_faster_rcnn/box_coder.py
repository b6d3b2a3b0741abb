"""Fast R-CNN's regression targets: of each class and coordinate, less their mean and divided by their deviation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder
from detzoo.ops.box_coder import decode_centre_size, encode_centre_size

USUAL_STD: Final = (0.1, 0.1, 0.2, 0.2)
"""Deviations before anything is measured, and of classes with too few examples: those of py-faster-rcnn."""
FEWEST: Final = 2
"""Examples of a class below which nothing is measured."""
SMALLEST: Final = 1e-4
"""Deviations below it are not believed: the examples are copies of the ground truth."""
_PLAIN: Final = (1.0, 1.0, 1.0, 1.0)


class ClassNormalised(BoxCoder):
    """Centre offsets and logarithmic sizes, normalised for each class by statistics of the training data.

    A stage ahead of training measures ``mean`` and ``std``; they are buffers, so that checkpoints hold them. With fixed
    deviations for all classes, as in Faster R-CNN, write ``{type: centre_size, variances: [0.1, 0.1, 0.2, 0.2]}``.
    Where no class is known, ``encode`` and ``decode`` speak of plain, not normalised offsets.

    Args:
        num_classes: K.
        clamp: upper bound of log side ratios when decoding; null for none.
        legacy_plus_one: sides are x2 - x1 + 1, as in Caffe; only for old weights.

    Source: Fast R-CNN (arXiv:1504.08083), section 2.3: "we normalize the ground-truth regression targets to have zero
    mean and unit variance"; fast-rcnn lib/roi_data_layer/roidb.py ``add_bbox_regression_targets``, over every region,
    ground truth included, that overlaps an object by at least the matcher's threshold. Differences: a class with fewer
    than two examples, and a coordinate that does not vary, keep mean 0 and the usual 0.1, 0.1, 0.2, 0.2, where the
    release divides by zero; offsets are clamped when decoding.
    """

    mean: Tensor
    std: Tensor
    counts: Tensor

    def __init__(
        self,
        num_classes: int,
        /,
        *,
        clamp: Annotated[float, Field(gt=0)] | None = math.log(1000 / 16),
        legacy_plus_one: bool = False,
    ) -> None:
        super().__init__()
        self.clamp = clamp
        self.legacy_plus_one = legacy_plus_one
        self.register_buffer("mean", torch.zeros(num_classes, 4))
        self.register_buffer("std", torch.tensor(USUAL_STD).repeat(num_classes, 1))
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.int64))

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Plain offsets [...,4]; strides play no part."""
        return encode_centre_size(targets, boxes, _PLAIN, plus_one=self.legacy_plus_one)

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px of plain offsets."""
        return decode_centre_size(deltas, boxes, _PLAIN, clamp=self.clamp, plus_one=self.legacy_plus_one)

    def of_classes(self, labels: Tensor) -> BoxCoder:
        """The coder whose units are the normalised ones of classes ``labels`` int64 [...]."""
        rows = labels.clamp(min=0)  # background has no units; its boxes are never read
        return Normalised(self, self.mean[rows], self.std[rows])

    @property
    def measured(self) -> bool:
        """Whether the statistics are those of some data."""
        return bool(self.counts.any())

    @torch.no_grad()
    def measure(self, examples: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Set mean and deviation of the plain offsets of each class.

        Args:
            examples: in pieces, (ground truth [P,4] xyxy px, the regions [P,4] that answer for it, labels int64 [P]).
        """
        # float64: mean of squares less square of the mean cancels
        count = torch.zeros(len(self.mean), 1, dtype=torch.float64)
        total = torch.zeros(len(self.mean), 4, dtype=torch.float64)
        squares = torch.zeros_like(total)
        for truth, regions, labels in examples:
            own = labels.cpu()
            offsets = self.encode(truth.cpu().double(), regions.cpu().double(), truth.new_ones(()))
            count.index_add_(0, own, torch.ones(len(own), 1, dtype=torch.float64))
            total.index_add_(0, own, offsets)
            squares.index_add_(0, own, offsets.square())
        mean = total / count.clamp(min=1)
        std = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()  # rounding may go below 0
        sound = (count >= FEWEST) & (std >= SMALLEST)
        self.mean.copy_(torch.where(sound, mean, 0))  # in place: the buffer keeps its device
        self.std.copy_(torch.where(sound, std, torch.tensor(USUAL_STD, dtype=torch.float64)))
        self.counts.copy_(count.squeeze(1).long())


class Normalised(BoxCoder):
    """The units of known classes: plain offsets less the class's mean, divided by its deviation.

    Args:
        plain: codes without normalisation.
        mean: [...,4] of each candidate's class.
        std: [...,4].
    """

    def __init__(self, plain: ClassNormalised, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.plain, self.mean, self.std = plain, mean, std

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Normalised offsets [...,4]."""
        return (self.plain.encode(targets, boxes, strides) - self.mean) / self.std

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px of normalised offsets."""
        return self.plain.decode(deltas * self.std + self.mean, boxes, strides)


def refuse_agnostic(coder: BoxCoder, class_agnostic: bool) -> None:
    """A box that is common to all classes cannot be in the units of each.

    Raises:
        RecipeError: both are asked for.
    """
    if class_agnostic and isinstance(coder, ClassNormalised):
        raise RecipeError(
            "class_agnostic: true draws one box for all classes, and box_coder class_normalised has units for each "
            "class; use class_agnostic: false, or {type: centre_size, variances: [0.1, 0.1, 0.2, 0.2]}"
        )
