"""Hungarian matching: every object gets a query of its own, such that the whole image costs least.

Letters: B images, N candidates, M ground truths, K classes.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal

import numpy as np
import torch
from pydantic import Field
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder, Feature, Matcher
from detzoo.ops.boxes import area, full_precision, giou, intersection_matrix
from detzoo.ops.scores import scores_of
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets
from detzoo_detr.box_coder import Fractions

Weight = Annotated[float, Field(ge=0)]
WORST: Final = 1e9
"""Cost of a pair that has none: a network that gives NaN is reported by its loss, not by the matching."""


class Hungarian(Matcher):
    """The one-to-one assignment of least total cost: class, distance of the encoded boxes, and generalised IoU.

    cost = class_weight * c + distance_weight * |deltas - encoded truth| - overlap_weight * GIoU, where c is minus the
    score of the true class, or what a focal loss would charge for a positive less what for a negative.

    Args:
        class_weight: factor of the class.
        distance_weight: factor of the L1 distance.
        distance_in: what that is measured in: the units of ``deltas``, which DETR's box coder writes, or fractions of
            the ``image`` for centre and size of the decoded box (D-FINE, whose deltas are moves of edges).
        overlap_weight: factor of the generalised IoU.
        focal: the class costs as the focal loss (Deformable DETR), for heads that score by ``sigmoid``.
        alpha: of that focal loss.
        gamma: of that focal loss.
        ignore_threshold: unmatched candidates of whose predicted box ignored ground truth, such as crowds, covers at
            least this share leave the loss.
        groups: the candidates are so many groups of equal size, one behind the other, each of which is matched by
            itself: every object gets a query of each (Group DETR).

    Where an image has more ground truth than valid candidates, the dearest stay without one. Ground truth without
    area is never matched. SciPy solves each image on the CPU, so the host waits once a layer: the cost of all
    images is computed where the predictions are, and crosses in one copy.

    Source: Carion et al. 2020 (arXiv:2005.12872), eq. 1 and 2, its ``HungarianMatcher`` (1, 5, 2); Zhu et al. 2021,
    Deformable DETR's (2, 5, 2, focal). Difference: DETR knows no ignored ground truth.
    """

    needs = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.PREDICTIONS})

    def __init__(
        self,
        *,
        class_weight: Weight = 1.0,
        distance_weight: Weight = 5.0,
        overlap_weight: Weight = 2.0,
        focal: bool = False,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.25,
        gamma: Weight = 2.0,
        ignore_threshold: Annotated[float, Field(gt=0, le=1)] = 0.5,
        groups: Annotated[int, Field(ge=1, le=64)] = 1,
        distance_in: Literal["deltas", "image"] = "deltas",
    ) -> None:
        super().__init__()
        self.distance_in = distance_in
        if class_weight == distance_weight == overlap_weight == 0:
            raise RecipeError("matcher hungarian: all three weights are 0, so every assignment costs the same; set one")
        self.class_weight, self.distance_weight, self.overlap_weight = class_weight, distance_weight, overlap_weight
        self.focal, self.alpha, self.gamma = focal, alpha, gamma
        self.ignore_threshold, self.groups = ignore_threshold, groups

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign candidates [1 or B,N] to ground truth [B,M]."""
        if predictions is None or predictions.class_logits is None or candidates.coder is None:
            raise RecipeError(
                "matcher hungarian: it looks at predicted classes and boxes, and is given none here; it belongs "
                "under architecture: one_stage, beside a head with a box coder"
            )
        boxes = decoded(predictions, candidates)  # [B,N,4]
        wanted = targets.usable & (area(targets.boxes) > 0)
        valid = candidates.valid.expand(boxes.shape[:2])
        index = solve(self.cost(predictions, boxes, candidates, targets), valid, wanted, groups=self.groups)
        upon = self.upon_ignored(boxes, targets) & (index == BACKGROUND)
        return Assignment(torch.where(valid & ~upon, index, IGNORE))

    def cost(self, predictions: Predictions, boxes: Tensor, candidates: Candidates, targets: Targets) -> Tensor:
        """float32 [B,N,M]: what each pair costs; of padded ground truth, any number."""
        assert candidates.coder is not None
        labels = targets.labels.unsqueeze(1).expand(-1, boxes.shape[1], -1)
        classes = self.class_costs(predictions).gather(2, labels)
        truth = full_precision(targets.boxes).unsqueeze(1)  # [B,1,M,4]
        if self.distance_in == "image":
            coder: BoxCoder = Fractions()
            image, found, strides = targets.region[:, None, None], boxes.unsqueeze(2), candidates.strides()
            distance = (coder.encode(found, image, strides) - coder.encode(truth, image, strides)).abs().sum(-1)
        else:
            encoded = candidates.coder.encode(truth, candidates.boxes.unsqueeze(2), candidates.strides().view(1, -1, 1))
            distance = (full_precision(predictions.deltas) - encoded).abs().sum(-1)
        overlap = giou(boxes.unsqueeze(2), truth)
        total = self.class_weight * classes + self.distance_weight * distance - self.overlap_weight * overlap
        return total.nan_to_num(WORST, WORST, -WORST)

    def class_costs(self, predictions: Predictions) -> Tensor:
        """float32 [B,N,K]: what it costs to answer for an object of each class."""
        scores = scores_of(predictions)
        if not self.focal:
            return -scores
        if predictions.scoring != "sigmoid":
            raise RecipeError(
                f'matcher hungarian: focal: true needs a head that scores by "sigmoid", this one scores by '
                f'"{predictions.scoring}"; set head.scoring: sigmoid, or matcher.focal: false'
            )
        eps = 1e-8
        positive = self.alpha * (1 - scores) ** self.gamma * -(scores + eps).log()
        negative = (1 - self.alpha) * scores**self.gamma * -(1 - scores + eps).log()
        return positive - negative

    def upon_ignored(self, boxes: Tensor, targets: Targets) -> Tensor:
        """bool [B,N]: predicted boxes that lie upon ignored ground truth."""
        flagged = targets.valid & targets.ignore
        own = area(boxes)
        shared = intersection_matrix(full_precision(targets.boxes), boxes)  # [B,M,N]
        covered = shared >= self.ignore_threshold * own.unsqueeze(1)
        return (covered & flagged.unsqueeze(2)).any(1) & (own > 0)


