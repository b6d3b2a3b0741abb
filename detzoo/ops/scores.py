"""Logits -> scores, by the scoring that the head declares."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from detzoo.ops.boxes import full_precision
from detzoo.types import Predictions


def scores_of(
    predictions: Predictions, *, quality: Literal["ignore", "product", "geometric_mean"] = "ignore"
) -> Tensor:
    """Scores of every candidate and class, without background.

    Args:
        predictions: with class logits [B,N,C]; ``softmax`` has background in column 0.
        quality: how objectness or centreness [B,N] enters: not at all, as a factor, or sqrt(score x quality).

    Returns:
        float32 [B,N,K].
    """
    assert predictions.class_logits is not None
    logits = full_precision(predictions.class_logits)
    if predictions.scoring == "softmax":
        scores = torch.softmax(logits, dim=-1)[..., 1:]
    else:
        scores = torch.sigmoid(logits) if predictions.scoring == "sigmoid" else logits
    if quality == "ignore" or predictions.quality_logits is None:
        return scores
    product = scores * torch.sigmoid(full_precision(predictions.quality_logits)).unsqueeze(-1)
    return product if quality == "product" else product.sqrt()
