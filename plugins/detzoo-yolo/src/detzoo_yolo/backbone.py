"""Darknet backbones: any of them, the layers being data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from detzoo.interfaces import Backbone
from detzoo.types import FeatureMaps, FeatureSpec
from detzoo_yolo.layout import parse_layout
from detzoo_yolo.network import Network

Eps = Annotated[float, Field(gt=0)]
Momentum = Annotated[float, Field(gt=0, le=1)]


class Darknet(Backbone):
    """A network of darknet's layers, written one per line: Extraction, Darknet-19, Darknet-53, tiny ones, yolo-fastest.

    Args:
        input_size: (height, width) px, where fixed; local and fully connected layers need it.
        layers: see ``detzoo_yolo.layout``; maps leave where a line ends with ``-> name``.
        norm_eps: darknet adds 1e-6 to the standard deviation, AlexeyAB's fork 1e-5 to the variance; here it is added to
            the variance, which is the same but for channels that are nearly constant.
        norm_momentum: share of the new batch in the running statistics; darknet 0.01.

    Source: darknet (pjreddie.com/darknet); Redmon et al. 2016, figure 3; YOLO9000, table 6; YOLOv3, table 1.
    """

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        layers: list[str],
        norm_eps: Eps = 1e-6,
        norm_momentum: Momentum = 0.01,
    ) -> None:
        super().__init__()
        pixels = {"pixels": FeatureSpec(3, 1.0, input_size)}  # a neck's network reads maps: so does this one
        self.network = Network(parse_layout(layers), pixels, norm_eps=norm_eps, norm_momentum=norm_momentum)
        self.out = self.network.out

    def forward(self, pixels: Tensor) -> FeatureMaps:
        """Maps by name, finest first, of pixels float [B,3,H,W]."""
        return self.network({"pixels": pixels})
