"""YOLOv1's head: every cell says which class it is, and offers a few boxes with a confidence each."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.errors import RecipeError
from detzoo.interfaces import DenseHead, Feature
from detzoo.ops.anchors import shift_over_grid
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Level, Predictions, Targets
from detzoo_yolo.box_coder import GridCoder
from detzoo_yolo.layers import start_convolution, start_linear


class YoloGrid(DenseHead):
    """S x S cells with K class scores and B boxes each; all outputs are linear, as in the paper.

    A candidate is one box of one cell, and its place is the cell: N = S x S x B.

    Args:
        features: the coarsest map is read.
        num_classes: K.
        input_size: (height, width) px; must be fixed, for sides are predicted as parts of the image.
        boxes: B: 2 in the paper, 3 in the released cfg.
        predictor: ``connected``: from the whole map to all cells (paper; the vector is darknet's: all classes, all
            confidences, all boxes), or ``conv``: a 1x1 convolution, every cell from its own place of the map.
        grid: S, of ``connected``; with ``conv`` the map's cells are the grid.
        square_root: predict the roots of the sides.
        init_std: width of the normal distribution from which the weights of ``conv`` start; null: darknet's.

    Source: Redmon et al. 2016, section 2; darknet, detection_layer.c.
    """

    one_size = True
    gives = frozenset(
        {
            Feature.CLASS_LOGITS,
            Feature.QUALITY_LOGITS,
            Feature.ONE_BOX,
            Feature.LEVELS,
            Feature.ONE_GRID,
            Feature.LINEAR_SCORES,
        }
    )

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        input_size: tuple[int, int] | None,
        /,
        *,
        boxes: Annotated[int, Field(ge=1, le=16)] = 2,
        predictor: Literal["connected", "conv"] = "connected",
        grid: Annotated[int, Field(ge=1, le=64)] = 7,
        square_root: bool = True,
        init_std: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__()
        self.name, spec = list(features.items())[-1]  # YOLOv1 predicts on one map
        if spec.size is None or input_size is None:
            raise RecipeError(
                "yolo_grid needs an image of fixed size; set input.size, with resize stretch or letterbox"
            )
        self.input_size = input_size
        self.cells = spec.size if predictor == "conv" else (grid, grid)
        self.per_cell, self.classes = boxes, num_classes
        self.coder = GridCoder(grid=self.cells, square_root=square_root)
        columns = num_classes + 5 * boxes  # classes once per cell, not per box
        self.predictor: nn.Conv2d | nn.Linear
        if predictor == "conv":
            self.predictor = nn.Conv2d(spec.channels, columns, 1)
            start_convolution(self.predictor, init_std)
        else:
            self.predictor = nn.Linear(spec.channels * spec.size[0] * spec.size[1], grid * grid * columns)
            start_linear(self.predictor)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Cells and what they say, [B,N,K], [B,N] and [B,N,1,4]."""
        height, width = batch.pixels.shape[-2:]
        if (height, width) != self.input_size:  # sides are parts of the image: another size means other boxes
            raise RecipeError(
                f"yolo_grid was built for an input of {self.input_size[0]}x{self.input_size[1]} px (height x width), "
                f"found {height}x{width}; leave train.multi_scale and --size of an export out, and set input.size "
                "instead"
            )
        classes, confidence, deltas = self._split(features[self.name])
        return self._places(deltas), Predictions(
            class_logits=classes.unsqueeze(2)
            .expand(-1, -1, self.per_cell, -1)
            .flatten(1, 2),  # every box of a cell has its classes
            scoring="linear",
            deltas=deltas[:, :, None],
            quality_logits=confidence,
        )

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Classes [B,S*S,K], confidences [B,N] and boxes [B,N,4] of a map [B,C,h,w]."""
        count = self.cells[0] * self.cells[1]
        per_cell, classes = self.per_cell, self.classes
        if isinstance(self.predictor, nn.Linear):
            said = self.predictor(x.flatten(1))
            # darknet's order of the vector
            parts = said.split([count * classes, count * per_cell, count * per_cell * 4], 1)
        else:
            said = self.predictor(x).permute(0, 2, 3, 1)  # [B,h,w,C]
            parts = said.split([classes, per_cell, per_cell * 4], -1)
        images = x.shape[0]
        return (
            parts[0].reshape(images, count, classes),
            parts[1].reshape(images, count * per_cell),
            parts[2].reshape(images, count * per_cell, 4),
        )

    def _places(self, like: Tensor) -> Candidates:
        (rows, columns), (height, width) = self.cells, self.input_size
        stride = height / rows, width / columns
        cell = torch.tensor([[-stride[1], -stride[0], stride[1], stride[0]]], device=like.device) / 2
        boxes = shift_over_grid(cell.repeat(self.per_cell, 1), rows, columns, stride, offset=0.5)[None]  # [1,N,4]
        valid = torch.ones(boxes.shape[:2], dtype=torch.bool, device=like.device)
        level = Level(self.name, rows, columns, self.per_cell, stride[0])
        return Candidates(boxes=boxes, valid=valid, levels=(level,), coder=self.coder)
