"""The one-stage meta-architecture: one network looks at every candidate once (SSD, RetinaNet, FCOS, YOLO, DETR)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from detzoo.interfaces import (
    Backbone,
    DenseHead,
    Detector,
    Feature,
    GradientStage,
    Loss,
    Matcher,
    Neck,
    PostProcess,
    Sampler,
    Stage,
)
from detzoo.types import Candidates, DetectionBatch, ImageBatch, Predictions, Targets


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

    def network(self, batch: ImageBatch) -> tuple[Candidates, Predictions]:
        """Pixels to predictions: the part that is compiled."""
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

    def detect(self, batch: ImageBatch) -> DetectionBatch:
        """Detections in network px."""
        candidates, predictions = self.network(batch)
        return self.postprocess(predictions.float(), candidates, batch)

    def stages(self) -> list[Stage]:
        """Everything at once."""
        return [GradientStage(name="train", losses=self.losses)]


def layers(predictions: Predictions) -> Iterator[tuple[str, Predictions]]:
    """The final predictions with no prefix, then those of earlier decoder layers."""
    yield "", predictions
    for i, aux in enumerate(predictions.aux):
        yield f"aux{i}.", aux
