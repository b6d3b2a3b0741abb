"""The meta-architecture of R-CNN and SPP-net: windows through a network, then SVMs and box regression per class.

Letters: B images, P regions (padded), S sampled regions, R windows looked at together, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.errors import RecipeError
from detzoo.interfaces import (
    Backbone,
    BoxCoder,
    ClassLoss,
    Detector,
    GradientStage,
    Matcher,
    Normaliser,
    PostProcess,
    Proposals,
    Sampler,
    Stage,
)
from detzoo.ops.matching import matched_labels
from detzoo.ops.regions import append_ground_truth, compact, trim
from detzoo.types import Assignment, Candidates, FeatureMaps, ImageBatch, Predictions, Targets, coarsest_stride
from detzoo_rcnn.fitting import fitting_stages
from detzoo_rcnn.interfaces import RegionClassifier, RegionHead, RegionRegressor
from detzoo_rcnn.window_store import Precision

FINE_TUNING: Final = "fine-tune"
SLOPE: Final = 3.0
"""Of the sigmoid of a margin: -1 and 1, between which an SVM is undecided, become scores of 0.05 and 0.95."""


class RegionSvm(Detector):
    """Regions of the image -> windows -> network -> a linear SVM and a box regression for each class.

    R-CNN cuts windows out of the pixels and runs the backbone on each; SPP-net runs it once and pools windows from its
    maps: ``head.roi_pool`` decides which (``warp``, or any pooling of maps). Training has up to four stages, each
    checkpointed: the network is fine-tuned as a classifier of K+1 classes; vectors of all windows are extracted to the
    disk; SVMs are fitted on them with hard-negative mining; boxes are regressed in closed form.

    Until the SVMs are fitted the fine-tuned classifier answers in their place. Scores of the SVMs are the sigmoid of
    three times their margins: within [0,1], in the order of the margins, 0.5 at the border.

    Args:
        backbone: of the windows or of the image; its last map is used where windows are cut from pixels.
        proposals: regions, from the image alone.
        head: pools and looks at windows.
        matcher: windows to ground truth, for fine-tuning.
        sampler: windows of each image that enter a step of fine-tuning.
        classification: loss of a window's class in fine-tuning.
        normaliser: its divisor.
        classifier: the SVMs.
        regressor: corrects boxes.
        postprocess: predictions to detections.
        classify_by: ``svm``, or ``softmax``: the fine-tuned classifier itself (the ablation of the papers); no SVMs are
            then fitted.
        correct_boxes: whether boxes are regressed; fitting and applying it are both left out where false.
        append_ground_truth: whether the ground truth joins the windows in fine-tuning.
        freeze_convolutions: fine-tune the head alone (SPP-net as released).
        windows_at_once: windows that go through the network together when detecting or extracting; null: 16 on the CPU,
            where maps then stay in the caches (three times as fast as 128), 256 elsewhere.
        store: precision of the extracted vectors on the disk.

    Source: Girshick et al. 2014 (arXiv:1311.2524), section 2 and appendices A to C, rcnn as released; He et al. 2014
    (arXiv:1406.4729), section 4.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        proposals: Proposals,
        head: RegionHead,
        matcher: Matcher,
        sampler: Sampler,
        classification: ClassLoss,
        normaliser: Normaliser,
        classifier: RegionClassifier,
        regressor: RegionRegressor,
        postprocess: PostProcess,
        classify_by: Literal["svm", "softmax"] = "svm",
        correct_boxes: bool = True,
        append_ground_truth: bool = True,
        freeze_convolutions: bool = False,
        windows_at_once: Annotated[int, Field(ge=1)] | None = None,
        store: Precision = "float16",
    ) -> None:
        super().__init__()
        self.proposer = proposals.proposer
        if self.proposer is None:
            raise RecipeError(
                f"proposals: {type(proposals).__name__} needs feature maps; windows are cut before there are any. "
                "Write proposals: {type: image_level, proposer: {type: selective_search}}"
            )
        self.backbone = backbone
        self.proposals = proposals
        self.head = head
        self.matcher = matcher
        self.sampler = sampler
        self.classification = classification
        self.normaliser = normaliser
        self.classifier = classifier
        self.regressor = regressor
        self.coder: BoxCoder = regressor.coder
        self.postprocess = postprocess
        self.classify_by = classify_by
        self.correct_boxes = correct_boxes
        self.append_ground_truth = append_ground_truth
        self.freeze_convolutions = freeze_convolutions
        self.windows_at_once = windows_at_once
        self.store: Precision = store
        self.settled: bool | None = None
        self.stride = coarsest_stride(backbone.out)

    def prepare_for_export(self) -> None:
        """Ask now whether the SVMs are fitted, and never again: a graph that is exported cannot ask a tensor."""
        self.settled = self.classifier.fitted

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        """Pixels to what the SVMs, or the classifier, and the box regression say."""
        rois = trim(self.proposals({}, batch))
        predictions = self.judge(batch, rois)
        return dataclasses.replace(rois, coder=self.coder if self.correct_boxes else None), predictions

    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """Backbone and head; pooling stays eager: its shapes depend on the regions."""
        return self.backbone, self.head

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """``classification``: the mean over the sampled windows, of K+1 classes."""
        rois, _ = self.proposals.losses({}, batch, targets)
        rois, assignment = self.choose(rois.detach(), targets)
        each = self.classification(self.logits(batch, rois), matched_labels(targets, assignment))
        sums = torch.where(assignment.positive | assignment.negative, each, 0).sum(1)
        return {"classification": (sums / self.normaliser(assignment)).sum()}

    def stages(self) -> list[Stage]:
        """Fine-tuning, then what is fitted on its features."""
        trained = ("head.*",) if self.freeze_convolutions else ("backbone.*", "head.*")
        alone = self.classify_by == "softmax"
        tuning = GradientStage(name=FINE_TUNING, train=trained, losses=self.losses, evaluate=alone)
        return [tuning, *fitting_stages(self)]

    def choose(self, rois: Candidates, targets: Targets) -> tuple[Candidates, Assignment]:
        """The regions [B,S] that are fine-tuned on, positives first, and what they answer for."""
        if self.append_ground_truth:
            rois = append_ground_truth(rois, targets)
        assignment = self.sampler(self.matcher(rois, targets, None))
        return compact(rois, assignment, self.sampler.size)

    def logits(self, batch: ImageBatch, rois: Candidates) -> Tensor:
        """Logits [B,S,K+1] of the fine-tuned classifier, in one pass; zeros for padding."""
        images, count = rois.valid.shape
        place, maps = next(self.windows(batch, rois, at_once=max(1, images * count)))
        seen = self.head(maps)[1][: len(place)]
        classes = seen.shape[1]
        return seen.new_zeros(images * count, classes).index_copy(0, place, seen).view(images, count, classes)

    def judge(self, batch: ImageBatch, rois: Candidates) -> Predictions:
        """What SVMs, or the classifier, and the box regression say of regions [B,P]."""
        images, count = rois.valid.shape
        svm = self.classify_by == "svm" and (self.classifier.fitted if self.settled is None else self.settled)
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for place, maps in self.windows(batch, rois):
            vectors, logits = self.head(maps)
            scores = SLOPE * self.classifier(vectors[self.classifier.feature]) if svm else logits
            deltas = self.deltas(vectors, scores)
            real = place.shape[0]
            parts.append((place, scores[:real], deltas[:real]))
        place, scores, deltas = (torch.cat(column) for column in zip(*parts, strict=True))
        scores = scores.new_zeros(images * count, scores.shape[1]).index_copy(0, place, scores)
        deltas = deltas.new_zeros(images * count, *deltas.shape[1:]).index_copy(0, place, deltas)
        return Predictions(
            scores.view(images, count, scores.shape[1]),
            "sigmoid" if svm else "softmax",
            deltas.view(images, count, *deltas.shape[1:]),
        )

    def deltas(self, vectors: dict[str, Tensor], scores: Tensor) -> Tensor:
        """Box corrections [R,K,4], or [R,1,4] of zeros where boxes are not corrected."""
        if not self.correct_boxes:
            return scores.new_zeros(len(scores), 1, 4)
        return self.regressor(vectors[self.regressor.feature])

    def windows(
        self, batch: ImageBatch, rois: Candidates, *, at_once: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Windows as the head takes them, some at a time; there is always at least one portion.

        Which regions are real is looked up on the host, so that no padding goes through the network: the one wait of
        this meta-architecture, and almost nothing compared with hundreds of windows. Where a graph is
        exported nothing may be looked up: all windows go at once, the padding with them.

        Args:
            batch: the images.
            rois: [B,P].
            at_once: windows of a portion, about; null: ``windows_at_once``.

        Yields:
            int64 [r] where the windows stand among the B*P regions, and maps [r,C,h,w] of them; a portion without any
            real region has one row of maps of nothing, because norms have no statistics of an empty batch.
        """
        images, count = rois.valid.shape
        maps = self.maps(batch)
        if torch.compiler.is_exporting():
            every = torch.arange(images * count, device=rois.boxes.device)
            yield every, self.through_backbone(self.head.roi_pool(maps, rois))
            return
        usual = self.windows_at_once or (16 if batch.pixels.device.type == "cpu" else 256)
        step = max(1, (at_once or usual) // max(1, images))
        for start in range(0, max(1, count), step):
            part = Candidates(rois.boxes[:, start : start + step], rois.valid[:, start : start + step])
            row, column = part.valid.nonzero(as_tuple=True)
            pooled = self.head.roi_pool(maps, part)
            kept = pooled[row * part.valid.shape[1] + column] if len(row) else pooled.new_zeros(1, *pooled.shape[1:])
            yield row * count + start + column, self.through_backbone(kept)

    def maps(self, batch: ImageBatch) -> FeatureMaps:
        """What windows are pooled from: the pixels themselves (R-CNN) or the backbone's maps (SPP-net)."""
        return {"pixels": batch.pixels} if self.head.roi_pool.of_pixels else self.backbone(batch.pixels)

    def through_backbone(self, windows: Tensor) -> Tensor:
        """Windows of pixels [r,3,h,w] through the backbone, [r,C,h',w']; windows of maps have been there."""
        if not self.head.roi_pool.of_pixels:
            return windows
        return self.backbone(windows)[next(reversed(self.backbone.out))]
