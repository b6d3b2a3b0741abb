"""Detector: what the meta-architectures give: one object that trains, detects and predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from detzoo.errors import SettingError
from detzoo.feature import Component
from detzoo.interfaces.postprocess import PostProcess
from detzoo.interfaces.stages import GradientStage, Stage
from detzoo.ops.masks import MaskPasting
from detzoo.types import DetectionBatch, Detections, DetectionSettings, ImageBatch, Targets

if TYPE_CHECKING:
    from detzoo.interfaces.proposals import Proposer
    from detzoo.prediction.input_spec import InputSpec
    from detzoo.recipes.recipe import Recipe
    from detzoo.training.plan import TrainPlan


class Detector(nn.Module, Component, ABC):
    """A detector built from a recipe: what the core's tools read of it is declared here.

    A detector must say ``network``, ``losses`` and ``postprocess``; the rest has defaults. The method that is called
    decides between training and inference, never ``.training``.
    ``build`` sets ``recipe``, ``input``, ``classes`` and ``train_plan`` after construction.
    """

    kind: ClassVar[str] = "architecture"
    postprocess: PostProcess
    """The last one: what ``predict`` returns comes out of it."""
    proposer: Proposer | None = None
    """Image-level regions that the loader and ``predict`` make for it."""
    needs_masks: bool = False
    """Whether its losses read ``Targets.masks``, so that the loader decodes them."""
    stride: int = 1
    """Network px per cell of the coarsest map: sizes of the input must be multiples of it."""
    mask_pasting: MaskPasting = MaskPasting()
    """How the masks of its detections are laid on the image; not read where it finds none."""
    recipe: Recipe
    input: InputSpec
    classes: tuple[str | None, ...]
    train_plan: TrainPlan

    @property
    def name(self) -> str:
        """For messages and tables: the recipe's, or the class's where there is no recipe."""
        recipe: Recipe | None = getattr(self, "recipe", None)
        return type(self).__name__ if recipe is None else recipe.name

    def forward(self, batch: ImageBatch, targets: Targets | None = None) -> dict[str, Tensor] | DetectionBatch:
        """``losses`` with targets, ``detect`` without: the one entry for data-parallel wrappers."""
        return self.detect(batch) if targets is None else self.losses(batch, targets)

    @abstractmethod
    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Any, ...]:
        """Pixels to what post-processing reads.

        Args:
            batch: B images.
            targets: while training only; what is detected never depends on them.

        Returns:
            candidates and predictions; further values where ``finish`` reads them.
        """

    @abstractmethod
    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms, to be summed."""

    def stages(self) -> list[Stage]:
        """The training plan; unless it says otherwise, everything at once."""
        return [GradientStage(name="train", losses=self.losses)]

    def detect(self, batch: ImageBatch, settings: DetectionSettings | None = None) -> DetectionBatch:
        """Detections in network px.

        Args:
            batch: B images.
            settings: in place of the recipe's; None leaves them all.
        """
        return self.finish(self.network(batch), batch, settings)

    def finish(
        self, seen: tuple[Any, ...], batch: ImageBatch, settings: DetectionSettings | None = None
    ) -> DetectionBatch:
        """What ``network`` returned -> detections in network px: post-processing, and what reads its results."""
        candidates, predictions = seen
        return self.postprocess(predictions.float(), candidates, batch, settings)

    def settings(self, asked: DetectionSettings | None = None) -> DetectionSettings:
        """The settings that ``detect`` uses when it is asked for some: what protocols record.

        Raises:
            SettingError: the post-process does not have a setting that is asked for.
        """
        try:
            return self.postprocess.effective(asked)
        except SettingError as error:
            raise SettingError(f"{self.name}: {error}") from None

    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """What ``--compile`` compiles. Nothing unless it says so, and the protocol then says that nothing was."""
        return ()

    def prepare_for_export(self) -> None:
        """Settle what a graph cannot ask while it runs, as whether something is fitted. Called on a copy."""

    def predict(
        self,
        images: Sequence[Any],
        *,
        score_threshold: float | None = None,
        nms_iou: float | None = None,
        keep: int | None = None,
    ) -> list[Detections]:
        """Detect objects in images.

        Args:
            images: paths, URLs, arrays (uint8 [H,W,3] RGB) or PIL images, of any sizes.
            score_threshold: replaces the recipe's, for this call.
            nms_iou: replaces the recipe's, for this call.
            keep: detections kept per image, for this call.

        Returns:
            one Detections per image, in original pixels.

        Raises:
            SettingError: the post-process does not have such a setting.
        """
        from detzoo.prediction.predict import predict

        return predict(self, images, score_threshold=score_threshold, nms_iou=nms_iou, keep=keep)
