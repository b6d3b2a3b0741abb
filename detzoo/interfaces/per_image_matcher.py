"""A matcher whose author writes one function for one image, and sees neither padding nor crowds nor batches."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from detzoo.interfaces.matcher import Matcher
from detzoo.ops.boxes import full_precision
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.types import BACKGROUND, Assignment, Candidates, Predictions, Targets


class PerImageMatcher(Matcher):
    """Calls ``match`` for each image, with its valid candidates and its usable ground truth.

    Images without either are not matched: all is background. Background candidates of which ground truth flagged
    ``ignore`` (crowds, difficult boxes) covers half or more leave the loss, and so do invalid candidates.

    How many objects each image has decides the shapes, so on a GPU this waits for the device, once in each batch. A
    matcher that must not wait, or that looks at predictions, levels or strides, derives from ``Matcher``.
    """

    @abstractmethod
    def match(self, boxes: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
        """Match one image.

        Args:
            boxes: float32 [N,4] xyxy network px: the candidates, one at least.
            truth: float32 [M,4] xyxy network px: the objects, one at least.
            labels: int64 [M], 0..K-1: their classes.

        Returns:
            int64 [N]: for each candidate the row of its object in ``truth``, BACKGROUND, or IGNORE.
        """

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign candidates [1 or B,N] to ground truth [B,M], image by image.

        Raises:
            TypeError: ``match`` gives something else than one whole number for each candidate.
        """
        batch, count = targets.labels.shape[0], candidates.boxes.shape[1]
        usable = targets.usable.cpu()  # waits; the device is idle then, so that the next look costs nothing
        valid = candidates.valid.expand(batch, count).cpu()
        boxes, truth = full_precision(candidates.boxes).expand(batch, count, 4), full_precision(targets.boxes)
        index = torch.full((batch, count), BACKGROUND, device=targets.labels.device)
        for image in range(batch):
            places, objects = (rows[image].nonzero().squeeze(1).to(index.device) for rows in (valid, usable))
            if len(places) and len(objects):
                found = self.match(boxes[image, places], truth[image, objects], targets.labels[image, objects])
                self._check(found, len(places))
                index[image, places] = torch.where(found >= 0, objects[found.clamp(min=0)], found)
        return Assignment(leave_out_ignored(index, candidates, targets))

    def _check(self, found: Tensor, count: int) -> None:
        if found.dtype != torch.int64 or found.shape != (count,):
            raise TypeError(
                f"{type(self).__name__}.match gives {found.dtype} {list(found.shape)} for {count} candidates; expected "
                f"int64 [{count}]: for each the row of its ground truth, BACKGROUND or IGNORE"
            )
