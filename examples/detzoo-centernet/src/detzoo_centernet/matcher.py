"""CenterNet's assignment: the cell of each centre, and Gaussians around it that excuse its neighbours.

Letters: B images, M ground truths, N cells, K classes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Feature, Matcher
from detzoo.ops.boxes import area, full_precision, sides
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.ops.matching import chunks
from detzoo.types import BACKGROUND, Assignment, Candidates, Predictions, Targets

Radius = Literal["exact", "released"]


class GaussianCentres(Matcher):
    """The cell that holds the centre of a ground truth is its only positive.

    ``Assignment.quality`` [B,N,K] is the heatmap that is to be learned: 1 at the centres of a class, a Gaussian around
    them, and the greater value where two meet. Of two centres in one cell the smaller box is learned.

    Args:
        min_overlap: a box that is moved by the Gaussian's radius still overlaps its ground truth by this IoU.
        radius: ``exact`` solves for it; ``released`` takes the greater root of each of the three equations and divides
            it by 2 in place of 2a, as the authors' code does, and is larger.
        ignore_threshold: background cells of which ignored ground truth covers at least this share leave the loss.

    Source: Zhou et al. 2019 (arXiv:1904.07850), section 3; Law and Deng 2018 (arXiv:1808.01244), section 3.2;
    xingyizhou/CenterNet, ``gaussian_radius`` and ``draw_umich_gaussian``. Of two centres in one cell it learns the one
    that the annotation names last.
    """

    name: ClassVar[str] = "gaussian_centres"
    gives = frozenset({Feature.QUALITY_TARGETS})
    needs = frozenset({Feature.PREDICTIONS, Feature.CLASS_LOGITS, Feature.ONE_GRID, Feature.ONE_PER_CELL})

    def __init__(
        self,
        *,
        min_overlap: Annotated[float, Field(gt=0, lt=1)] = 0.7,
        radius: Radius = "released",
        ignore_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        super().__init__()
        self.min_overlap, self.radius, self.ignore_threshold = min_overlap, radius, ignore_threshold

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign cells [1,N] to ground truth [B,M]; ``predictions`` tell the number of classes.

        Raises:
            RecipeError: it is shown no predictions, or not the cells of one map.
        """
        if predictions is None or predictions.class_logits is None:
            raise RecipeError("matcher gaussian_centres: it reads the number of classes from class predictions")
        if len(candidates.levels) != 1 or candidates.levels[0].per_cell != 1:
            raise RecipeError("matcher gaussian_centres: it assigns the cells of one map, one candidate each")
        batch, count, classes = predictions.class_logits.shape
        centre, size, radius = self.in_cells(candidates, targets)
        heat = centre.new_zeros(batch, classes, count)
        index = torch.full((batch, count), BACKGROUND, device=centre.device)
        smallest = centre.new_full((batch, count), torch.inf)
        corners = full_precision(candidates.boxes[..., :2]) / candidates.levels[0].stride  # column and row of cells
        for part in chunks(2 * batch, targets.boxes.shape[1], count):
            steps = (corners.unsqueeze(1) - centre[:, part].floor().unsqueeze(2)).round()  # [B,m,N,2] cells
            usable = targets.usable[:, part].unsqueeze(2)
            hill = gaussian(steps, radius[:, part].unsqueeze(2)) * usable  # [B,m,N]
            label = targets.labels[:, part].clamp(0, max(0, classes - 1)).unsqueeze(2).expand_as(hill)
            if classes:
                heat.scatter_reduce_(1, label, hill, "amax")
            extent = torch.where((steps == 0).all(-1) & usable, size[:, part].unsqueeze(2), torch.inf)
            best, row = torch.cat([smallest.unsqueeze(1), extent], dim=1).min(1)  # of equal ones the first
            index = torch.where(best < smallest, row - 1 + part.start, index)
            smallest = best
        index = leave_out_ignored(index, candidates, targets, threshold=self.ignore_threshold)
        return Assignment(index, quality=heat.transpose(1, 2))

    def in_cells(self, candidates: Candidates, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """Centres [B,M,2] within the map, areas [B,M] and radii [B,M] of the ground truth, in cells."""
        level = candidates.levels[0]
        boxes = full_precision(targets.boxes) / level.stride
        last = boxes.new_tensor([level.width - 1, level.height - 1]).clamp(min=0)
        centre = ((boxes[..., :2] + boxes[..., 2:]) / 2).clamp(min=0).minimum(last + 0.5)
        width, height = sides(boxes)
        radius = gaussian_radius(height.ceil(), width.ceil(), self.min_overlap, form=self.radius)
        return centre, area(boxes), radius


def gaussian(steps: Tensor, radius: Tensor) -> Tensor:
    """exp(-d² / 2 sigma²) of ``steps`` [...,2] from the centre, a third of the radius wide, 0 beyond the radius."""
    deviation = (2 * radius + 1) / 6
    hill = torch.exp(-steps.square().sum(-1) / (2 * deviation.square()))
    return torch.where((steps.abs() <= radius.unsqueeze(-1)).all(-1), hill, 0)


def gaussian_radius(height: Tensor, width: Tensor, min_overlap: float, *, form: Radius) -> Tensor:
    """How far both corners of a box may move, in whole cells, for the IoU to stay at ``min_overlap``.

    The least of three cases: the corners move the same way, both inwards, both outwards. Each is a quadratic equation
    a r² + b r + c = 0.

    Args:
        height: float [...], in cells.
        width: likewise.
        min_overlap: 0..1.
        form: as in ``GaussianCentres``.

    Returns:
        float [...], at least 0.
    """
    t, perimeter, extent = min_overlap, height + width, height * width
    equations = (
        (1.0, -perimeter, extent * (1 - t) / (1 + t), -1),
        (4.0, -2 * perimeter, (1 - t) * extent, -1),
        (4 * t, 2 * t * perimeter, (t - 1) * extent, 1),
    )
    found = []
    for a, b, c, sign in equations:
        root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
        found.append((-b + root) / 2 if form == "released" else (-b + sign * root) / (2 * a))
    return torch.stack(found).amin(0).clamp(min=0).floor()
