"""YOLOv2's and v3's loss: coordinates of the positives, objectness of all, classes of the positives.

Letters: B images, N candidates, K classes, P positives.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxLoss, Feature, Loss, Normaliser
from detzoo.ops.boxes import iou, sides
from detzoo.ops.matching import candidate_rows
from detzoo.types import Assignment, Candidates, Predictions, Scoring, Targets
from detzoo_yolo.box_coder import AnchorCoder
from detzoo_yolo.rows import Positives, per_image, positives_of

Weight = Annotated[float, Field(ge=0)]
Error: TypeAlias = Literal["cross_entropy", "squared"]
WARM: Final = 0.01
"""Weight of the pull towards the anchors at the beginning of YOLOv2's training."""


class YoloAnchorLoss(Loss):
    """Each term as darknet weights it; nothing is divided but by ``normaliser``.

    Args:
        normaliser: divides all terms; ``{type: fixed, value: 1}`` is the mean over images, as in darknet.
        box: a term of the core (``giou``, ``ciou``) in place of the errors of t_x, t_y, t_w, t_h; null: those.
        coord_weight: of the coordinates, or of ``box``.
        object_weight: of the positives' objectness: 5 in v2, 1 in v3.
        no_object_weight: of the negatives'.
        class_weight: of the classes.
        small_boxes: coordinates count 2 - w h of the object's parts of the image, so that small ones weigh more; not
            with ``box``.
        place_error: of sigmoid(t_x), sigmoid(t_y) against the place in the cell: ``cross_entropy``, whose gradient is
            the (output - target) of darknet's released code, or ``squared``, as the papers say.
        objectness_error: likewise, of the objectness.
        object_target: ``one`` (v3), or the ``iou`` of the predicted box, without gradient (v2's rescore=1).
        anchor_warmup: so many images, from the first, pull all other boxes towards their anchors (v2: 12,800).

    Source: YOLO9000, section 2; YOLOv3, section 2.1; darknet, region_layer.c and yolo_layer.c. Halves of squares, so
    that gradients are darknet's. Deliberate difference: where two objects want one anchor, darknet keeps the box of the
    later and the classes of both; here the later one has it all.
    """

    name: ClassVar[str] = "yolo_anchor"
    needs = frozenset(
        {
            Feature.CLASS_LOGITS,
            Feature.QUALITY_LOGITS,
            Feature.ONE_BOX,
            Feature.LEVELS,
            Feature.SIGMOID_SCORES,
            Feature.CATEGORICAL_SCORES,
        }
    )
    seen: Tensor

    def __init__(
        self,
        *,
        normaliser: Normaliser,
        box: BoxLoss | None = None,
        coord_weight: Weight = 1.0,
        object_weight: Weight = 1.0,
        no_object_weight: Weight = 1.0,
        class_weight: Weight = 1.0,
        small_boxes: bool = True,
        place_error: Error = "cross_entropy",
        objectness_error: Error = "cross_entropy",
        object_target: Literal["one", "iou"] = "one",
        anchor_warmup: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.normaliser, self.box = normaliser, box
        self.coord_weight, self.class_weight = coord_weight, class_weight
        self.object_weight, self.no_object_weight = object_weight, no_object_weight
        self.small_boxes = small_boxes
        self.place_error, self.objectness_error = place_error, objectness_error
        self.object_target = object_target
        self.anchor_warmup = anchor_warmup
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # a buffer: resuming goes on counting

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars ``box``, ``objectness``, ``classification``; ``anchors`` where there is a warm-up."""
        if predictions.quality_logits is None or predictions.class_logits is None:
            raise RecipeError("loss yolo_anchor needs a head that gives classes and objectness, as yolo_anchor")
        images = len(assignment.index)
        positives = positives_of(assignment, targets, predictions.deltas.dtype)
        places = candidate_rows(candidates, positives.image, positives.row)
        deltas = predictions.deltas[:, :, 0].flatten(0, 1)[positives.place].unsqueeze(0)  # [1,P,4]
        truth = positives.boxes.to(deltas.dtype).unsqueeze(0)
        classes = predictions.class_logits.flatten(0, 1)[positives.place]
        sums = {
            "box": per_image(self._coordinates(deltas, truth, places, candidates), positives, images),
            "objectness": self._objectness(predictions.quality_logits, assignment, positives, deltas, truth, places),
            "classification": per_image(
                self._classes(classes, positives.labels, predictions.scoring), positives, images
            ),
        }
        if self.anchor_warmup:
            sums["anchors"] = self._towards_anchors(predictions.deltas[:, :, 0], assignment)
        divisor = self.normaliser(assignment)
        return {name: (value / divisor).sum() for name, value in sums.items()}

    def _coordinates(self, deltas: Tensor, truth: Tensor, places: Candidates, candidates: Candidates) -> Tensor:
        """float [P]: weighted errors of the boxes."""
        if self.box is not None:
            return self.coord_weight * self.box(deltas, truth, places)[0]
        coder = candidates.coder
        if not isinstance(coder, AnchorCoder):
            raise RecipeError(
                "loss yolo_anchor without `box` needs box_coder type yolo_anchor; or set box: {type: giou}"
            )
        wanted = coder.place(truth, places.boxes.to(deltas.dtype), places.strides().to(deltas.dtype))
        centre = _error(self.place_error, deltas[..., :2], wanted[..., :2]).sum(-1)
        side = (deltas[..., 2:] - wanted[..., 2:]).square().sum(-1) / 2  # gradient: output - target, as in darknet
        # yolo_layer.c: 2 - w * h
        weight = self.coord_weight * (2 - _share(truth, candidates) if self.small_boxes else 1)
        return (weight * (centre + side))[0]

    def _objectness(
        self,
        logits: Tensor,
        assignment: Assignment,
        positives: Positives,
        deltas: Tensor,
        truth: Tensor,
        places: Candidates,
    ) -> Tensor:
        """float [B]."""
        empty = _error(self.objectness_error, logits, torch.zeros_like(logits))
        background = torch.where(assignment.negative, empty, 0).sum(1)
        with torch.no_grad():
            target = torch.ones_like(deltas[0, :, 0])
            if self.object_target == "iou":
                assert places.coder is not None
                target = iou(places.coder.decode(deltas, places.boxes.to(deltas.dtype), places.strides()), truth)[0]
        found = _error(self.objectness_error, logits.flatten()[positives.place], target)
        return self.no_object_weight * background + self.object_weight * per_image(found, positives, len(logits))  # [B]

    def _classes(self, logits: Tensor, labels: Tensor, scoring: Scoring) -> Tensor:
        """float [P] of logits [P,K]."""
        if scoring == "categorical":
            return self.class_weight * F.cross_entropy(logits, labels, reduction="none")
        right = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
        return self.class_weight * F.binary_cross_entropy_with_logits(logits, right, reduction="none").sum(1)

    def _towards_anchors(self, deltas: Tensor, assignment: Assignment) -> Tensor:
        """float [B]: the boxes of no object should be their anchors, in the middle of the cell, while it is early."""
        early = (self.seen < self.anchor_warmup).to(deltas.dtype)
        if torch.is_grad_enabled():  # a validation loss is no training
            self.seen += len(deltas)
        centre = _error(self.place_error, deltas[..., :2], torch.full_like(deltas[..., :2], 0.5)).sum(-1)
        pull = centre + deltas[..., 2:].square().sum(-1) / 2
        # early is a tensor: no wait for the device
        return early * WARM * torch.where(assignment.positive, 0, pull).sum(1)


def _error(kind: Error, logits: Tensor, target: Tensor) -> Tensor:
    """Of sigmoid(logits) against a target in [0,1]."""
    if kind == "cross_entropy":
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (torch.sigmoid(logits) - target).square() / 2


def _share(boxes: Tensor, candidates: Candidates) -> Tensor:
    """The part of the network input that boxes [...,4] cover, [...]."""
    level = candidates.levels[0]
    width, height = sides(boxes)
    return width / (level.width * level.stride) * (height / (level.height * level.stride))
