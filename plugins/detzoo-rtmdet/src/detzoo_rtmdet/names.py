"""How mmdetection names what is inside the blocks of RTMDet."""

from __future__ import annotations

from typing import Final

from torch import nn
from torchvision.ops import Conv2dNormActivation

from detzoo.components.csp import CspLayer, LargeKernelBlock, SpatialPyramidPooling

CHILDREN: Final[dict[type[nn.Module], dict[str, str]]] = {
    Conv2dNormActivation: {"conv": "0", "bn": "1"},
    nn.Sequential: {"depthwise_conv": "0", "pointwise_conv": "1"},
    CspLayer: {"main_conv": "main", "short_conv": "short", "final_conv": "merge"},
    LargeKernelBlock: {"conv1": "first", "conv2": "second"},
    SpatialPyramidPooling: {"conv1": "reduce", "conv2": "merge"},
}
"""Child of an mmdetection module -> ours, by the type of ours."""


def own_name(key: str, inside: nn.Module) -> str:
    """The name below ``inside`` of the tensor that mmdetection calls ``key``; what is ours already stays as it is."""
    module: nn.Module | None = inside
    path = []
    for part in key.split("."):
        own = part if module is None else CHILDREN.get(type(module), {}).get(part, part)
        path.append(own)
        module = None if module is None else dict(module.named_children()).get(own)
    return ".".join(path)
