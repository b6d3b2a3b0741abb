"""What is measured on the training data before training: statistics of regression targets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from detzoo.interfaces import FittingStage, Stage, StageContext

if TYPE_CHECKING:
    from detzoo.detectors.two_stage import TwoStage
    from detzoo.types import ImageBatch

MEASURING = "targets"
"""Name of the stage."""


@runtime_checkable
class MeasuresTargets(Protocol):
    """A box coder whose units depend on statistics of the training data."""

    def measure(self, examples: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Read all examples once: (ground truth [P,4], regions [P,4] that answer for it, labels int64 [P])."""


def measuring_stages(detector: TwoStage) -> list[Stage]:
    """The stage that must come before gradient descent on the box head, if its coder needs one; else none."""
    coder = detector.box.head.coder
    if not isinstance(coder, MeasuresTargets):  # most coders have fixed units: nothing to do
        return []

    def measure(context: StageContext) -> None:
        coder.measure(positive_examples(detector, context.batches(), context.device))

    return [FittingStage(name=MEASURING, fit=measure)]


@torch.no_grad()
def positive_examples(
    detector: TwoStage, batches: Iterable[tuple[ImageBatch, Any]], device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every region that the box head would take for an object, whatever the sampler would choose.

    Args:
        detector: with its regions from the image, or from a first stage that is trained already.
        batches: of the training data.
        device: where the detector is.
    """
    for given, truth in batches:
        batch, targets = given.to(device), truth.to(device)
        # regions of the image need no feature map
        features = {} if detector.proposer is not None else detector.features(batch)
        # matched, not choose: a sampler would make the statistics random
        rois, assignment = detector.box.matched(detector.proposals.losses(features, batch, targets)[0], targets)
        image, row = assignment.positive.nonzero(as_tuple=True)
        answer = assignment.index[image, row]
        yield targets.boxes[image, answer], rois.boxes[image, row], targets.labels[image, answer]  # [P,4], [P,4], [P]
