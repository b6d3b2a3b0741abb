"""The one-stage meta-architecture: one network looks at every candidate once (SSD, RetinaNet, FCOS, YOLO, DETR)."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from detzoo.components.samplers import All
from detzoo.errors import PluginError, RecipeError
from detzoo.interfaces import Backbone, DenseHead, Detector, Feature, Loss, Matcher, Neck, PostProcess, Sampler
from detzoo.types import Auxiliary, Candidates, ImageBatch, Predictions, Targets, coarsest_stride


class OneStage(Detector):
    """backbone -> neck -> head; candidates matched to ground truth, sampled, one loss.

    Args:
        backbone: pixels to maps.
        neck: maps to maps.
        head: maps to candidates and predictions.
        matcher: candidates to ground truth.
        sampler: which candidates enter the loss; null: all.
        loss: of classes and boxes, auxiliary ones too.
        postprocess: predictions to detections.
        matchers: further ones by name, for auxiliary predictions that ask for them (one-to-many groups); null: none.
    """

    gives = frozenset({Feature.PREDICTIONS})

    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: Neck,
        head: DenseHead,
        matcher: Matcher,
        sampler: Sampler | None = None,
        loss: Loss,
        postprocess: PostProcess,
        matchers: dict[str, Matcher] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.matcher = matcher
        self.sampler = All() if sampler is None else sampler
        self.loss = loss
        self.postprocess = postprocess
        self.matchers = nn.ModuleDict(matchers or {})
        self.stride = coarsest_stride(backbone.out, neck.out)  # what the input's padding is a multiple of

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        """Pixels to predictions; with targets, to auxiliary predictions of the ground truth too."""
        features = self.neck(self.backbone(batch.pixels))
        return self.head(features, batch, targets)

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms by name, those of auxiliary predictions prefixed with their name: ``aux0.box``.

        Raises:
            PluginError: two auxiliary predictions have one name, so that the terms of one would get lost.
        """
        candidates, predictions = self.network(batch, targets)
        predictions = predictions.float()  # autocast ends here: matching and losses are float32
        # predictions: dynamic matchers (TOOD, DETR)
        assignment = self.sampler(self.matcher(candidates, targets, predictions))
        # unprefixed: the names of a detector without aux
        total = self.loss(predictions, candidates, targets, assignment)
        for aux in predictions.aux:
            terms = self.auxiliary_losses(aux, aux.candidates or candidates, targets)
            if not total.keys().isdisjoint(terms):
                raise PluginError(f'{type(self.head).__name__} names two of its auxiliary predictions "{aux.name}"')
            total |= terms
        return total

    def auxiliary_losses(self, aux: Auxiliary, candidates: Candidates, targets: Targets) -> dict[str, Tensor]:
        """Terms named ``NAME.*`` of one set of auxiliary predictions.

        Raises:
            RecipeError: it asks for a matcher that the recipe does not have.
        """
        if aux.one_class:
            targets = replace(targets, labels=torch.zeros_like(targets.labels))
        assignment = aux.assignment
        if assignment is None:  # a head may know its matches, as DN-DETR's denoising queries do
            matcher = self.matcher if aux.matcher is None else self.further_matcher(aux)
            assignment = self.sampler(matcher(candidates, targets, aux.predictions))
        terms = self.loss(aux.predictions, candidates, targets, assignment)
        return {f"{aux.name}.{name}": aux.weight * term for name, term in terms.items()}

    def further_matcher(self, aux: Auxiliary) -> Matcher:
        """The one of ``matchers`` that an auxiliary names."""
        if aux.matcher is not None and aux.matcher in self.matchers:
            return cast("Matcher", self.matchers[aux.matcher])
        known = ", ".join(self.matchers) or "there are none"
        raise RecipeError(
            f'{type(self.head).__name__}\'s auxiliary predictions "{aux.name}" ask for the matcher "{aux.matcher}"; '
            f"matchers: {known}. Write matchers: {{{aux.matcher}: {{type: ...}}}}"
        )

    @property
    def raw_head(self) -> DenseHead:
        """The head: there are no later stages."""
        return self.head

    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """Everything up to the predictions."""
        return self.backbone, self.neck, self.head  # post-processing has shapes that depend on the data
