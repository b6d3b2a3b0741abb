"""The two-stage meta-architecture: regions first, then a closer look at each (Fast, Faster and Mask R-CNN, R-FCN)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from detzoo.detectors.alternation import Alternation, alternating_stages, check_alternation
from detzoo.detectors.measuring import measuring_stages
from detzoo.interfaces import (
    Backbone,
    Detector,
    GradientStage,
    Loss,
    MaskHead,
    MaskLoss,
    Matcher,
    Neck,
    PostProcess,
    Proposals,
    RoiHead,
    Sampler,
    Stage,
)
from detzoo.ops.masks import MaskPasting, Paste
from detzoo.ops.ranking import gather_rows
from detzoo.ops.regions import append_ground_truth, compact, first_positives, trim, trim_detections
from detzoo.types import (
    Assignment,
    Candidates,
    DetectionBatch,
    DetectionSettings,
    FeatureMaps,
    ImageBatch,
    Predictions,
    Targets,
    coarsest_stride,
)


@dataclass(frozen=True, kw_only=True)
class BoxSlots:
    """The second stage: what a recipe writes below ``box:``.

    Args:
        head: pools each region and says what it is and where its box should be.
        matcher: regions to ground truth.
        sampler: which regions enter the loss.
        loss: of the classes and boxes.
        postprocess: predictions to detections.
        append_ground_truth: the ground truth joins the regions in training, so that no object lacks a positive.
    """

    head: RoiHead
    matcher: Matcher
    sampler: Sampler
    loss: Loss
    postprocess: PostProcess
    append_ground_truth: bool = True


@dataclass(frozen=True, kw_only=True)
class MaskSlots:
    """The mask branch: what a recipe writes below ``mask:``.

    Args:
        head: pools each box and draws a small mask in it.
        loss: of the masks of the positives.
        paste: how a mask is laid on the image: ``integer`` corners (torchvision, Detectron) or ``half_pixel`` grid
            sampling (detectron2).
        threshold: probability from which a pixel belongs to the object.
    """

    head: MaskHead
    loss: MaskLoss
    paste: Paste = "half_pixel"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5


class BoxBranch(nn.Module):
    """The second stage at work.

    Args:
        slots: its parts.
    """

    def __init__(self, slots: BoxSlots) -> None:
        super().__init__()
        self.head = slots.head
        self.matcher = slots.matcher
        self.sampler = slots.sampler
        self.loss = slots.loss
        self.append_ground_truth = slots.append_ground_truth

    def matched(self, rois: Candidates, targets: Targets) -> tuple[Candidates, Assignment]:
        """All regions [B,P] that may be trained on, and what they answer for."""
        if self.append_ground_truth:
            rois = append_ground_truth(rois, targets)
        return rois, self.matcher(rois, targets, None)

    def choose(self, rois: Candidates, targets: Targets) -> tuple[Candidates, Assignment]:
        """The regions [B,S] that are trained on, positives first, and what they answer for."""
        rois, assignment = self.matched(rois, targets)
        return compact(rois, self.sampler(assignment), self.sampler.size)

    def losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets, rois: Candidates, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Terms named ``box.*``."""
        rois, predictions = self.head(features, batch, rois)
        terms = self.loss(predictions.float(), rois, targets, assignment)
        return {f"box.{name}": term for name, term in terms.items()}


class MaskBranch(nn.Module):
    """Masks at work.

    Args:
        slots: its parts.
        most_positives: positives of an image at most, where the box branch's sampler says so.
    """

    def __init__(self, slots: MaskSlots, *, most_positives: int | None) -> None:
        super().__init__()
        self.head = slots.head
        self.loss = slots.loss
        self.most_positives = most_positives

    def losses(
        self, features: FeatureMaps, targets: Targets, rois: Candidates, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Terms named ``mask.*``: of the positives alone, before their boxes are corrected."""
        rois, assignment = first_positives(rois, assignment, self.most_positives)
        terms = self.loss(self.head(features, rois).float(), rois, targets, assignment)
        return {f"mask.{name}": term for name, term in terms.items()}

    def add(self, features: FeatureMaps, found: DetectionBatch) -> DetectionBatch:
        """The detections [B,D] with mask logits [B,D,m,m] of each one's class; it pools the final boxes."""
        found = trim_detections(found)
        rois = Candidates(found.boxes, found.valid, labels=found.labels)
        logits = self.head(features, rois).float()
        images, count, classes = logits.shape[:3]
        own = found.labels.clamp(max=classes - 1)  # a mask for all classes alike is channel 0
        flat = logits.reshape(images, count * classes, *logits.shape[3:])
        place = own.new_tensor(range(count)) * classes + own
        return dataclasses.replace(found, mask_logits=gather_rows(flat, place))


class TwoStage(Detector):
    """backbone -> neck -> regions -> box head, and a mask head where there is one."""

    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: Neck,
        proposals: Proposals,
        box: BoxSlots,
        mask: MaskSlots | None = None,
        alternation: Alternation | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.proposals = proposals
        self.box = BoxBranch(box)
        most = box.sampler.most_positives
        self.mask = None if mask is None else MaskBranch(mask, most_positives=most)
        self.postprocess = box.postprocess
        self.proposer = proposals.proposer
        self.needs_masks = mask is not None
        if mask is not None:
            self.mask_pasting = MaskPasting(mask.paste, mask.threshold)
        self.stride = coarsest_stride(backbone.out, neck.out)
        self.alternation = alternation
        if alternation is not None:
            check_alternation(proposals, box.head)

    def features(self, batch: ImageBatch) -> FeatureMaps:
        """The maps that both stages share."""
        return self.neck(self.backbone(batch.pixels))

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms ``rpn.*``, ``box.*``, ``mask.*``: approximate joint training.

        No gradient passes through the coordinates of the regions (Faster R-CNN, section 3.2).
        """
        features = self.features(batch)
        rois, total = self.proposals.losses(features, batch, targets)
        return total | self.region_losses(features, batch, targets, rois)

    def region_losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets, rois: Candidates
    ) -> dict[str, Tensor]:
        """Terms ``box.*``, ``mask.*`` on regions from anywhere: Fast R-CNN's part."""
        rois, assignment = self.box.choose(rois.detach(), targets)
        total = self.box.losses(features, batch, targets, rois, assignment)
        if self.mask is not None:
            total |= self.mask.losses(features, targets, rois, assignment)
        return total

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions, FeatureMaps]:
        """Pixels to the predictions of the second stage, with the maps that the masks are pooled from."""
        features = self.features(batch)
        rois, predictions = self.box.head(features, batch, trim(self.proposals(features, batch)))
        return rois, predictions, features

    def finish(
        self, seen: tuple[Any, ...], batch: ImageBatch, settings: DetectionSettings | None = None
    ) -> DetectionBatch:
        """Detections in network px; masks are of the boxes that were found."""
        rois, predictions, features = seen
        found = super().finish((rois, predictions), batch, settings)
        return found if self.mask is None else self.mask.add(features, found)

    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """The maps and what the regions come from; pooling stays eager: its shapes depend on what is found."""
        return self.backbone, self.neck, *self.proposals.compiled_parts()

    def stages(self) -> list[Stage]:
        """Everything at once, or the two halves in turn."""
        if self.alternation is not None:
            return alternating_stages(self, self.alternation)
        return [*measuring_stages(self), GradientStage(name="train", losses=self.losses)]