def decoded(predictions: Predictions, candidates: Candidates) -> Tensor:
    """Predicted boxes float32 [B,N,4] xyxy px.

    Raises:
        RecipeError: the head predicts a box for each class.
    """
    assert candidates.coder is not None
    if predictions.deltas.shape[2] != 1:
        raise RecipeError(
            "matcher hungarian: the head predicts a box for each class, and one is wanted for all of them; "
            "take a head with class-agnostic boxes"
        )
    return candidates.coder.decode(predictions.deltas.squeeze(2), candidates.boxes, candidates.strides())


def solve(cost: Tensor, valid: Tensor, wanted: Tensor, *, groups: int = 1) -> Tensor:
    """The assignment of least cost, image by image, group by group.

    Args:
        cost: float [B,N,M], finite.
        valid: bool [B,N].
        wanted: bool [B,M].
        groups: of equal size, into which the N candidates fall.

    Returns:
        int64 [B,N] on the device of ``cost``: a ground truth, or BACKGROUND.

    Raises:
        RecipeError: N is no multiple of ``groups``.
    """
    images, count = valid.shape
    if count % groups:
        raise RecipeError(
            f"matcher hungarian: groups is {groups}, but the head gives {count} candidates, which is no multiple; set "
            "the matcher's groups to the head's"
        )
    index = torch.full((images * groups, count // groups), BACKGROUND, dtype=torch.int64)
    possible = valid.unsqueeze(2) & wanted.unsqueeze(1)
    # one copy, for which the host waits: what takes no part costs infinitely much
    numbers = cost.double().masked_fill(~possible, math.inf).cpu().numpy().reshape(*index.shape, cost.shape[2])
    for row, costs in enumerate(numbers):  # [N/G,M]
        finite = np.isfinite(costs)
        rows, columns = finite.any(1).nonzero()[0], finite.any(0).nonzero()[0]
        candidate, truth = linear_sum_assignment(costs[rows][:, columns])
        index[row, rows[candidate]] = torch.from_numpy(columns[truth])
    return index.view(images, count).to(cost.device)
