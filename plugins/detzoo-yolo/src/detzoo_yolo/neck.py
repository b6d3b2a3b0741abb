"""Necks of darknet's layers: any, and YOLOv2's passthrough."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from detzoo.errors import RecipeError
from detzoo.interfaces import Neck
from detzoo.types import FeatureMaps, FeatureSpecs
from detzoo_yolo.backbone import Eps, Momentum
from detzoo_yolo.layout import parse_layout
from detzoo_yolo.network import Network

Channels = Annotated[int, Field(ge=1, le=8192)]


class DarknetNeck(Neck):
    """A network of darknet's layers behind any backbone; the first layer reads the coarsest map, routes name others.

    Args:
        features: the backbone's maps.
        layers: see ``detzoo_yolo.layout``; maps leave where a line ends with ``-> name``.
        norm_eps: of batch norms.
        norm_momentum: share of the new batch in the running statistics.

    Source: YOLOv3, section 2.3, is one such: predictions at three scales.
    """

    name: ClassVar[str] = "darknet"

    def __init__(
        self, features: FeatureSpecs, /, *, layers: list[str], norm_eps: Eps = 1e-6, norm_momentum: Momentum = 0.01
    ) -> None:
        super().__init__()
        self.network = Network(parse_layout(layers), features, norm_eps=norm_eps, norm_momentum=norm_momentum)
        self.out = self.network.out

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """Maps by name, finest first."""
        return self.network(features)


class Passthrough(Neck):
    """YOLOv2's: two convolutions on the coarsest map, joined with the finer one regrouped, one convolution over both.

    Args:
        features: the backbone's maps: the last is the coarsest, the one before it is passed through.
        channels: of the convolutions.
        depth: convolutions on the coarsest map before the join.
        squeeze: channels of the 1x1 convolution before the finer map is regrouped; null for none, as in the paper (the
            released cfg has 64).
        norm_eps: of batch norms.
        norm_momentum: share of the new batch in the running statistics.

    Source: YOLO9000, section 2, "Fine-Grained Features"; yolov2-voc.cfg. Regrouping is darknet's (``Reorg``).
    """

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        channels: Channels = 1024,
        depth: Annotated[int, Field(ge=1, le=8)] = 2,
        squeeze: Channels | None = 64,
        norm_eps: Eps = 1e-6,
        norm_momentum: Momentum = 0.01,
    ) -> None:
        super().__init__()
        if len(features) < 2:
            raise RecipeError(
                f"passthrough needs two maps of the backbone, found {', '.join(features)}: name a finer one there too"
            )
        fine, coarse = list(features)[-2:]
        ratio = features[coarse].stride / features[fine].stride
        if ratio != int(ratio) or ratio < 2:
            raise RecipeError(f"passthrough: the stride of {coarse} must be a multiple of that of {fine}")
        squeezed = [] if squeeze is None else [f"conv {squeeze} 1"]  # before: regrouping multiplies channels by four
        behind = 3 + len(squeezed)  # the join sees the regrouped map just before it, the coarse one before the route
        layers = [
            *[f"conv {channels} 3"] * depth,
            f"route {fine}",
            *squeezed,
            f"reorg {int(ratio)}",
            f"route -1 -{behind}",
            f"conv {channels} 3 -> {coarse}_joined",
        ]
        self.name = coarse
        self.network = Network(parse_layout(layers), features, norm_eps=norm_eps, norm_momentum=norm_momentum)
        # the backbone's name: heads need not know of the join
        self.out = {coarse: self.network.out[f"{coarse}_joined"]}

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """One map, of the coarsest stride."""
        return {self.name: self.network(features)[f"{self.name}_joined"]}
