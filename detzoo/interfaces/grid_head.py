"""A dense head whose author writes what the cells of its maps say; the candidates lie on their grids."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch

from detzoo.interfaces.head import DenseHead
from detzoo.interfaces.supporting import BoxCoder
from detzoo.ops.grid import grid_candidates, rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets


class GridHead(DenseHead):
    """Squares in every cell of every map; ``predict`` says what they are and where.

    It gives what most dense heads give: class logits whose scores are sigmoids, one box for all classes, levels. A head
    with more (qualities, distributions, candidates of other shapes) derives from ``DenseHead``;
    ``detzoo.ops.grid`` has the two steps that this class is made of.

    Args:
        features: the maps that come in; all of them are looked at.
        box_coder: how deltas become boxes.
        sides: of the squares in each cell, in strides of their map.
    """

    def __init__(self, features: FeatureSpecs, box_coder: BoxCoder, sides: Sequence[float] = (4.0,)) -> None:
        super().__init__()
        self.coder = box_coder
        self.sides = tuple(sides)
        self.strides = {name: spec.stride for name, spec in features.items()}

    @abstractmethod
    def predict(self, features: FeatureMaps) -> tuple[FeatureMaps, FeatureMaps]:
        """Look at the maps.

        Args:
            features: float [B,C,h,w] each, those that came in.

        Returns:
            class logits [B,A*K,h,w] and deltas [B,A*4,h,w] of each map, under its name: those of the A squares of a
            cell one after another, deltas in the coder's units.
        """

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Candidates [1,N], predictions [B,N,K] and [B,N,1,4]; flattened level, row, column, square."""
        maps = {name: features[name] for name in self.strides}
        classes, boxes = self.predict(maps)
        squares = len(self.sides)
        logits = torch.cat([rows(classes[name], classes[name].shape[1] // squares) for name in maps], dim=1)
        deltas = torch.cat([rows(boxes[name], 4) for name in maps], dim=1)
        places = grid_candidates(maps, self.strides, self.sides, coder=self.coder)
        return places, Predictions(logits, self.scoring, deltas.unsqueeze(2))
