"""What the box terms of a loss read: the positives' rows alone where shapes may depend on the data, else all rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detzoo.ops.matching import (
    candidate_rows,
    matched_boxes,
    matched_labels,
    matched_weights,
    of_classes,
    safe_candidates,
)
from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.types import Assignment, Candidates, Predictions, Targets


@dataclass(frozen=True)
class PositiveRows:
    """Rows [1,P] of the P positives of a batch, or all rows [B,N], of which only the positives mean anything.

    Args:
        deltas: float [.,.,4], those of the ground truth's class.
        boxes: float [.,.,4] xyxy px: the matched ground truth, safe boxes where unmatched.
        candidates: the same rows, of positive size, with the coder of the ground truth's class.
        distribution: float [.,.,4,R], or None where the head gives none.
        positive: bool [B,N].
        weight: float [B,N] of the matched ground truth, or None: all 1.
        place: int64 [P] in the flattened [B*N]; None where the rows are [B,N].
    """

    deltas: Tensor
    boxes: Tensor
    candidates: Candidates
    distribution: Tensor | None
    positive: Tensor
    weight: Tensor | None
    place: Tensor | None

    def of(self, values: Tensor) -> Tensor:
        """The same rows of other values [B,N,...]: [1,P,...], or ``values`` where all rows stand."""
        return values if self.place is None else values.flatten(0, 1).index_select(0, self.place).unsqueeze(0)

    def everywhere(self, values: Tensor) -> Tensor:
        """``values`` of these rows, as [B,N] with 0 where there is no positive."""
        if self.place is None:
            return torch.where(self.positive, values, 0)  # where, not a product: 0 times inf is NaN
        return values.new_zeros(self.positive.numel()).index_copy(0, self.place, values[0]).view(self.positive.shape)

    def sums(self, losses: Tensor) -> Tensor:
        """float [B]: losses of these rows, times the weights of their ground truth, added up for each image."""
        if self.weight is not None:
            losses = losses * self.of(self.weight)
        if self.place is None:
            return torch.where(self.positive, losses, 0).sum(1)
        images, count = self.positive.shape
        return losses.new_zeros(images).index_add(0, self.place // max(1, count), losses[0])


def positive_rows(
    predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
) -> PositiveRows:
    """The rows of the positives.

    Args:
        predictions: of N candidates; one box for all classes or one per class.
        candidates: [1 or B,N].
        targets: [B,M].
        assignment: [B,N].
    """
    deltas, bins = predictions.deltas, predictions.distribution
    labels, weight = matched_labels(targets, assignment), matched_weights(targets, assignment)
    batch, count, per_class = deltas.shape[:3]
    if not allows_dynamic_shapes(deltas):
        boxes = matched_boxes(candidates, targets, assignment)
        if per_class > 1:
            deltas = deltas.gather(2, labels.clamp(min=0)[:, :, None, None].expand(-1, -1, 1, 4))
        places = of_classes(safe_candidates(candidates), labels)
        return PositiveRows(deltas.squeeze(2), boxes, places, bins, assignment.positive, weight, None)
    # few are positive, so only their rows enter the graph
    place = assignment.positive.flatten().nonzero().squeeze(1)
    image = place // max(1, count)
    own = labels.flatten()[place]
    rows = deltas.reshape(batch * count * per_class, 4)  # one flat index picks candidate and class
    rows = rows.index_select(0, place * per_class + (own if per_class > 1 else 0))
    boxes = targets.boxes[image, assignment.index.flatten()[place]]  # [P,4]
    places = safe_candidates(candidate_rows(candidates, image, place - image * count))
    places = of_classes(places, own.unsqueeze(0))
    chosen = None if bins is None else bins.flatten(0, 1).index_select(0, place).unsqueeze(0)
    return PositiveRows(rows.unsqueeze(0), boxes.unsqueeze(0), places, chosen, assignment.positive, weight, place)
