"""YOLOv1's loss: sums of squared errors.

Letters: B images, N candidates (boxes of cells), K classes, P positives.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.interfaces import Feature, Loss, Normaliser
from detzoo.ops.boxes import iou
from detzoo.ops.matching import candidate_rows
from detzoo.types import Assignment, Candidates, Predictions, Targets
from detzoo_yolo.rows import per_image, positives_of

Weight = Annotated[float, Field(ge=0)]


class YoloSse(Loss):
    """Squared errors of coordinates, confidences and classes, weighted so that empty cells do not drown the others.

    All boxes but the responsible ones get a target confidence of 0, with weight ``no_object_weight``. A cell with an
    object has its classes corrected once, a cell without never.

    Args:
        normaliser: divides all terms; ``{type: fixed, value: 1}`` is the mean over images.
        coord_weight: of x, y and the (roots of the) sides.
        object_weight: of the responsible boxes' confidences.
        no_object_weight: of all others'.
        class_weight: of the classes.
        confidence_target: what a responsible box should say: its ``iou`` with the object, through which no gradient
            passes (paper; darknet's rescore=1), or ``one`` (rescore=0).
        half: half of each squared error, whose gradient is darknet's (output - target); its learning rates belong to
            it. The formula of the paper has no half.

    Source: Redmon et al. 2016, eq. 3; darknet, detection_layer.c.
    """

    needs = frozenset(
        {Feature.CLASS_LOGITS, Feature.QUALITY_LOGITS, Feature.ONE_BOX, Feature.ONE_GRID, Feature.LINEAR_SCORES}
    )

    def __init__(
        self,
        *,
        normaliser: Normaliser,
        coord_weight: Weight = 5.0,
        object_weight: Weight = 1.0,
        no_object_weight: Weight = 0.5,
        class_weight: Weight = 1.0,
        confidence_target: Literal["iou", "one"] = "iou",
        half: bool = False,
    ) -> None:
        super().__init__()
        self.normaliser = normaliser
        self.coord_weight, self.class_weight = coord_weight, class_weight
        self.object_weight, self.no_object_weight = object_weight, no_object_weight
        self.confidence_target = confidence_target
        self.divide = 2 if half else 1

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars ``coordinates``, ``object``, ``no_object`` and ``classification``."""
        if predictions.quality_logits is None or predictions.class_logits is None or candidates.coder is None:
            raise RecipeError("loss yolo_sse needs a head that gives classes, confidences and boxes, as yolo_grid")
        confidence = predictions.quality_logits
        images = len(assignment.index)
        positives = positives_of(assignment, targets, confidence.dtype)
        places = candidate_rows(candidates, positives.image, positives.row)
        deltas = predictions.deltas[:, :, 0].flatten(0, 1)[positives.place].unsqueeze(0)  # [1,P,4]
        truth = positives.boxes.to(deltas.dtype).unsqueeze(0)
        wanted = candidates.coder.encode(truth, places.boxes.to(deltas.dtype), places.strides())  # roots: eq. 3
        coordinates = (deltas - wanted).square().sum(-1)[0]
        sure = confidence.flatten()[positives.place] - self._confidence(deltas, truth, places)
        classes = predictions.class_logits.flatten(0, 1)[positives.place]
        # linear outputs: squared error, no softmax
        right = F.one_hot(positives.labels, classes.shape[1]).to(classes.dtype)
        empty = torch.where(assignment.negative, confidence, 0).square().sum(1)  # [B]
        sums = {
            "coordinates": self.coord_weight * per_image(coordinates, positives, images),
            "object": self.object_weight * per_image(sure.square(), positives, images),
            "no_object": self.no_object_weight * empty,
            "classification": self.class_weight * per_image((classes - right).square().sum(1), positives, images),
        }
        divisor = self.normaliser(assignment) * self.divide  # half of a square has darknet's gradient
        return {name: (value / divisor).sum() for name, value in sums.items()}

    @torch.no_grad()
    def _confidence(self, deltas: Tensor, truth: Tensor, places: Candidates) -> Tensor:
        """float [P]: what the responsible boxes should say."""
        if self.confidence_target == "one":
            return torch.ones_like(deltas[0, :, 0])
        assert places.coder is not None
        return iou(places.coder.decode(deltas, places.boxes.to(deltas.dtype), places.strides()), truth)[0]
