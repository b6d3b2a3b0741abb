"""LW-DETR's and RF-DETR's projector: maps of one stride, from several depths of a vision transformer, become one."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.errors import RecipeError
from detzoo.interfaces import Neck
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs

Eps = Annotated[float, Field(ge=0)]


class C2fProjector(Neck):
    """All maps concatenated, mixed by YOLOv8's C2f with layer norms over channels, and normalised.

    Args:
        features: maps of one stride.
        channels: of the map that leaves.
        blocks: in the C2f layer.
        expansion: channels inside it, in ``channels``.
        norm_eps: of the norms behind convolutions: 1e-6 in the release of RF-DETR; transformers 5.24 has 1e-5
            (``layer_norm_eps``).
        out_norm_eps: of the last norm: 1e-6 in both.

    Source: Chen et al. 2024 (LW-DETR, arXiv:2406.03459), section 3.1; roboflow/rf-detr, ``MultiScaleProjector`` at one
    scale.
    """

    name: ClassVar[str] = "c2f_projector"

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        channels: Annotated[int, Field(ge=1, le=4096)] = 256,
        blocks: Annotated[int, Field(ge=0, le=32)] = 3,
        expansion: Annotated[float, Field(gt=0, le=4)] = 0.5,
        norm_eps: Eps = 1e-6,
        out_norm_eps: Eps = 1e-6,
    ) -> None:
        super().__init__()
        strides = {spec.stride for spec in features.values()}
        if len(strides) != 1:
            found = ", ".join(f"{name} ({spec.stride:g} px)" for name, spec in features.items()) or "none"
            raise RecipeError(
                f"neck c2f_projector: it concatenates maps of one stride, and is given {found}; choose such with "
                "backbone.levels (backbone dinov2 has no others), or another neck"
            )
        self.inputs = tuple(features)
        inputs, hidden = sum(spec.channels for spec in features.values()), max(int(channels * expansion), 1)
        self.split = ConvNorm(inputs, 2 * hidden, 1, eps=norm_eps)
        self.blocks = nn.ModuleList(
            nn.Sequential(ConvNorm(hidden, hidden, 3, eps=norm_eps), ConvNorm(hidden, hidden, 3, eps=norm_eps))
            for _ in range(blocks)
        )
        self.merge = ConvNorm((2 + blocks) * hidden, channels, 1, eps=norm_eps)
        self.norm = ChannelNorm(channels, eps=out_norm_eps)
        first = next(iter(features.values()))
        self.level = f"s{first.stride:g}"
        self.out = {self.level: FeatureSpec(channels, first.stride, first.size)}

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """One map: its halves, and what each block in turn makes of the second half, mixed."""
        joined = torch.cat([features[name] for name in self.inputs], dim=1)
        parts = list(self.split(joined).chunk(2, dim=1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return {self.level: self.norm(self.merge(torch.cat(parts, dim=1)))}


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map [B,C,h,w]."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNorm(nn.Module):
    """Convolution without bias, layer norm over channels, SiLU; padded by half the kernel.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: its side.
        eps: of the norm.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = ChannelNorm(outputs, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,h,w] -> [B,outputs,h,w]."""
        return nn.functional.silu(self.norm(self.conv(x)))
