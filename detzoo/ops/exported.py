"""Suppression as an operation of its own: what ``torch.export`` records where eager code loops.

Greedy suppression written out for a graph of static shapes takes one step per box: thousands of nodes. An exported
graph holds one node instead, ``detzoo::nms_keep`` or ``detzoo::soft_nms``, which runs the ordinary code when a program
is loaded (after ``import detzoo.export``, which registers both) and which the ONNX exporter translates.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor


@torch.library.custom_op("detzoo::nms_keep", mutates_args=())
def nms_keep(boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor, iou: float) -> Tensor:
    """As ``detzoo.ops.nms.nms_keep``."""
    # deferred: nms imports this module for its exported path
    from detzoo.ops import nms

    return nms.nms_keep(boxes, scores, group, iou=iou, valid=valid)


@nms_keep.register_fake
def _(boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor, iou: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)  # shapes alone: all that export asks of it


@torch.library.custom_op("detzoo::soft_nms", mutates_args=())
def soft_nms(
    boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor, method: str, sigma: float, iou: float, least: float
) -> Tensor:
    """As ``detzoo.ops.nms.soft_nms``; ``least`` is its ``min_score``."""
    from detzoo.ops import nms

    named = cast("Literal['gaussian', 'linear']", method)
    # clone: a custom operation may not return its input or a view of it
    return nms.soft_nms(boxes, scores, group, method=named, sigma=sigma, iou=iou, min_score=least, valid=valid).clone()


@soft_nms.register_fake
def _(
    boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor, method: str, sigma: float, iou: float, least: float
) -> Tensor:
    return torch.empty_like(scores)
