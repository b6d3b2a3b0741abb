"""The region proposal network as the first stage of a detector."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from torch import Tensor, nn

from detzoo.interfaces import DenseHead, Feature, Loss, Matcher, PostProcess, Proposals, Sampler
from detzoo.schema.nodes import Scope
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets


class Rpn(Proposals):
    """A dense head that knows one class, object; what its post-processing keeps are the regions.

    Args:
        features: the neck's maps.
        head: dense, for one class.
        matcher: anchors to ground truth.
        sampler: which anchors enter the loss.
        loss: of objectness and anchors.
        postprocess: predictions to regions when detecting: 6,000 to 300 in the paper.
        training_postprocess: the same in training: 12,000 to 2,000; null: as when detecting.

    Source: Ren et al. 2015 (arXiv:1506.01497), section 3.1; torchvision ``RegionProposalNetwork``.
    """

    gives = frozenset({Feature.PREDICTIONS})

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        head: Annotated[DenseHead, Scope(num_classes=1)],
        matcher: Matcher,
        sampler: Sampler,
        loss: Annotated[Loss, Scope(num_classes=1)],
        postprocess: PostProcess,
        training_postprocess: PostProcess | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        self.matcher = matcher
        self.sampler = sampler
        self.loss = loss
        self.postprocess = postprocess
        self.training_postprocess = training_postprocess

    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """The head; what it finds has no fixed shape."""
        return (self.head,)

    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        """Regions [B,P] in network px with scores, best first."""
        candidates, predictions = self.head(features, batch)
        return _regions(self.postprocess, predictions.float(), candidates, batch)

    def places(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        """The anchors."""
        candidates, _ = self.head(features, batch)
        return candidates

    def losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets
    ) -> tuple[Candidates, dict[str, Tensor]]:
        """Training regions, and terms named ``rpn.*``."""
        candidates, predictions = self.head(features, batch)
        predictions = predictions.float()  # autocast ends here
        # every class is class 0: object
        objects = dataclasses.replace(targets, labels=torch.zeros_like(targets.labels))
        assignment = self.sampler(self.matcher(candidates, objects, predictions))
        terms = self.loss(predictions, candidates, objects, assignment)
        # more than when detecting
        rois = _regions(self.training_postprocess or self.postprocess, predictions, candidates, batch)
        return rois, {f"rpn.{name}": term for name, term in terms.items()}


def _regions(
    postprocess: PostProcess, predictions: Predictions, candidates: Candidates, batch: ImageBatch
) -> Candidates:
    found = postprocess(predictions, candidates, batch)
    return Candidates(found.boxes, found.valid, scores=found.scores).detach()  # approximate joint training
