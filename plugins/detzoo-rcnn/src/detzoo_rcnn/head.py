"""The layers behind a window: pooled maps, fully connected layers, and the classifier that is fine-tuned."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.interfaces import RoiPool
from detzoo.types import FeatureSpec, FeatureSpecs
from detzoo_rcnn.interfaces import RegionHead

Width = Annotated[int, Field(gt=0)]


class RegionFc(RegionHead):
    """Vectors ``pool5``, ``fc6``, ``fc7`` and so on, one for each layer, and logits of K+1 classes from the last.

    The names are those of AlexNet's layers, whatever the backbone: ``pool5`` is what comes out of the convolutions,
    flattened; each ``fc`` is taken behind its ReLU.

    Args:
        features: the backbone's maps.
        num_classes: K, without background.
        roi_pool: where windows come from: ``warp`` (pixels) or a pooling of maps.
        grid: (rows, columns) to which maps of warped windows are averaged, where the backbone gives more; the size it
            gives to keep the weights unchanged (CaffeNet on 227 px: 6 x 6). null for windows pooled from maps.
        fc: outputs of the fully connected layers; none is possible.
        dropout: after each of them while fine-tuning.
        init: ``torch``: as PyTorch starts linear layers; ``normal``: deviations of 0.005, in the last 0.01 (Caffe).
        pretrained: own layers to start from layers of the file that ``backbone.weights`` names, where it names one:
            ``{fc.0: fc6, fc.1: fc7}``. null: none.

    Raises:
        RecipeError: ``grid`` is missing, or has no place.

    Source: Girshick et al. 2014 (arXiv:1311.2524), section 2.1 and 3.2; rcnn as released.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        roi_pool: RoiPool,
        grid: tuple[Width, Width] | None = None,
        fc: tuple[Width, ...] = (4096, 4096),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        init: Literal["torch", "normal"] = "torch",
        pretrained: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        if roi_pool.of_pixels and grid is None:
            raise RecipeError("grid is missing: maps of warped windows are averaged to it, as [6, 6]")
        if not roi_pool.of_pixels and grid is not None:
            raise RecipeError(
                f"grid has no place here: {type(roi_pool).__name__} pools maps to {list(roi_pool.output)} itself; "
                "write grid: null"
            )
        self.roi_pool, self.grid, self.dropout = roi_pool, grid, dropout
        channels = features[next(reversed(features))].channels if roi_pool.of_pixels else roi_pool.channels
        height, width = grid or roi_pool.output
        widths = [channels * height * width, *fc]
        names = ["pool5", *(f"fc{6 + i}" for i in range(len(fc)))]
        self.out = {name: FeatureSpec(length, 1.0, (1, 1)) for name, length in zip(names, widths, strict=True)}
        self.fc = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.classification = nn.Linear(widths[-1], num_classes + 1)
        if init == "normal":
            for layer in (part for part in self.modules() if isinstance(part, nn.Linear)):
                nn.init.normal_(layer.weight, std=0.01 if layer is self.classification else 0.005)
                nn.init.zeros_(layer.bias)

    def forward(self, maps: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Vectors [R,D] by name, and logits [R,K+1], of maps [R,C,h,w]."""
        seen = (maps if self.grid is None else F.adaptive_avg_pool2d(maps, self.grid)).flatten(1)
        vectors = {"pool5": seen}
        for i, layer in enumerate(self.fc):
            vectors[f"fc{6 + i}"] = F.relu(layer(seen))
            seen = F.dropout(vectors[f"fc{6 + i}"], self.dropout, self.training)
        return vectors, self.classification(seen)
