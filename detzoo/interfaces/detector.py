"""Detector, the interface of the meta-architectures: one object that trains, detects and predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from detzoo.errors import SettingError
from detzoo.feature import Component
from detzoo.interfaces.postprocess import PostProcess
from detzoo.interfaces.stages import GradientStage, Stage
from detzoo.interfaces.supporting import Anchors
from detzoo.ops.masks import MaskPasting
from detzoo.prediction.detections import Detections
from detzoo.types import DetectionBatch, DetectionSettings, ImageBatch, Targets

if TYPE_CHECKING:
    from detzoo.interfaces.head import DenseHead
    from detzoo.interfaces.proposals import Proposer
    from detzoo.prediction.given_images import Channels
    from detzoo.prediction.input_spec import InputSpec
    from detzoo.recipes.recipe import Recipe
    from detzoo.training.plan import TrainPlan


@dataclass(frozen=True)
class StartingPoint:
    """Where the weights of a detector come from, before it is trained.

    Args:
        loaded: file or address by component (``backbone (mobilenet_v2)``), or under ``detector`` for all of it.
        random: components that start at random, by path and type (``head (ssd)``); layers where the rest was loaded.
        frozen: number of frozen tensors of those that start at random, by component; only where there are some.
    """

    loaded: Mapping[str, str] = field(default_factory=dict)
    random: tuple[str, ...] = ()
    frozen: Mapping[str, int] = field(default_factory=dict)


class Detector(nn.Module, Component, ABC):
    """A detector built from a recipe. All attributes that the core's tools read are declared here.

    A detector must define ``network``, ``losses`` and ``postprocess``; the rest has defaults. The method that is called
    decides between training and inference, never ``.training``.
    ``build`` sets ``recipe``, ``input``, ``classes`` and ``train_plan`` after construction, and calls ``begin_at``.
    """

    kind: ClassVar[str] = "architecture"
    postprocess: PostProcess
    """The last post-processing: its output is what ``predict`` returns."""
    proposer: Proposer | None = None
    """Makes the image-level proposals, in the loader and in ``predict``; None for detectors without."""
    needs_masks: bool = False
    """Whether its losses read ``Targets.masks``, so that the loader decodes them."""
    stride: int = 1
    """Network px per cell of the coarsest map: input sizes must be multiples of it."""
    mask_pasting: MaskPasting = MaskPasting()
    """How the masks of its detections are pasted into the image; unused without masks."""
    recipe: Recipe
    input: InputSpec
    classes: tuple[str | None, ...]
    train_plan: TrainPlan
    start: StartingPoint = StartingPoint()
    """Where its weights come from; empty where nobody said."""
    _changes_at_start: int = 0

    @property
    def name(self) -> str:
        """Name for messages and tables: the recipe's, or the class name if there is no recipe."""
        recipe: Recipe | None = getattr(self, "recipe", None)
        return type(self).__name__ if recipe is None else recipe.name

    def begin_at(self, start: StartingPoint) -> None:
        """Note where the weights come from, once they are in place."""
        self.start = start
        self._changes_at_start = self._changes()

    @property
    def untrained(self) -> tuple[str, ...]:
        """The components that are still as they were drawn at random; none once a parameter has changed since."""
        return self.start.random if self._changes() == self._changes_at_start else ()

    def _changes(self) -> int:
        """How often parameters were written to; moving them to a device is no change."""
        # what is made under torch.inference_mode counts no changes; nor can it be trained
        return sum(0 if parameter.is_inference() else parameter._version for parameter in self.parameters())

    def forward(
        self,
        batch: Any,
        targets: Targets | None = None,
        *,
        score_threshold: float | None = None,
        nms_iou: float | None = None,
        keep: int | None = None,
        channels: Channels | None = None,
    ) -> dict[str, Tensor] | DetectionBatch | Detections | list[Detections]:
        """``detector(image)``: what ``predict`` finds in one image, or in each of a list, with its keywords.

        Given an ``ImageBatch``, it is ``losses`` with targets and ``detect`` without: the one entry for data-parallel
        wrappers.
        """
        from detzoo.prediction.given_images import is_one_image

        if not isinstance(batch, ImageBatch):
            found = self.predict(batch, score_threshold=score_threshold, nms_iou=nms_iou, keep=keep, channels=channels)
            return found[0] if is_one_image(batch) else found
        return self.detect(batch) if targets is None else self.losses(batch, targets)

    @abstractmethod
    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Any, ...]:
        """From pixels to the input of post-processing.

        Args:
            batch: B images.
            targets: in training only; detections never depend on them.

        Returns:
            candidates and predictions, and further values if ``finish`` reads them.
        """

    @abstractmethod
    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms, to be summed."""

    def stages(self) -> list[Stage]:
        """The training stages; by default one that trains everything."""
        return [GradientStage(name="train", losses=self.losses)]

    def detect(self, batch: ImageBatch, settings: DetectionSettings | None = None) -> DetectionBatch:
        """Detections in network px.

        Args:
            batch: B images.
            settings: replace those of the recipe; None keeps them.
        """
        return self.finish(self.network(batch), batch, settings)

    def finish(
        self, seen: tuple[Any, ...], batch: ImageBatch, settings: DetectionSettings | None = None
    ) -> DetectionBatch:
        """From the output of ``network`` to detections in network px: post-processing, and what uses its results."""
        candidates, predictions = seen
        return self.postprocess(predictions.float(), candidates, batch, settings)

    def settings(self, asked: DetectionSettings | None = None) -> DetectionSettings:
        """The settings that ``detect`` uses for a request; protocols record them.

        Raises:
            SettingError: the post-process does not have a setting that is asked for.
        """
        try:
            return self.postprocess.effective(asked)
        except SettingError as error:
            raise SettingError(f"{self.name}: {error}") from None

    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """Modules that ``--compile`` compiles. By default none, and the protocol then says so."""
        return ()

    @property
    def raw_head(self) -> DenseHead | None:
        """The head of whose outputs alone detections are made: those can be exported without post-processing.

        None where later stages look at what earlier ones have found, as in Faster R-CNN.
        """
        return None

    @property
    def one_size(self) -> bool:
        """Whether a part declares that it is made for one size of the input."""
        anchors = (module for module in self.modules() if isinstance(module, Anchors))
        return (self.raw_head is not None and self.raw_head.one_size) or any(module.one_size for module in anchors)

    def prepare_for_export(self) -> None:
        """Fix decisions that an exported graph cannot make, such as whether a part is fitted. Called on a copy."""

    def predict(
        self,
        images: Sequence[Any],
        *,
        score_threshold: float | None = None,
        nms_iou: float | None = None,
        keep: int | None = None,
        channels: Channels | None = None,
    ) -> list[Detections]:
        """Detect objects in images.

        Args:
            images: of any sizes: paths, URLs, PIL images, arrays (uint8 [H,W,3]), tensors (uint8, or float in 0..1,
                [3,H,W]).
            score_threshold: replaces the recipe's value for this call.
            nms_iou: replaces the recipe's value for this call.
            keep: maximum number of detections per image, for this call.
            channels: order of the colours in arrays, ``rgb`` or ``bgr`` (what OpenCV reads). Arrays need it.

        Returns:
            one Detections per image, in original pixels.

        Raises:
            SettingError: the post-process does not have such a setting.
            PredictionError: an image of the wrong kind, or an array without ``channels``.
        """
        from detzoo.prediction.predict import predict

        return predict(self, images, score_threshold=score_threshold, nms_iou=nms_iou, keep=keep, channels=channels)

    def export(
        self,
        path: str | Path,
        *,
        postprocess: bool = False,
        size: tuple[int, int] | None = None,
        dynamic_size: bool = False,
    ) -> str:
        """Write an ONNX file, or a program of ``torch.export`` (``.pt2``).

        Args:
            path: ``FILE.onnx`` or ``FILE.pt2``, which must not exist.
            postprocess: of ONNX: detections come out, else what the head says; a program always gives detections.
            size: (height, width) px of the network input; the recipe's without it.
            dynamic_size: of ONNX without ``postprocess``: the size is free.

        Returns:
            one sentence about what was written.

        Raises:
            ExportError: it cannot be done; says why.
        """
        from detzoo.export.export_detector import export, format_of

        out = Path(path)
        return export(self, out, format=format_of(out), postprocess=postprocess, size=size, dynamic_size=dynamic_size)
