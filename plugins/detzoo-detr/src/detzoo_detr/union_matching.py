"""One-stage detection whose layers share what they have matched: D-FINE's GO-LSD, DEIM's dense one-to-one.

Letters: B images, N queries, M ground truths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from detzoo.detectors.one_stage import OneStage
from detzoo.errors import RecipeError
from detzoo.interfaces import Backbone, DenseHead, Feature, Loss, Matcher, Neck, PostProcess, Sampler
from detzoo.types import BACKGROUND, Assignment, Auxiliary, Candidates, ImageBatch, Targets
from detzoo_detr.dfine_loss import SplitLoss


class OneStageUnion(OneStage):
    """As ``one_stage``, but boxes of every layer answer for what any layer has matched.

    Classes are trained by the layer's own assignment. Boxes, and their distributions, are trained by the union: a
    query that some layers match answers for the ground truth that most of them gave it, of equals the first. So several
    queries may answer for one object. Auxiliary predictions whose assignment is known beforehand take no part.

    Args:
        backbone: pixels to maps.
        neck: maps to maps.
        head: maps to candidates and predictions, the queries of all layers being the same.
        matcher: candidates to ground truth.
        sampler: which candidates enter the loss; null: all.
        loss: one that tells class and box terms apart: ``dfine``.
        postprocess: predictions to detections.
        matchers: further ones by name, for auxiliary predictions that ask for them; null: none.
        share_matches: false: boxes too are trained by the layer's own assignment, as ``one_stage`` does (D-FINE in
            transformers; DEIMv2's atto, femto and pico).

    Source: Peng et al. 2024, D-FINE (arXiv:2410.13842), section 4.2; its ``_get_go_indices``, which leaves the order of
    equals to torch.
    """

    name: ClassVar[str] = "one_stage_union"
    gives = frozenset({Feature.PREDICTIONS})

    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: Neck,
        head: DenseHead,
        matcher: Matcher,
        sampler: Sampler | None = None,
        loss: Loss,
        postprocess: PostProcess,
        matchers: dict[str, Matcher] | None = None,
        share_matches: bool = True,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            matcher=matcher,
            sampler=sampler,
            loss=loss,
            postprocess=postprocess,
            matchers=matchers,
        )
        if not isinstance(loss, SplitLoss):
            raise RecipeError(
                f"architecture one_stage_union: it needs a loss that tells class and box terms apart, such as dfine; "
                f"{type(loss).__name__} does not. Change the loss, or write architecture: one_stage"
            )
        self.loss: SplitLoss = loss
        self.share_matches = share_matches

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms by name, those of auxiliary predictions prefixed with their name: ``aux0.distance``."""
        candidates, predictions = self.network(batch, targets)
        predictions = predictions.float()
        sets = [Auxiliary("", predictions), *predictions.aux]
        own = [self.own_assignment(one, candidates, targets) for one in sets]
        free = [row for row, one in enumerate(sets) if one.assignment is None]
        shared = unite([own[row] for row in free], targets.boxes.shape[1])
        terms: dict[str, Tensor] = {}
        for row, one in enumerate(sets):
            places = one.candidates or candidates
            boxes = shared if self.share_matches and one.assignment is None else own[row]
            found = self.loss.class_terms(one.predictions, places, targets, own[row])
            found |= self.loss.box_terms(one.predictions, places, targets, boxes)
            prefix = f"{one.name}." if one.name else ""
            terms |= {prefix + name: one.weight * term for name, term in found.items()}
        return terms

    def own_assignment(self, one: Auxiliary, candidates: Candidates, targets: Targets) -> Assignment:
        """What a set of predictions is matched with, by itself."""
        if one.assignment is not None:
            return one.assignment
        matcher = self.matcher if one.matcher is None else self.further_matcher(one)
        found: Assignment = self.sampler(matcher(one.candidates or candidates, targets, one.predictions))
        return found


def unite(assignments: Sequence[Assignment], truths: int) -> Assignment:
    """The ground truth that most of several assignments give each query; of equals the first.

    Args:
        assignments: [B,N] each, the main one first.
        truths: M.

    Returns:
        [B,N]: where none has a ground truth, what the first one says.
    """
    first = assignments[0].index
    votes = first.new_zeros((*first.shape, truths + 1))  # the last column takes what is no ground truth
    for one in assignments:
        column = torch.where(one.positive, one.index, truths).unsqueeze(-1)
        votes = votes.scatter_add(-1, column, torch.ones_like(column))
    votes = votes[..., :truths]
    if truths == 0:
        return Assignment(first)
    most, row = votes.max(-1)
    equal = votes == most.unsqueeze(-1)
    row = torch.where(equal, torch.arange(truths, device=row.device), truths).amin(-1)  # max takes any of equals
    unmatched = torch.where(first >= 0, BACKGROUND, first)
    return Assignment(torch.where(most > 0, row, unmatched))
