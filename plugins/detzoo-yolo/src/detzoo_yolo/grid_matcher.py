"""YOLOv1's matcher: the cell of an object's centre is responsible, and there the box that does best.

Letters: B images, N candidates, M ground truths, S cells, P boxes of a cell.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Feature, Matcher
from detzoo.ops.boxes import full_precision, iou, sides, xyxy_to_cxcywh
from detzoo.ops.ranking import gather_rows
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets


class GridResponsible(Matcher):
    """One object for each cell: the first in the given order whose centre lies in it.

    Of the cell's predicted boxes the one of the best IoU answers for it; where none overlaps the object, the one of the
    least root mean squared error of centre and sides, as parts of the image. The overlap of the assignment is that
    IoU, the confidence's target. A cell whose only objects are flagged ``ignore`` is ignored.

    Args:
        min_side: objects narrower or lower than this part of the network input are not matched; darknet 0.005.

    Source: Redmon et al. 2016, section 2.2; darknet, detection_layer.c and data.c ``fill_truth_region``.
    """

    needs = frozenset({Feature.ONE_GRID, Feature.PREDICTIONS, Feature.ONE_BOX})

    def __init__(self, *, min_side: Annotated[float, Field(ge=0, le=1)] = 0.005) -> None:
        super().__init__()
        self.min_side = min_side

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign [B,N]."""
        if len(candidates.levels) != 1 or predictions is None or candidates.coder is None:
            raise RecipeError(
                f"matcher grid_responsible needs one grid of cells with their predictions, found "
                f"{len(candidates.levels)} levels; use head type yolo_grid"
            )
        level = candidates.levels[0]
        owner = self.owners(candidates, targets, targets.usable & self.large_enough(candidates, targets))  # [B,S]
        ignored = self.owners(candidates, targets, targets.valid & targets.ignore) >= 0
        index = torch.where(ignored, IGNORE, BACKGROUND).repeat_interleave(level.per_cell, 1)  # [B,N]
        per_box = owner.repeat_interleave(level.per_cell, 1)
        deltas = predictions.deltas[:, :, 0].detach()  # no gradient through who is responsible, nor through the IoU
        places = candidates.boxes.expand(len(deltas), -1, -1)
        said = candidates.coder.decode(deltas, places, candidates.strides())  # [B,N,4]
        truth = self.truths(targets, per_box, said)
        overlap = iou(said, truth.to(said.dtype))
        responsible = best_of_each_cell(overlap, self.error(said, truth, candidates), level.per_cell)
        index = torch.where(responsible & (per_box >= 0), per_box, torch.where(per_box >= 0, BACKGROUND, index))
        return Assignment(torch.where(candidates.valid, index, IGNORE), overlap)

    def owners(self, candidates: Candidates, targets: Targets, wanted: Tensor) -> Tensor:
        """int64 [B,S]: the first wanted ground truth whose centre lies in each cell; -1 where there is none."""
        level, cell = candidates.levels[0], cell_sides(candidates)
        centre = (full_precision(targets.boxes[..., :2]) + targets.boxes[..., 2:]) / 2 / cell
        # a centre on the right border is in the last cell
        column = centre[..., 0].floor().long().clamp(0, level.width - 1)
        row = centre[..., 1].floor().long().clamp(0, level.height - 1)
        count, truths = level.height * level.width, wanted.shape[1]
        rank = torch.where(wanted, torch.arange(truths, device=wanted.device), truths)
        first = torch.full((len(wanted), count), truths, device=wanted.device)
        # darknet keeps the first object of a cell
        first = first.scatter_reduce(1, row * level.width + column, rank, "amin")
        return torch.where(first < truths, first, -1)

    def truths(self, targets: Targets, owner: Tensor, like: Tensor) -> Tensor:
        """float [B,N,4]: the box of each candidate's cell; elsewhere any."""
        if targets.boxes.shape[1] == 0:
            return torch.zeros_like(like)
        return gather_rows(targets.boxes, owner.clamp(min=0))

    def error(self, said: Tensor, truth: Tensor, candidates: Candidates) -> Tensor:
        """float [B,N]: squared distance of centres and sides, as parts of the image."""
        level, cell = candidates.levels[0], cell_sides(candidates)
        image = cell * cell.new_tensor([level.width, level.height])  # (width, height) px of the input
        return ((xyxy_to_cxcywh(said) - xyxy_to_cxcywh(truth)) / image.repeat(2)).square().sum(-1)

    def large_enough(self, candidates: Candidates, targets: Targets) -> Tensor:
        """bool [B,M]."""
        level, cell = candidates.levels[0], cell_sides(candidates)
        width, height = sides(targets.boxes)
        wide, tall = level.width * cell[0], level.height * cell[1]
        return (width > 0) & (height > 0) & (width >= self.min_side * wide) & (height >= self.min_side * tall)


def cell_sides(candidates: Candidates) -> Tensor:
    """float [2]: (width, height) px of a cell; the first centre lies half a cell from the corner."""
    first = full_precision(candidates.boxes[0, 0])
    return first[:2] + first[2:]


def best_of_each_cell(overlap: Tensor, error: Tensor, per_cell: int) -> Tensor:
    """bool [B,N]: of the P boxes of a cell the first of the best IoU; of the least error where all IoUs are 0."""
    shape = (len(overlap), overlap.shape[1] // per_cell, per_cell)
    iou_of, error_of = overlap.reshape(shape), error.reshape(shape)  # [B,S,P]
    # detection_layer.c: best_iou, best_rmse
    chosen = torch.where((iou_of > 0).any(2), iou_of.argmax(2), error_of.argmin(2))
    return (torch.arange(per_cell, device=overlap.device) == chosen.unsqueeze(2)).flatten(1)
