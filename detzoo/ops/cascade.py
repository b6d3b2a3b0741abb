"""Between the stages of a cascade: boxes that become the next stage's regions, and scores that are averaged.

Letters: B images, P regions, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from detzoo.ops.boxes import clip, full_precision, sides
from detzoo.ops.matching import matched_boxes
from detzoo.ops.scores import scores_of
from detzoo.types import Assignment, Candidates, Predictions, Scoring, Targets


def refined(rois: Candidates, predictions: Predictions, region: Tensor) -> Candidates:
    """The boxes that a stage predicts, as regions of the next one: clipped, without gradient, in the same order.

    Of a head with one box per class the best class' box is taken. Boxes that the clipping leaves empty are invalid;
    they keep their place, so that the scores of all stages stay aligned.

    Args:
        rois: [B,P], with the stage's coder.
        predictions: of the stage, [B,P].
        region: float32 [B,4] xyxy px: where each image lies inside the padding.
    """
    # Cascade R-CNN: no gradient through the next stage's regions
    coder, deltas = rois.coder, predictions.deltas.detach()
    assert coder is not None
    if deltas.shape[2] > 1:
        best = scores_of(predictions).argmax(-1)  # without background: a region keeps its place whatever it is
        deltas = deltas.gather(2, best[..., None, None].expand(-1, -1, 1, 4))
        coder = coder.of_classes(best)
    boxes = clip(coder.decode(deltas[:, :, 0], rois.boxes, rois.strides()), region.unsqueeze(1))
    width, height = sides(boxes)
    return Candidates(boxes, rois.valid & (width > 0) & (height > 0))


def without_ground_truth(refined: Candidates, rois: Candidates, targets: Targets, assignment: Assignment) -> Candidates:
    """The refined regions, less those that were ground truth before: they teach the next stage nothing of its input.

    Args:
        refined: [B,P].
        rois: the regions [B,P] that they were refined from.
        targets: [B,M].
        assignment: [B,P] of ``rois``.
    """
    truth = matched_boxes(rois, targets, assignment)
    same = (rois.boxes == truth).all(-1) & assignment.positive  # exact: appended boxes are copies
    return dataclasses.replace(refined, valid=refined.valid & ~same)


def averaged(stages: Sequence[Predictions]) -> Predictions:
    """The last stage's predictions with the mean of all stages' class scores; those of one stage as they are.

    Args:
        stages: of the same regions [B,P], all with one way of scoring.
    """
    last = stages[-1]
    if len(stages) == 1:
        return last
    to_scores, to_logits = _WAYS[last.scoring]
    scores = [to_scores(full_precision(_logits(stage))) for stage in stages]
    return dataclasses.replace(last, class_logits=to_logits(torch.stack(scores).mean(0)))


def _logits(predictions: Predictions) -> Tensor:
    assert predictions.class_logits is not None
    return predictions.class_logits


def _log(scores: Tensor) -> Tensor:
    return scores.clamp(min=torch.finfo(scores.dtype).tiny).log()


_SOFTMAX: Final = (lambda logits: torch.softmax(logits, dim=-1), _log)  # the softmax of logarithms is what they were of
_WAYS: Final[dict[Scoring, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]]] = {
    "softmax": _SOFTMAX,
    "categorical": _SOFTMAX,
    "sigmoid": (torch.sigmoid, lambda scores: _log(scores) - _log(1 - scores)),  # logit, finite at 0 and 1
    "linear": (lambda scores: scores, lambda scores: scores),
}
"""By scoring: from logits to what is averaged, and back."""
