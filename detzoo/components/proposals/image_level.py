"""Regions from the image alone, as the first stage of a detector: Fast R-CNN.

It is part of the core, like the proposers, because meta-architectures of several plugins stand on it:
Fast R-CNN's two stages, and the windows of R-CNN and SPP-net.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import Proposals, Proposer
from detzoo.prediction.proposal_file import ProposalsError
from detzoo.types import Candidates, FeatureMaps, ImageBatch, Targets

TopK = Annotated[int, Field(gt=0)]


class ImageLevel(Proposals):
    """Hands on the regions that are stored in the batch. The loader and ``predict`` ask ``proposer`` for them.

    They carry no scores: the samples of the loader hold boxes alone, in the proposer's order, best first.

    Args:
        proposer: makes regions from an image, in the loader's workers.
        top_k: the best of each image when detecting; null for all.
        training_top_k: the same in training.

    Source: Girshick 2015 (arXiv:1504.08083), section 2; about 2,000 regions per image.
    """

    def __init__(self, *, proposer: Proposer, top_k: TopK | None = 2000, training_top_k: TopK | None = 2000) -> None:
        super().__init__()
        self.proposer, self.top_k, self.training_top_k = proposer, top_k, training_top_k

    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        """Regions [B,P] in network px."""
        return _best(batch, self.top_k)

    def losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets
    ) -> tuple[Candidates, dict[str, Tensor]]:
        """Regions [B,P] in network px, and no terms: nothing is learnt here."""
        return _best(batch, self.training_top_k), {}  # Fast R-CNN: the method is fixed


def _best(batch: ImageBatch, most: int | None) -> Candidates:
    rois = batch.proposals
    if rois is None:
        raise ProposalsError(
            "this detector looks at regions of the image, and the batch holds none: make it with "
            "detzoo.prediction.predict.prepared(detector, images), or give the loader proposer=detector.proposer"
        )
    if most is not None and torch.compiler.is_exporting():  # how many there are is free: none is cut off, some not seen
        within = torch.arange(rois.valid.shape[1], device=rois.valid.device) < most
        return dataclasses.replace(rois, valid=rois.valid & within)
    return dataclasses.replace(rois, boxes=rois.boxes[:, :most], valid=rois.valid[:, :most])
