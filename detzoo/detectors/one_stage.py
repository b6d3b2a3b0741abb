"""The one-stage meta-architecture: one network looks at every candidate once (SSD, RetinaNet, FCOS, YOLO, DETR)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from detzoo.interfaces import Backbone, DenseHead, Detector, Feature, Loss, Matcher, Neck, PostProcess, Sampler
from detzoo.types import Candidates, ImageBatch, Predictions, Targets, coarsest_stride


class OneStage(Detector):
    """backbone -> neck -> head; candidates matched to ground truth, sampled, one loss."""

    gives = frozenset({Feature.PREDICTIONS})

    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: Neck,
        head: DenseHead,
        matcher: Matcher,
        sampler: Sampler,
        loss: Loss,
        postprocess: PostProcess,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.matcher = matcher
        self.sampler = sampler
        self.loss = loss
        self.postprocess = postprocess
        self.stride = coarsest_stride(backbone.out, neck.out)

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        """Pixels to predictions."""
        features = self.neck(self.backbone(batch.pixels))
        return self.head(features, batch)

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms by name, those of earlier decoder layers prefixed with ``aux0.`` and so on."""
        candidates, predictions = self.network(batch)
        total: dict[str, Tensor] = {}
        for prefix, layer in layers(predictions.float()):
            assignment = self.sampler(self.matcher(candidates, targets, layer))
            terms = self.loss(layer, candidates, targets, assignment)
            total |= {prefix + name: term for name, term in terms.items()}
        return total

    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """Everything up to the predictions."""
        return self.backbone, self.neck, self.head


def layers(predictions: Predictions) -> Iterator[tuple[str, Predictions]]:
    """The final predictions with no prefix, then those of earlier decoder layers."""
    yield "", predictions
    for i, aux in enumerate(predictions.aux):
        yield f"aux{i}.", aux
