"""Path aggregation with cross-stage-partial layers: the neck of YOLOX and RTMDet."""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.components.backbones.freeze import Norm
from detzoo.components.csp import Activation, BlockName, CspLayer, Layers
from detzoo.components.necks.pyramid import check_pyramid
from detzoo.errors import RecipeError
from detzoo.interfaces import Neck
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs

Width = Annotated[int, Field(ge=2, le=8192)]


class CspPafpn(Neck):
    """From coarse to fine, then from fine to coarse; neighbours are concatenated and mixed by CSP layers.

    Args:
        features: maps of the backbone, finest first, each of twice the stride of the one before.
        channels: of the levels inside, one number for each map, to which 1x1 convolutions bring the maps first; null:
            as they come, without such convolutions (YOLOX, RTMDet).
        out_channels: of every map that leaves, by a 3x3 convolution for each (RTMDet); null: ``channels`` (YOLOX).
        depth: blocks in each CSP layer.
        block: ``bottleneck`` (YOLOX) or ``large_kernel`` (RTMDet).
        depthwise: 3x3 convolutions, those between levels too, are depthwise separable (YOLOX-Nano).
        activation: behind each norm.
        norm: batch norms.
        norm_eps: YOLOX 1e-3, RTMDet 1e-5.
        norm_momentum: share of the new batch in the running statistics; YOLOX 0.03, RTMDet 0.1.

    Maps are brought to the size of their neighbour, so that any input size and any backbone works.

    Source: Liu et al. 2018 (PANet, arXiv:1803.01534), section 3.1; YOLOX ``YOLOPAFPN``; mmdetection
    ``CSPNeXtPAFPN``.
    """

    name = "csp_pafpn"

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        channels: list[Width] | None = None,
        out_channels: Width | None = None,
        depth: Annotated[int, Field(ge=0, le=32)] = 1,
        block: BlockName = "bottleneck",
        depthwise: bool = False,
        activation: Activation = "silu",
        norm: Norm = "batch",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-3,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.03,
    ) -> None:
        super().__init__()
        check_pyramid("csp_pafpn", features)
        layers = Layers(
            depthwise=depthwise, activation=activation, norm=norm, norm_eps=norm_eps, norm_momentum=norm_momentum
        )
        own = [spec.channels for spec in features.values()]
        if channels is not None and len(channels) != len(own):
            raise RecipeError(
                f"neck csp_pafpn: channels has {len(channels)} numbers for {len(own)} maps "
                f"({', '.join(features)}); write one for each, or null"
            )
        widths = own if channels is None else channels
        self.names = tuple(features)
        self.entries = nn.ModuleList(
            nn.Identity() if channels is None else layers.plain(a, b) for a, b in zip(own, widths, strict=True)
        )

        def mix(inputs: int, outputs: int) -> CspLayer:
            return CspLayer(layers, inputs, outputs, depth=depth, block=block, residual=False)

        steps = list(itertools.pairwise(widths))  # (finer, coarser) of each pair of neighbours
        self.reductions = nn.ModuleList(layers.plain(coarse, fine) for fine, coarse in steps)
        self.top_down = nn.ModuleList(mix(2 * fine, fine) for fine, _ in steps)
        self.downsamplings = nn.ModuleList(layers.spatial(fine, fine, 3, 2) for fine, _ in steps)
        self.bottom_up = nn.ModuleList(mix(2 * fine, coarse) for fine, coarse in steps)
        self.outputs = nn.ModuleList(
            nn.Identity() if out_channels is None else layers.spatial(width, out_channels, 3) for width in widths
        )
        self.out = {
            name: FeatureSpec(out_channels or width, spec.stride, spec.size)
            for (name, spec), width in zip(features.items(), widths, strict=True)
        }

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """Maps of the same names and sizes."""
        maps = [entry(features[name]) for name, entry in zip(self.names, self.entries, strict=True)]
        finest, reduced = self._coarse_to_fine(maps)
        merged = self._fine_to_coarse(finest, reduced)
        return {name: out(x) for name, out, x in zip(self.names, self.outputs, merged, strict=True)}

    def _coarse_to_fine(self, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The finest merged map, and what each coarser level hands up, finer ones first."""
        x = maps[-1]
        reduced: list[Tensor] = []
        for i in reversed(range(len(self.reductions))):
            x = self.reductions[i](x)
            reduced.insert(0, x)
            above = F.interpolate(x, size=maps[i].shape[-2:], mode="nearest")
            x = self.top_down[i](torch.cat([above, maps[i]], dim=1))
        return x, reduced

    def _fine_to_coarse(self, finest: Tensor, reduced: list[Tensor]) -> list[Tensor]:
        merged = [finest]
        for step, mix, beside in zip(self.downsamplings, self.bottom_up, reduced, strict=True):
            x = step(merged[-1])
            if x.shape[-2:] != beside.shape[-2:]:  # backbones that round down: CaffeNet makes 4 cells of 9
                x = F.interpolate(x, size=beside.shape[-2:], mode="nearest")
            merged.append(mix(torch.cat([x, beside], dim=1)))
        return merged
