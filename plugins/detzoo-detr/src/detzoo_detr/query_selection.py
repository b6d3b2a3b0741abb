"""Queries that start as the best cells of the encoder.

Letters: B images, S cells of all maps, Q queries, K classes, F width of the transformer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from detzoo.ops.boxes import full_precision
from detzoo.ops.ranking import gather_rows
from detzoo_detr.transformer import Mlp

SIDE: Final = 0.05
"""Of the finest map's anchors, in fractions of the network input; twice that on each coarser map."""
MARGIN: Final = 0.01
"""Cells whose middle, or whose anchor's side, is nearer to 0 or 1 than this are no places for objects."""
EPS: Final = 1e-5


@dataclass(frozen=True)
class Selection:
    """What the best cells say.

    Args:
        content: float [B,Q,F], without gradient.
        boxes: float [B,Q,4] logits of cx, cy, w, h in fractions of the network input.
        classes: float [B,Q,K] logits.
    """

    content: Tensor
    boxes: Tensor
    classes: Tensor


class QuerySelection(nn.Module):
    """Every cell predicts a class and a box; the cells with the highest scores become queries.

    Args:
        width: F.
        classes: K.
        queries: Q; fewer where the maps have fewer cells.
        prior: where untrained scores start.
        project: cells pass a linear layer and a norm first; not in DEIMv2's release.
        activation: of the hidden layers that boxes come from.

    Source: Zhao et al. 2023 (arXiv:2304.08069), section 4.3: training the scores towards the boxes' IoU is what makes
    the selection minimise uncertainty; the maps' two-stage part: Zhu et al. 2021 (arXiv:2010.04159), section 4.2.
    """

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        queries: int,
        prior: float,
        project: bool = True,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.queries = queries
        self.output: nn.Module = nn.Identity()
        if project:
            linear = nn.Linear(width, width)
            nn.init.xavier_uniform_(linear.weight)
            self.output = nn.Sequential(linear, nn.LayerNorm(width))
        self.classes = nn.Linear(width, classes)
        self.boxes = Mlp(width, width, 4, depth=3, activation=activation)
        start_predicting(self.classes, self.boxes, prior)

    def forward(self, cells: Tensor, shapes: Sequence[tuple[int, int]]) -> Selection:
        """Choose among cells [B,S,F] of maps of ``shapes``."""
        anchors, valid = anchor_logits(shapes, like=full_precision(cells[:0]))
        output = self.output(cells * valid.unsqueeze(1).to(cells.dtype))  # [B,S,F]
        logits = self.classes(output)
        boxes = full_precision(self.boxes(output)) + anchors
        best = logits.amax(2).topk(min(self.queries, logits.shape[1]), dim=1).indices  # [B,Q]
        content, chosen, classes = (gather_rows(values, best) for values in (output, boxes, logits))
        return Selection(content.detach(), chosen, classes)


def start_predicting(classes: nn.Linear, boxes: Mlp, prior: float) -> None:
    """Untrained scores are ``prior``, and boxes what they are corrections of."""
    nn.init.constant_(classes.bias, -math.log((1 - prior) / prior))
    start_at_zero(boxes)


def start_at_zero(layers: nn.Sequential) -> None:
    """The last layer gives zeros before it is trained."""
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


def anchor_logits(shapes: Sequence[tuple[int, int]], *, like: Tensor) -> tuple[Tensor, Tensor]:
    """A square around the middle of every cell of every map.

    Args:
        shapes: (h, w) of the maps, finest first.
        like: for device and dtype.

    Returns:
        float [S,4] logits of cx, cy, w, h in fractions of the network input, the largest number there is where the cell
        is not valid, so that its box is (1, 1, 1, 1); and bool [S]: valid.

    Source: RT-DETR's ``generate_anchors``.
    """
    parts = []
    for level, (h, w) in enumerate(shapes):
        y, x = ((torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n for n in (h, w))
        side = torch.full((h, w), SIDE * 2.0**level, device=like.device, dtype=like.dtype)
        places = torch.stack([x.expand(h, w), y[:, None].expand(h, w), side, side], dim=-1)
        parts.append(places.flatten(0, 1))
    anchors = torch.cat(parts)
    valid = ((anchors > MARGIN) & (anchors < 1 - MARGIN)).all(1)
    logits = torch.log(anchors / (1 - anchors))
    return torch.where(valid[:, None], logits, torch.finfo(like.dtype).max), valid


def logit(fractions: Tensor) -> Tensor:
    """Inverse of the sigmoid, bounded."""
    kept = fractions.clamp(0, 1)
    return torch.log(kept.clamp(min=EPS) / (1 - kept).clamp(min=EPS))
