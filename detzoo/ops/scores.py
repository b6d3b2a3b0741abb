"""Logits -> scores, by the scoring that the head declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import Tensor

from detzoo.ops.boxes import full_precision
from detzoo.types import Predictions, Scoring


def scores_of(
    predictions: Predictions,
    *,
    quality: Literal["ignore", "product", "geometric_mean"] = "ignore",
    cut: bool = True,
) -> Tensor:
    """Scores of every candidate and class, without background.

    Args:
        predictions: with class logits [B,N,C]; ``softmax`` has background in column 0.
        quality: how objectness or centreness [B,N] enters: not at all, as a factor, or sqrt(score x quality).
        cut: what ``linear`` heads say is cut to [0,1]; else below 0 alone.

    Returns:
        float32 [B,N,K] in [0,1]; without ``cut`` above 1 where a linear head says so.
    """
    assert predictions.class_logits is not None
    logits = full_precision(predictions.class_logits)
    raw = predictions.scoring == "linear" and not cut
    scores = logits.clamp(min=0) if raw else _SCORED[predictions.scoring](logits)
    if quality == "ignore" or predictions.quality_logits is None:
        return scores
    said = full_precision(predictions.quality_logits).clamp(min=0) if raw else quality_of(predictions)
    product = scores * said.unsqueeze(-1)
    return product if quality == "product" else product.sqrt()


def quality_of(predictions: Predictions) -> Tensor:
    """Objectness or centreness float32 [B,N] in [0,1]; what ``linear`` heads say is cut to it."""
    assert predictions.quality_logits is not None
    quality = full_precision(predictions.quality_logits)
    return quality.clamp(0, 1) if predictions.scoring == "linear" else torch.sigmoid(quality)  # YOLOv1 has no sigmoid


_SCORED: Final[dict[Scoring, Callable[[Tensor], Tensor]]] = {
    "softmax": lambda logits: torch.softmax(logits, dim=-1)[..., 1:],  # background is column 0 here alone
    "categorical": lambda logits: torch.softmax(logits, dim=-1),
    "sigmoid": torch.sigmoid,
    "linear": lambda scores: scores.clamp(0, 1),  # YOLOv1's squared error may leave [0,1]
}
