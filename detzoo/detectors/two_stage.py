"""The two-stage meta-architecture: regions first, then a closer look at each (Fast to Cascade R-CNN, R-FCN)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.detectors.alternation import Alternation, alternating_stages, check_alternation
from detzoo.detectors.measuring import MeasuresTargets, measuring_stages
from detzoo.errors import RecipeError
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
from detzoo.ops.cascade import averaged, refined, without_ground_truth
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
    """A box stage: what a recipe writes below ``box:``, or as one entry of its list.

    Args:
        head: pools each region and says what it is and where its box should be.
        matcher: regions to ground truth.
        sampler: which regions enter the loss.
        loss: of the classes and boxes.
        postprocess: predictions to detections; the last stage's, so null in those before it.
        append_ground_truth: the ground truth joins the regions in training, so that no object lacks a positive.
    """

    head: RoiHead
    matcher: Matcher
    sampler: Sampler
    loss: Loss
    postprocess: PostProcess | None = None
    append_ground_truth: bool = True


@dataclass(frozen=True, kw_only=True)
class MaskSlots:
    """The mask branch: what a recipe writes below ``mask:``.

    Args:
        head: pools each box and draws a small mask in it.
        loss: of the masks of the positives.
        paste: how a mask is laid on the image: ``integer`` corners (torchvision, Detectron) or ``half_pixel`` grid
            sampling (detectron2).
        threshold: probability above which a pixel belongs to the object.
    """

    head: MaskHead
    loss: MaskLoss
    paste: Paste = "half_pixel"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5


class BoxBranch(nn.Module):
    """A box stage at work.

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
        return rois, self.matcher(rois, targets, None)  # None: regions are matched by place alone

    def choose(self, rois: Candidates, targets: Targets) -> tuple[Candidates, Assignment]:
        """The regions [B,S] that are trained on, positives first, and what they answer for."""
        rois, assignment = self.matched(rois, targets)
        return compact(rois, self.sampler(assignment), self.sampler.size)

    def look(self, features: FeatureMaps, batch: ImageBatch, rois: Candidates) -> tuple[Candidates, Predictions]:
        """The regions [B,P] with the head's coder, and what it says of them."""
        rois, predictions = self.head(features, batch, rois)
        return rois, predictions.float()


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
        # Mask R-CNN, section 3.1: positives only
        rois, assignment = first_positives(rois, assignment, self.most_positives)
        terms = self.loss(self.head(features, rois).float(), rois, targets, assignment)
        return {f"mask.{name}": term for name, term in terms.items()}

    def add(self, features: FeatureMaps, found: DetectionBatch) -> DetectionBatch:
        """The detections [B,D] with mask logits [B,D,m,m] of each one's class; it pools the final boxes."""
        found = trim_detections(found)  # 28 x 28 logits for each row of padding would be in vain
        rois = Candidates(found.boxes, found.valid, labels=found.labels)
        logits = self.head(features, rois).float()
        images, count, classes = logits.shape[:3]
        own = found.labels.clamp(max=classes - 1)  # a mask for all classes alike is channel 0
        flat = logits.reshape(images, count * classes, *logits.shape[3:])
        place = torch.arange(count, device=own.device) * classes + own  # [B,D], row of each one's class in [D*K]
        return dataclasses.replace(found, mask_logits=gather_rows(flat, place))


