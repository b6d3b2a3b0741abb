"""The rows of a batch that a loss reads: few on the CPU, where shapes may depend on the data, all of them elsewhere."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.types import Assignment, Targets


class Positives(NamedTuple):
    """Positive candidates of a batch, flattened; P is their number, or B*N where the device may not be waited for.

    Args:
        place: int64 [P] in the flattened [B*N].
        image: int64 [P].
        row: int64 [P], of the candidate within its image.
        weight: float [P]: that of the ground truth (``Targets.weight``), 1 without weights; 0 for rows that are no
            positives.
        boxes: float [P,4] xyxy px: what each answers for; the unit box where the weight is 0.
        labels: int64 [P], 0..K-1.
    """

    place: Tensor
    image: Tensor
    row: Tensor
    weight: Tensor
    boxes: Tensor
    labels: Tensor


def positives_of(assignment: Assignment, targets: Targets, dtype: torch.dtype) -> Positives:
    """The positives of an assignment [B,N], and their ground truth."""
    flat = assignment.index.flatten()
    place = (
        flat.ge(0).nonzero().squeeze(1)
        if allows_dynamic_shapes(flat)
        else torch.arange(flat.numel(), device=flat.device)
    )
    count = max(1, assignment.index.shape[1])
    image, truth = place // count, flat[place]
    weight = truth.ge(0).to(dtype)  # static shapes: rows that are no positives weigh 0
    if targets.boxes.shape[1] == 0:
        boxes, labels = targets.boxes.new_zeros(len(place), 4), torch.zeros_like(place)
    else:
        boxes, labels = targets.boxes[image, truth.clamp(min=0)], targets.labels[image, truth.clamp(min=0)]
        if targets.weight is not None:
            weight = weight * targets.weight[image, truth.clamp(min=0)].to(dtype)
    unit = boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    boxes = torch.where(truth.ge(0).unsqueeze(1), boxes, unit)  # the unit box can be encoded: no NaN times 0
    return Positives(place, image, place - image * count, weight, boxes, labels)


def per_image(losses: Tensor, positives: Positives, images: int) -> Tensor:
    """float [B]: the losses [P] of positives, summed for each image."""
    return losses.new_zeros(images).index_add(0, positives.image, losses * positives.weight)  # [B], 0 without positives
