"""The decoder layers of D-FINE and DEIMv2.

Letters: B images, Q queries, S cells of all maps, F width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo_detr.deformable_attention import DeformableAttention
from detzoo_detr.transformer import Attention, Mlp

Count = Annotated[int, Field(ge=1)]
Style: TypeAlias = Literal["dfine", "deimv2"]
HIDDEN: Final[dict[str, type[nn.Module]]] = {"relu": nn.ReLU, "silu": nn.SiLU}
LARGEST: Final = 65504.0
"""Of float16: what residuals are clamped to before the last norm of a layer."""


@dataclass(frozen=True, kw_only=True)
class DfineDecoder:
    """The sizes of a decoder.

    Args:
        width: F, a multiple of ``heads``.
        heads: of both attentions.
        layers: their number.
        feedforward: width of the hidden part; of DEIMv2's gated one, half of this.
        points: that each head reads on each map, finest map first.
        method: how maps are read at them: ``default`` interpolates, ``discrete`` takes the nearest cell.
        dropout: share of each part that is dropped while training.
        style: ``dfine``: layer norms, ReLU between two linear layers, and a position from two linear layers of twice
            the width; ``deimv2``: RMS norms, a gated hidden part, and a position from three linear layers.
        gateway: what the cells say is weighed against what a query knew, by gates; else it is added (DEIMv2's atto,
            femto and pico).
        positions: the position of a query is computed before ``every`` layer (D-FINE; DEIMv2 in transformers), or
            before the ``first`` alone (DEIMv2's release).
        activation: of the hidden layers of all that boxes and positions are made by: ``relu`` (D-FINE; DEIMv2 in
            transformers) or ``silu`` (DEIMv2's release).
        share_boxes: all layers have one box head (DEIMv2's atto, femto and pico).
        project_cells: cells pass a linear layer and a norm before they are chosen from (D-FINE; DEIMv2 in transformers;
            not DEIMv2's release).
    """

    width: Count = 256
    heads: Count = 8
    layers: Count = 6
    feedforward: Annotated[int, Field(ge=2)] = 1024
    points: tuple[Count, ...] = (3, 6, 3)
    method: Literal["default", "discrete"] = "default"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    style: Style = "dfine"
    gateway: bool = True
    positions: Literal["every", "first"] = "every"
    activation: Literal["relu", "silu"] = "relu"
    share_boxes: bool = False
    project_cells: bool = True

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise RecipeError(f"decoder: width {self.width} must be a multiple of heads, {self.heads}")

    def norm(self) -> nn.Module:
        """Of a query."""
        return nn.LayerNorm(self.width) if self.style == "dfine" else nn.RMSNorm(self.width, eps=1e-6)

    def mlp(self, inputs: int, outputs: int, *, width: int | None = None, depth: int = 3) -> Mlp:
        """Linear layers with the decoder's activation between them."""
        return Mlp(inputs, width or self.width, outputs, depth=depth, activation=HIDDEN[self.activation])

    def position(self) -> Mlp:
        """From a box, as cx, cy, w, h in fractions, to what is added to queries."""
        deep = self.style == "deimv2"
        layers = self.mlp(4, self.width, width=self.width * (1 if deep else 2), depth=3 if deep else 2)
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
        return layers


class Gateway(nn.Module):
    """Two sources of a query, each weighed by gates that both decide, added and normalised.

    Args:
        size: of the decoder.

    Source: D-FINE, appendix; its ``Gate``.
    """

    def __init__(self, size: DfineDecoder) -> None:
        super().__init__()
        self.gate, self.norm = nn.Linear(2 * size.width, 2 * size.width), size.norm()
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)  # both gates start at one half

    def forward(self, before: Tensor, seen: Tensor) -> Tensor:
        """Float [B,Q,F] of two such."""
        first, second = self.gate(torch.cat([before, seen], dim=-1)).sigmoid().chunk(2, dim=-1)
        joined: Tensor = self.norm(first * before + second * seen)
        return joined


class AddAndNorm(nn.Module):
    """The two added, and normalised."""

    def __init__(self, size: DfineDecoder) -> None:
        super().__init__()
        self.norm = size.norm()

    def forward(self, before: Tensor, seen: Tensor) -> Tensor:
        """Float [B,Q,F] of two such."""
        joined: Tensor = self.norm(before + seen)
        return joined


class GatedHidden(nn.Module):
    """silu(gate) * value, back to the width.

    Args:
        width: F.
        hidden: of gate and value.

    Source: Shazeer 2020 (arXiv:2002.05202), eq. 6, with biases: DEIMv2's ``SwiGLUFFN``.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.value = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width)
        for layer in (self.gate, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B,Q,F] of the same."""
        done: Tensor = self.out(F.silu(self.gate(x)) * self.value(x))
        return done


class DfineLayer(nn.Module):
    """Queries look at each other, then at points of the maps around their boxes; then each is transformed by itself.

    Args:
        size: of the decoder.
    """

    def __init__(self, size: DfineDecoder) -> None:
        super().__init__()
        self.self_attention = Attention(width=size.width, heads=size.heads, dropout=size.dropout)
        self.cross_attention = DeformableAttention(
            width=size.width, heads=size.heads, points=size.points, method=size.method, project=False
        )
        self.dropout = nn.Dropout(size.dropout)
        self.norm1 = size.norm()
        self.joined = Gateway(size) if size.gateway else AddAndNorm(size)
        if size.style == "dfine":
            self.hidden: nn.Module = Mlp(size.width, size.feedforward, size.width, depth=2)
        else:
            self.hidden = GatedHidden(size.width, size.feedforward // 2)
        self.norm2 = size.norm()

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        reference: Tensor,
        cells: Tensor,
        shapes: Sequence[tuple[int, int]],
        bias: Tensor | None,
    ) -> Tensor:
        """What each query has found.

        Args:
            content: float [B,Q,F]: what it had found before.
            position: float [B,Q,F]: where its box lies.
            reference: float [B,Q,4]: its box, as cx, cy, w, h in fractions of the maps.
            cells: float [B,S,F].
            shapes: (h, w) of the maps.
            bias: float [1,1,Q,Q], or None: what queries may look at, as in ``Attention``.

        Returns:
            float [B,Q,F].
        """
        placed = content + position
        content = self.norm1(content + self.dropout(self.self_attention(placed, placed, content, bias)))
        seen = self.cross_attention(content + position, reference.unsqueeze(2), cells, shapes)
        content = self.joined(content, self.dropout(seen))
        done: Tensor = self.norm2((content + self.dropout(self.hidden(content))).clamp(-LARGEST, LARGEST))
        return done
