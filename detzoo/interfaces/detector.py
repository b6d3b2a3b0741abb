"""Detector: what the meta-architectures give: one object that trains, detects and predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from detzoo.feature import Component
from detzoo.types import DetectionBatch, Detections, ImageBatch, Targets

if TYPE_CHECKING:
    from detzoo.interfaces.proposals import Proposer
    from detzoo.prediction.prepare import InputSpec
    from detzoo.recipes.recipe import Recipe
    from detzoo.training.plan import TrainPlan


@dataclass(frozen=True)
class Stage:
    """One step of a training plan.

    Args:
        name: unique within the plan; names its checkpoint.
        train: globs over parameter names; the rest is frozen.
        start_from: ``previous`` stage, or the pretrained ``weights`` again.
        losses: what is minimised; None for stages that are not gradient descent.
        run: a stage of its own kind (feature extraction, SVMs, statistics of the data); gets the training context.
            Whatever it leaves in the state dict is in the checkpoint; killed within it, it is called again.
        batches: own loader, or None for the plan's.
        settings: fields of the training plan that differ in this stage; mappings edit what is nested.
        prepare: makes ``losses`` from the training context when the stage begins or is resumed, for losses that need
            what an earlier stage has written.
        evaluate: False while the detector is none yet: one of its parts has not been trained.
    """

    name: str
    train: tuple[str, ...] = ("*",)
    start_from: Literal["weights", "previous"] = "previous"
    losses: Callable[[ImageBatch, Targets], dict[str, Tensor]] | None = None
    run: Callable[[Any], None] | None = None
    batches: Callable[[Any], Iterable[tuple[ImageBatch, Targets]]] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Any], Callable[[ImageBatch, Targets], dict[str, Tensor]]] | None = None
    evaluate: bool = True


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
