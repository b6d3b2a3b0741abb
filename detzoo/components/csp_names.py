"""How mmdetection names what is inside the blocks of ``csp.py``: for converters of YOLOX and RTMDet."""

from __future__ import annotations

from typing import Final

from torch import nn
from torchvision.ops import Conv2dNormActivation

from detzoo.components.csp import Bottleneck, CspLayer, LargeKernelBlock, SpatialPyramidPooling
from detzoo.ops.state_dict import Children

MMDETECTION: Final[Children] = {
    Conv2dNormActivation: {"conv": "0", "bn": "1"},
    nn.Sequential: {"depthwise_conv": "0", "pointwise_conv": "1"},
    CspLayer: {"main_conv": "main", "short_conv": "short", "final_conv": "merge"},
    Bottleneck: {"conv1": "first", "conv2": "second"},
    LargeKernelBlock: {"conv1": "first", "conv2": "second"},
    SpatialPyramidPooling: {"conv1": "reduce", "conv2": "merge"},
}
"""Source: mmdetection 3.3, ``csp_layer.py`` and ``csp_darknet.py``; ``ConvModule`` of mmcv."""
