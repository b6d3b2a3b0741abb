"""Attention, and the layers of the encoder and the decoder.

Letters: B images, Q queries, S cells of the map, F width of the transformer, E heads of attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.errors import RecipeError

Count = Annotated[int, Field(ge=1)]
ACTIVATIONS: Final = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """The sizes of a transformer.

    Args:
        width: F, a multiple of 4 and of ``heads``.
        heads: E.
        encoder_layers: layers in which the cells look at each other.
        decoder_layers: layers in which the queries look at each other and at the cells.
        feedforward: width of the layers' hidden part.
        dropout: share that is dropped after each part while training.
        activation: inside the layers' hidden part.
    """

    width: Count = 256
    heads: Count = 8
    encoder_layers: Annotated[int, Field(ge=0)] = 6
    decoder_layers: Count = 6
    feedforward: Count = 2048
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    activation: Literal["relu", "gelu", "silu"] = "relu"

    def __post_init__(self) -> None:
        if self.width % 4 or self.width % self.heads:
            raise RecipeError(
                f"transformer: width {self.width} must be a multiple of 4 (sines and cosines of rows and columns) and "
                f"of heads, {self.heads}"
            )


PAPER: Final = Transformer()
"""DETR's own sizes, of ResNet-50 and ResNet-101 alike."""


class Attention(nn.Module):
    """Multi-head attention: softmax(q k' / sqrt(F / E) + bias) v.

    Args:
        width: F.
        heads: E.
        dropout: share of the attention that is dropped while training.

    Source: Vaswani et al. 2017, section 3.2; equal to ``torch.nn.MultiheadAttention``, whose mask cannot be a bias.
    """

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            query: float [B,Q,F].
            key: float [B,S,F].
            value: float [B,S,F].
            bias: float [B,1 or E,1 or Q,S], added to the logits; -inf forbids.

        Returns:
            float [B,Q,F].
        """
        parts = (self.query(query), self.key(key), self.value(value))
        split = [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts]  # [B,E,.,F/E]
        if bias is not None:
            bias = bias.to(split[0].dtype)
        share = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(split[0], split[1], split[2], attn_mask=bias, dropout_p=share)
        # a copy in any case: a graph for ONNX attends otherwise, and what is a view here would not be one there
        joined = seen.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        return self.out(joined.flatten(2))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Two linear layers around an activation, added to their input and normalised.

    Args:
        size: of the transformer.
    """

    def __init__(self, size: Transformer) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(size.width, size.feedforward), nn.Linear(size.feedforward, size.width)
        self.activation = ACTIVATIONS[size.activation]()
        self.norm, self.dropout = nn.LayerNorm(size.width), nn.Dropout(size.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B,.,F] of the same."""
        return self.norm(x + self.dropout(self.linear2(self.dropout(self.activation(self.linear1(x))))))  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Every cell looks at every cell. Positions are added to queries and keys of each layer, never to values.

    Args:
        size: of the transformer.

    Source: DETR, appendix A.3, figure 10; normalised after each part, as its published models are.
    """

    def __init__(self, size: Transformer) -> None:
        super().__init__()
        self.attention = Attention(width=size.width, heads=size.heads, dropout=size.dropout)
        self.norm, self.dropout = nn.LayerNorm(size.width), nn.Dropout(size.dropout)
        self.feed_forward = FeedForward(size)

    def forward(self, cells: Tensor, position: Tensor, bias: Tensor | None = None) -> Tensor:
        """Cells float [B,S,F], of the same; ``bias`` as in ``Attention``."""
        placed = cells + position
        cells = self.norm(cells + self.dropout(self.attention(placed, placed, cells, bias)))
        return self.feed_forward(cells)  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    """Every query looks at every query, then at every cell.

    Args:
        size: of the transformer.

    Source: DETR, appendix A.3, figure 10.
    """

    def __init__(self, size: Transformer) -> None:
        super().__init__()
        self.self_attention = Attention(width=size.width, heads=size.heads, dropout=size.dropout)
        self.cross_attention = Attention(width=size.width, heads=size.heads, dropout=size.dropout)
        self.norm1, self.norm2 = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.dropout = nn.Dropout(size.dropout)
        self.feed_forward = FeedForward(size)

    def forward(self, content: Tensor, query: Tensor, cells: Tensor, position: Tensor, bias: Tensor) -> Tensor:
        """What each query has found.

        Args:
            content: float [B,Q,F]: what it had found before.
            query: float [1 or B,Q,F]: what makes it differ from the others.
            cells: float [B,S,F].
            position: float [B,S,F] of the cells.
            bias: as in ``Attention``, of the cells.

        Returns:
            float [B,Q,F].
        """
        placed = content + query
        content = self.norm1(content + self.dropout(self.self_attention(placed, placed, content)))
        seen = self.cross_attention(content + query, cells + position, cells, bias)
        return self.feed_forward(self.norm2(content + self.dropout(seen)))  # type: ignore[no-any-return]


class Mlp(nn.Sequential):
    """Linear layers with activations between them.

    Args:
        inputs: numbers that go in.
        width: of the hidden layers.
        outputs: numbers that come out.
        depth: linear layers.
        activation: between them.
    """

    def __init__(
        self, inputs: int, width: int, outputs: int, *, depth: int, activation: type[nn.Module] = nn.ReLU
    ) -> None:
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            layers += [nn.Linear(inputs, width), activation()]
            inputs = width
        super().__init__(*layers, nn.Linear(inputs, outputs))


def start(module: nn.Module) -> None:
    """Every matrix from Xavier's uniform distribution, as DETR starts its transformer."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
