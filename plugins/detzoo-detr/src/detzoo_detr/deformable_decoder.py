"""The decoder of Deformable DETR, and the proposals with which its two-stage form starts.

Letters: B images, Q queries, S cells of all maps, L maps, F width of the transformer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from detzoo_detr.deformable_attention import DeformableAttention
from detzoo_detr.deformable_encoder import DeformableMemory
from detzoo_detr.position import sine
from detzoo_detr.transformer import Attention, FeedForward, Transformer

BOUND: Final = 1e-5
"""Logits are of fractions at least so far from 0 and 1."""
NEAR_EDGE: Final = 0.01
"""Proposals whose centre or side is so near to 0 or 1 are left out."""
SIDE: Final = 0.05
"""Of a proposal on the finest map, in fractions of the image; each coarser map doubles it."""


@dataclass(frozen=True)
class Start:
    """What the queries are before the first layer.

    Args:
        content: float [B,Q,F].
        position: float [B,Q,F], added where queries are compared.
        reference: float [B,Q,2] points or [B,Q,4] boxes as cx, cy, w, h, in fractions of the image.
    """

    content: Tensor
    position: Tensor
    reference: Tensor


class DeformableDecoderLayer(nn.Module):
    """Every query looks at every query, then reads points around its reference on all maps.

    Args:
        size: of the transformer.
        points: of each map, for each head.
        levels: L.
    """

    def __init__(self, size: Transformer, *, points: int, levels: int) -> None:
        super().__init__()
        self.self_attention = Attention(width=size.width, heads=size.heads, dropout=size.dropout)
        self.cross_attention = DeformableAttention(width=size.width, heads=size.heads, points=(points,) * levels)
        self.norm1, self.norm2 = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.dropout = nn.Dropout(size.dropout)
        self.feed_forward = FeedForward(size)

    def forward(self, content: Tensor, position: Tensor, reference: Tensor, memory: DeformableMemory) -> Tensor:
        """What each query has found.

        Args:
            content: float [B,Q,F]: what it had found before.
            position: float [B,Q,F]: what makes it differ from the others.
            reference: float [B,Q,L,2 or 4] on each map.
            memory: the cells.

        Returns:
            float [B,Q,F].
        """
        placed = content + position
        content = self.norm1(content + self.dropout(self.self_attention(placed, placed, content)))
        seen = self.cross_attention(content + position, reference, memory.cells, memory.shapes, memory.places.inside)
        return self.feed_forward(self.norm2(content + self.dropout(seen)))  # type: ignore[no-any-return]


class LearnedStart(nn.Module):
    """Queries that are the same for all images; where each looks first is linear in its position.

    Args:
        queries: Q.
        width: F.
    """

    def __init__(self, queries: int, width: int) -> None:
        super().__init__()
        self.position, self.content = nn.Embedding(queries, width), nn.Embedding(queries, width)
        self.reference = nn.Linear(width, 2)
        nn.init.xavier_uniform_(self.reference.weight)
        nn.init.zeros_(self.reference.bias)

    def forward(self, images: int) -> Start:
        """Of a batch of ``images``."""
        position, content = (part.weight.expand(images, -1, -1) for part in (self.position, self.content))
        return Start(content, position, self.reference(position).sigmoid())


class ProposalStart(nn.Module):
    """Every cell proposes a box; the best become queries, whose content and position are made of the box's sines.

    Args:
        width: F.

    Source: Deformable DETR, section 4.2 and appendix A.4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output, self.output_norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.query, self.query_norm = nn.Linear(2 * width, 2 * width), nn.LayerNorm(2 * width)
        for layer in (self.output, self.query):
            nn.init.xavier_uniform_(layer.weight)

    def cells(self, memory: DeformableMemory) -> tuple[Tensor, Tensor]:
        """What each cell says [B,S,F], and the logits of its square [B,S,4]: infinite where it may propose nothing."""
        squares = proposals(memory)
        usable = memory.places.inside & ((squares > NEAR_EDGE) & (squares < 1 - NEAR_EDGE)).all(2)
        said = self.output_norm(self.output(memory.cells.masked_fill(~usable.unsqueeze(2), 0)))
        logits = torch.log(squares / (1 - squares)).masked_fill(~usable.unsqueeze(2), math.inf)
        return said, logits.to(said.dtype)

    def forward(self, logits: Tensor) -> Start:
        """Queries of chosen boxes, whose logits [B,Q,4] come without a gradient."""
        reference = logits.sigmoid()
        width = self.output.in_features
        precise = torch.promote_types(reference.dtype, torch.float32)
        encoded = sine(reference.to(precise) * (2 * math.pi), width // 2).flatten(2)  # [B,Q,2F]
        position, content = self.query_norm(self.query(encoded.to(reference.dtype))).split(width, dim=2)
        return Start(content, position, reference)


def proposals(memory: DeformableMemory) -> Tensor:
    """float [B,S,4] as cx, cy, w, h in fractions of the image: a square around each cell, larger on coarser maps."""
    centre = memory.places.centre
    sides = [torch.full((h * w,), SIDE * 2.0**level) for level, (h, w) in enumerate(memory.shapes)]
    side = torch.cat(sides).to(centre)[None, :, None].expand(centre.shape[0], -1, 2)
    return torch.cat([centre, side], dim=2)


def logit(fractions: Tensor) -> Tensor:
    """The sigmoid's inverse, bounded."""
    kept = fractions.clamp(0, 1)
    return torch.log(kept.clamp(min=BOUND) / (1 - kept).clamp(min=BOUND))