class TwoStage(Detector):
    """backbone -> neck -> regions -> box stages, and a mask head where there is one.

    One box stage is Faster R-CNN. With several, each looks at the boxes of the one before (Cascade R-CNN): the last
    one's boxes are detected, with class scores averaged over the stages.

    Args:
        backbone: pixels to maps.
        neck: maps to maps, which regions, boxes and masks share.
        proposals: maps, or the image, to regions.
        box: the box stage, or a list of them.
        mask: the mask branch, if any. It is trained on the last stage's regions.
        alternation: the halves learn in turn; null: together.

    Source: Cai and Vasconcelos 2018, Cascade R-CNN (arXiv:1712.00726), sections 4 and 5. Where implementations differ:

    - scores: the paper runs all classifiers on the last stage's regions. detectron2 (``cascade_rcnn.py``) and
      mmdetection (``cascade_roi_head.py``) average what each stage said of its own regions, detectron2 probabilities,
      mmdetection logits; here as detectron2.
    - training regions: mmdetection samples at every stage, adds the ground truth to each stage's regions and takes out
      what was ground truth before refining; here the same where a stage has ``append_ground_truth``. detectron2 does
      both at the first stage alone: ``append_ground_truth: false`` and ``sampler: {type: all}`` in later ones.
    - weights: mmdetection weighs the stages' losses by 1, 0.5 and 0.25, as recipes say here; detectron2 by 1, and
      divides what flows back to the maps by the number of stages.
    - masks: mmdetection trains a mask head per stage, detectron2 one on the first stage's regions.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: Neck,
        proposals: Proposals,
        box: BoxSlots | Annotated[tuple[BoxSlots, ...], Field(min_length=1)],
        mask: MaskSlots | None = None,
        alternation: Alternation | None = None,
    ) -> None:
        super().__init__()
        slots = box if isinstance(box, tuple) else (box,)
        self.postprocess = check_stages(slots)
        self.backbone = backbone
        self.neck = neck
        self.proposals = proposals
        self.box = BoxBranch(slots[0])  # a name of its own, so that a list of one has the weights of a mapping
        self.refinements = nn.ModuleList(BoxBranch(one) for one in slots[1:])
        most = slots[-1].sampler.most_positives  # masks are trained on the last stage's regions
        self.mask = None if mask is None else MaskBranch(mask, most_positives=most)
        self.proposer = proposals.proposer
        self.needs_masks = mask is not None
        if mask is not None:
            self.mask_pasting = MaskPasting(mask.paste, mask.threshold)
        self.stride = coarsest_stride(backbone.out, neck.out)
        self.alternation = alternation
        if alternation is not None:
            check_alternation(proposals, slots[0].head)

    @property
    def box_stages(self) -> dict[str, BoxBranch]:
        """Name -> stage, in order: ``box``, ``box2``, ``box3``."""
        later = (stage for stage in self.refinements if isinstance(stage, BoxBranch))
        return {"box": self.box} | {f"box{number}": stage for number, stage in enumerate(later, 2)}

    def features(self, batch: ImageBatch) -> FeatureMaps:
        """The maps that all stages share."""
        return self.neck(self.backbone(batch.pixels))

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms ``rpn.*``, ``box.*`` (``box2.*`` ...), ``mask.*``: approximate joint training.

        No gradient passes through the coordinates of the regions (Faster R-CNN, section 3.2).
        """
        features = self.features(batch)
        rois, total = self.proposals.losses(features, batch, targets)
        return total | self.region_losses(features, batch, targets, rois)

    def region_losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets, rois: Candidates
    ) -> dict[str, Tensor]:
        """Terms ``box.*`` (``box2.*`` ...), ``mask.*`` on regions from anywhere: Fast R-CNN's part."""
        rois = rois.detach()  # approximate joint training, whatever proposals a plugin brings
        total: dict[str, Tensor] = {}
        stages = self.box_stages
        for (name, stage), following in zip(stages.items(), [*list(stages.values())[1:], None], strict=True):
            rois, assignment = stage.choose(rois, targets)  # matched again at each stage: Cascade R-CNN raises the IoU
            seen, predictions = stage.look(features, batch, rois)
            terms = stage.loss(predictions, seen, targets, assignment)
            total |= {f"{name}.{term}": value for term, value in terms.items()}
            if following is not None:
                better = refined(seen, predictions, batch.region)
                again = following.append_ground_truth  # the next stage adds it itself: once is enough
                rois = without_ground_truth(better, rois, targets, assignment) if again else better
        if self.mask is not None:
            total |= self.mask.losses(features, targets, rois, assignment)
        return total

    def look(self, features: FeatureMaps, batch: ImageBatch, rois: Candidates) -> tuple[Candidates, Predictions]:
        """The last stage's regions and boxes, with the scores of all stages."""
        said: list[Predictions] = []
        for stage in self.box_stages.values():
            if said:
                rois = refined(rois, said[-1], batch.region)  # of the stage before: boxes move, order stays
            rois, predictions = stage.look(features, batch, rois)
            said.append(predictions)
        return rois, averaged(said)

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions, FeatureMaps]:
        """Pixels to the predictions of the last stage, with the maps that the masks are pooled from."""
        features = self.features(batch)
        # trim: no pooling of padding
        rois, predictions = self.look(features, batch, trim(self.proposals(features, batch)))
        return rois, predictions, features

    def finish(
        self, seen: tuple[Any, ...], batch: ImageBatch, settings: DetectionSettings | None = None
    ) -> DetectionBatch:
        """Detections in network px; masks are of the boxes that were found."""
        rois, predictions, features = seen
        found = super().finish((rois, predictions), batch, settings)
        return found if self.mask is None else self.mask.add(features, found)  # final boxes, as Mask R-CNN, section 3.1

    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """The maps and what the regions come from; pooling stays eager: its shapes depend on what is found."""
        return self.backbone, self.neck, *self.proposals.compiled_parts()

    def stages(self) -> list[Stage]:
        """Everything at once, or the two halves in turn."""
        if self.alternation is not None:
            return alternating_stages(self, self.alternation)
        return [*measuring_stages(self), GradientStage(name="train", losses=self.losses)]


def check_stages(stages: tuple[BoxSlots, ...]) -> PostProcess:
    """The last stage's post-processing, of stages that go together.

    Raises:
        RecipeError: post-processing stands elsewhere than in the last stage, the stages score in different ways, or a
            later one's box coder wants to be measured.
    """
    last = stages[-1].postprocess
    if last is None:
        raise RecipeError("box: there is no postprocess; write one, in the last stage where there are several")
    for number, stage in enumerate(stages[:-1]):
        if stage.postprocess is not None:
            raise RecipeError(f"box[{number}].postprocess: only the last stage's is used; leave it out of the others")
    ways = [stage.head.scoring for stage in stages]
    if len(set(ways)) > 1:  # a softmax and a sigmoid have no common mean
        raise RecipeError(
            f"box: the stages' heads score by {', '.join(ways)}, and their scores are averaged; make them the same"
        )
    for number, stage in enumerate(stages[1:], 1):
        if isinstance(stage.head.coder, MeasuresTargets):
            raise RecipeError(
                f"box[{number}].head.box_coder: {type(stage.head.coder).__name__} is measured before training, when "
                "there are no boxes of an earlier stage; write {type: centre_size, weights: [20, 20, 10, 10]}"
            )
    return last
