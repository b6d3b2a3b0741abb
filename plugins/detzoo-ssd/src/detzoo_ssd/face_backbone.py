"""The backbone of the Ultra-Light-Fast face detectors: 13 small blocks, with or without a receptive-field block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detzoo.interfaces import Backbone
from detzoo.types import FeatureMaps, FeatureSpec

BLOCKS: tuple[tuple[int, int, int], ...] = (
    (16, 32, 1), (32, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1), (64, 64, 1), (64, 128, 2),
    (128, 128, 1), (128, 128, 1), (128, 256, 2), (256, 256, 1),
)  # fmt: skip
"""(inputs, outputs, stride) of the depthwise-separable blocks behind the stem; stage 0 is the stem."""
TAPS = {7: "s8", 10: "s16", 12: "s32"}
"""Stage whose output is given, and its name."""


class UltralightFace(Backbone):
    """A 3x3 stem and twelve depthwise-separable blocks, 16 to 256 channels; gives ``s8``, ``s16`` and ``s32``.

    Args:
        rfb: stage 7 is a receptive-field block (version "RFB"), not a depthwise-separable one (version "slim").

    Source: Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB vision/nn/mb_tiny.py and mb_tiny_RFB.py (MIT).
    """

    def __init__(self, *, rfb: bool = False) -> None:
        super().__init__()
        stages: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())]
        stages += [_separable(*block) for block in BLOCKS]
        if rfb:
            stages[7] = ReceptiveField(64, 64)
        self.stages = nn.ModuleList(stages)
        self.out = {"s8": FeatureSpec(64, 8.0), "s16": FeatureSpec(128, 16.0), "s32": FeatureSpec(256, 32.0)}

    def forward(self, pixels: Tensor) -> FeatureMaps:
        """The three maps."""
        maps: FeatureMaps = {}
        feature = pixels
        for number, stage in enumerate(self.stages):
            feature = stage(feature)
            if number in TAPS:
                maps[TAPS[number]] = feature
        return maps


class ReceptiveField(nn.Module):
    """Three branches of growing dilation, merged by a 1x1 convolution and added to a 1x1 shortcut.

    Args:
        inputs: channels; the branches work on an eighth of them.
        outputs: channels.

    Source: Liu et al. 2018 (RFB Net), section 3.2; mb_tiny_RFB.py, whose scale of 1.0 it keeps.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        thin = inputs // 8
        wide, between = 2 * thin, thin // 2 * 3  # mb_tiny_RFB.py's widths: 16 and 12 of 64
        self.branch0 = nn.Sequential(_conv(inputs, thin, 1), _conv(thin, wide, 3, relu=True), _conv(wide, wide, 3, 2))
        self.branch1 = nn.Sequential(_conv(inputs, thin, 1), _conv(thin, wide, 3, relu=True), _conv(wide, wide, 3, 3))
        self.branch2 = nn.Sequential(
            _conv(inputs, thin, 1),
            _conv(thin, between, 3, relu=True),
            _conv(between, wide, 3, relu=True),
            _conv(wide, wide, 3, 5),
        )
        self.merge = _conv(3 * wide, outputs, 1)
        self.shortcut = _conv(inputs, outputs, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """[B,inputs,h,w] -> [B,outputs,h,w]."""
        branches = [self.branch0(feature), self.branch1(feature), self.branch2(feature)]
        return torch.relu(self.merge(torch.cat(branches, dim=1)) + self.shortcut(feature))


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _conv(inputs: int, outputs: int, kernel: int, dilation: int = 1, *, relu: bool = False) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False)
    norm = nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.01)  # the release's own momentum
    return nn.Sequential(conv, norm, nn.ReLU()) if relu else nn.Sequential(conv, norm)
