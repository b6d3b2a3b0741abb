"""Feature pyramid network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from detzoo.components.necks.pyramid import check_pyramid, coarser
from detzoo.interfaces import Neck
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs


class Fpn(Neck):
    """Laterals 1x1, added from coarse to fine with nearest upsampling to the finer map's size, then 3x3 outputs.

    Source: Lin et al. 2017 (arXiv:1612.03144), section 3; torchvision.ops.FeaturePyramidNetwork, whose keys these are
    (``inner_blocks``, ``layer_blocks``, ``extra_blocks``). Upsampling goes to the size of the finer map rather than by
    a factor of two, so that any input size works; maps of one stride are added as they are (torchvision's detectors on
    MobileNet v3: ``levels: [s32_first, s32], last_conv: true``).

    Args:
        features: maps of the backbone, finest first.
        channels: of every map that leaves.
        extra: coarser levels. ``none``; ``pool``: one, every second cell of the coarsest (Faster R-CNN, for the RPN);
            ``p6p7``: two, by 3x3 convolutions of stride 2 with a ReLU between (RetinaNet).
        extra_from: what P6 is made of: ``p5``, the coarsest output (torchvision's first RetinaNet), or ``c5``, the
            coarsest map of the backbone (the paper, Detectron, torchvision v2).
        norm: ``batch`` puts a batch norm behind each lateral and output convolution, which then has no bias.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        channels: Annotated[int, Field(ge=1)] = 256,
        extra: Literal["none", "pool", "p6p7"] = "none",
        extra_from: Literal["p5", "c5"] = "p5",
        norm: Literal["none", "batch"] = "none",
    ) -> None:
        super().__init__()
        check_pyramid("fpn", features, equal=True)  # equal: MobileNet v3's two maps of stride 32
        norm_layer: Callable[..., nn.Module] | None = nn.BatchNorm2d if norm == "batch" else None
        self.extra = extra
        self.extra_from = extra_from
        self.inner_blocks = nn.ModuleList(
            Conv2dNormActivation(spec.channels, channels, 1, padding=0, norm_layer=norm_layer, activation_layer=None)
            for spec in features.values()
        )
        self.layer_blocks = nn.ModuleList(
            Conv2dNormActivation(channels, channels, 3, norm_layer=norm_layer, activation_layer=None) for _ in features
        )
        self.names = tuple(features)
        self.out = {name: FeatureSpec(channels, spec.stride, spec.size) for name, spec in features.items()}
        self.extra_names = self._add_extra(features, channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # as torchvision; a=1: no ReLU behind these convolutions
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _add_extra(self, features: FeatureSpecs, channels: int) -> tuple[str, ...]:
        count = {"none": 0, "pool": 1, "p6p7": 2}[self.extra]
        name, spec = list(self.out.items())[-1]
        added = []
        for _ in range(count):
            name, spec = coarser(spec)
            self.out[name] = spec
            added.append(name)
        if self.extra == "p6p7":
            source = channels if self.extra_from == "p5" else list(features.values())[-1].channels
            p6, p7 = nn.Conv2d(source, channels, 3, 2, 1), nn.Conv2d(channels, channels, 3, 2, 1)
            self.extra_blocks = nn.ModuleDict({"p6": p6, "p7": p7})
        return tuple(added)

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """[B,channels,h,w] for each level, the coarser ones included."""
        merged = self._top_down([features[name] for name in self.names])
        outputs = [block(x) for block, x in zip(self.layer_blocks, merged, strict=True)]
        extra = self._extra(outputs[-1], features[self.names[-1]])
        return dict(zip((*self.names, *self.extra_names), (*outputs, *extra), strict=True))

    def _top_down(self, maps: list[Tensor]) -> list[Tensor]:
        laterals = [block(x) for block, x in zip(self.inner_blocks, maps, strict=True)]
        for i in range(len(laterals) - 2, -1, -1):  # coarse to fine; size, not factor 2: odd maps round up
            laterals[i] = laterals[i] + F.interpolate(laterals[i + 1], size=laterals[i].shape[-2:], mode="nearest")
        return laterals

    def _extra(self, p5: Tensor, c5: Tensor) -> tuple[Tensor, ...]:
        if self.extra == "pool":
            # torchvision LastLevelMaxPool: kernel 1, so it only subsamples
            return (F.max_pool2d(p5, kernel_size=1, stride=2),)
        if self.extra == "p6p7":
            p6 = self.extra_blocks["p6"](p5 if self.extra_from == "p5" else c5)
            return p6, self.extra_blocks["p7"](F.relu(p6))  # RetinaNet, section 4: the ReLU is P7's alone
        return ()
