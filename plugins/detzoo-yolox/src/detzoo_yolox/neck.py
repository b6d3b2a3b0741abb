"""YOLOX's pyramid for Darknet-53: top down alone, as in YOLOv3."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from detzoo.components.csp import Activation, Layers
from detzoo.components.necks.pyramid import check_pyramid
from detzoo.interfaces import Neck
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs


class YoloFpn(Neck):
    """Each finer map is joined by the coarser one, reduced and upsampled, and passes five convolutions.

    The coarsest map leaves as it came; each finer one with half the channels of the one above it.

    Args:
        features: maps of the backbone, finest first.
        activation: behind each norm.
        norm_eps: of batch norms.
        norm_momentum: share of the new batch in their running statistics.

    Source: YOLOv3, section 2.3; Megvii-BaseDetection/YOLOX, ``YOLOFPN``.
    """

    name: ClassVar[str] = "yolo_fpn"

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        activation: Activation = "leaky_relu",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-3,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.03,
    ) -> None:
        super().__init__()
        check_pyramid("yolo_fpn", features)
        layers = Layers(activation=activation, norm_eps=norm_eps, norm_momentum=norm_momentum)
        self.names = tuple(features)
        specs = list(features.values())
        above = specs[-1].channels
        self.out = {self.names[-1]: specs[-1]}
        reductions: list[nn.Module] = []
        mixers: list[nn.Module] = []
        for name, spec in reversed(list(features.items())[:-1]):
            half = max(1, above // 2)
            reductions.insert(0, layers.plain(above, half))
            mixers.insert(0, nn.Sequential(*_five(layers, half + spec.channels, half)))
            self.out = {name: FeatureSpec(half, spec.stride, spec.size), **self.out}
            above = half
        self.reductions, self.mixers = nn.ModuleList(reductions), nn.ModuleList(mixers)

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """Maps of the same names and sizes."""
        x = features[self.names[-1]]
        merged = {self.names[-1]: x}
        for i in reversed(range(len(self.mixers))):
            beside = features[self.names[i]]
            reduced = F.interpolate(self.reductions[i](x), size=beside.shape[-2:], mode="nearest")
            x = self.mixers[i](torch.cat([reduced, beside], dim=1))
            merged = {self.names[i]: x, **merged}
        return merged


def _five(layers: Layers, inputs: int, narrow: int) -> list[nn.Module]:
    """1x1 and 3x3 in turn, to ``narrow`` channels and twice as many."""
    wide = 2 * narrow
    return [
        layers.plain(inputs, narrow),
        layers.plain(narrow, wide, 3),
        layers.plain(wide, narrow),
        layers.plain(narrow, wide, 3),
        layers.plain(wide, narrow),
    ]
