"""Detector: what the meta-architectures give: one object that trains, detects and predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from detzoo.feature import Component
from detzoo.interfaces.stages import Stage
from detzoo.types import DetectionBatch, Detections, ImageBatch, Targets

if TYPE_CHECKING:
    from detzoo.interfaces.proposals import Proposer
    from detzoo.prediction.prepare import InputSpec
    from detzoo.recipes.recipe import Recipe
    from detzoo.training.plan import TrainPlan


class Detector(nn.Module, Component, ABC):
    """A detector built from a recipe.

    The door that is called decides between training and inference, never ``.training``.
    ``build`` sets the four attributes below after construction.
    """

    kind: ClassVar[str] = "architecture"
    proposer: Proposer | None = None
    """Image-level regions that the loader and ``predict`` make for it."""
    needs_masks: bool = False
    """Whether its losses read ``Targets.masks``, so that the loader decodes them."""
    recipe: Recipe
    input: InputSpec
    classes: tuple[str | None, ...]
    train_plan: TrainPlan

    def forward(self, batch: ImageBatch, targets: Targets | None = None) -> dict[str, Tensor] | DetectionBatch:
        """``losses`` with targets, ``detect`` without: the one door for data-parallel wrappers."""
        return self.detect(batch) if targets is None else self.losses(batch, targets)

    @abstractmethod
    def detect(self, batch: ImageBatch) -> DetectionBatch:
        """Detections in network px."""

    @abstractmethod
    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms, to be summed."""

    @abstractmethod
    def stages(self) -> list[Stage]:
        """The training plan; one gradient stage for most."""

    def prepare_for_export(self) -> None:
        """Settle what a graph cannot ask while it runs, as whether something is fitted. Called on a copy."""

    def predict(
        self,
        images: Sequence[Any],
        *,
        score_threshold: float | None = None,
        nms_iou: float | None = None,
        top_k: int | None = None,
    ) -> list[Detections]:
        """Detect objects in images.

        Args:
            images: paths, URLs, arrays (uint8 [H,W,3] RGB) or PIL images, of any sizes.
            score_threshold: replaces the recipe's, for this call.
            nms_iou: replaces the recipe's, for this call.
            top_k: detections kept per image, for this call.

        Returns:
            one Detections an image, in original pixels.
        """
        from detzoo.prediction.predict import predict

        return predict(self, images, score_threshold=score_threshold, nms_iou=nms_iou, top_k=top_k)
