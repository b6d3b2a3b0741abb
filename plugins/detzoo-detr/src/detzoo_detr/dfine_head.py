"""D-FINE's head: queries whose boxes are distributions that every decoder layer corrects.

Letters: B images, Q queries (the candidates N), K classes, R bins, F width, S cells of all maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder, DenseHead, Feature
from detzoo.ops.boxes import cxcywh_to_xyxy, full_precision, xyxy_to_cxcywh
from detzoo.ops.distributions import expectation
from detzoo.types import Auxiliary, Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_detr.box_coder import Fractions
from detzoo_detr.denoising import (
    Denoising,
    DenoisingQueries,
    attention_bias,
    denoising_queries,
    draw_noise,
    places,
)
from detzoo_detr.dfine_decoder import HIDDEN, DfineDecoder, DfineLayer
from detzoo_detr.dfine_loss import TEACHER
from detzoo_detr.fine_grained import LocationQuality
from detzoo_detr.head import Queries
from detzoo_detr.hybrid_encoder import projection
from detzoo_detr.query_selection import QuerySelection, Selection, logit, start_at_zero

TOP = 4
"""Probabilities of each edge that the quality is read from."""
QUALITY_WIDTH = 64


@dataclass(frozen=True)
class Said:
    """What a layer says of its queries.

    Args:
        class_logits: float [B,Q,K].
        deltas: float [B,Q,4].
        distribution: float [B,Q,4,R], or None: the initial box.
    """

    class_logits: Tensor
    deltas: Tensor
    distribution: Tensor | None

    def part(self, rows: slice) -> Said:
        """Of some queries."""
        distribution = None if self.distribution is None else self.distribution[:, rows]
        return Said(self.class_logits[:, rows], self.deltas[:, rows], distribution)

    def predictions(self, teacher: Predictions | None = None) -> Predictions:
        """The same, with whom it learns from."""
        aux = () if teacher is None else (Auxiliary(TEACHER, teacher),)
        return Predictions(
            self.class_logits, "sigmoid", self.deltas.unsqueeze(2), distribution=self.distribution, aux=aux
        )


class DfineHead(DenseHead):
    """The best cells become queries; the first layer gives each an initial box, all layers move its edges.

    Each edge is a distribution over distances from the initial box, whose logits the layers add to; a number read from
    how sharp it is is added to the class logits. Candidates are the initial boxes, ``deltas`` the weighted sums.

    Args:
        features: the neck's maps, as many as ``decoder.points`` has numbers.
        num_classes: K.
        box_coder: with bins: ``fine_grained``.
        queries: Q; where the maps have fewer cells, there are fewer.
        decoder: its sizes.
        denoising: queries of the disturbed ground truth in training; null: none.
        prior: where untrained scores start.
        layer_pairs: what an earlier layer's ``aux`` joins: its own classes, box and distribution, with the initial box
            as one more (the ``release``); or, as ``transformers`` 5.24 does, a layer's distribution with classes and
            box of the layer before, the initial box being that of the first, so that those of the last but one have no
            loss.

    ``aux`` holds the layers before the last (``aux0``, ...), ``initial``, ``encoder`` and, where ground truth is given,
    the same of denoising queries. Every layer learns from the last.

    Source: Peng et al. 2024, D-FINE (arXiv:2410.13842), section 4; its ``DFINETransformer``; Huang et al. 2025, DEIMv2
    (arXiv:2509.20787), its ``DEIMTransformer``.
    """

    name: ClassVar[str] = "dfine"
    gives = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.SIGMOID_SCORES, Feature.DISTRIBUTION})

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        box_coder: BoxCoder,
        queries: Queries = 300,
        decoder: DfineDecoder = DfineDecoder(),  # noqa: B008  # frozen
        denoising: Denoising | None = Denoising(),  # noqa: B008
        prior: Annotated[float, Field(gt=0, lt=1)] = 0.01,
        layer_pairs: Literal["release", "transformers"] = "release",
    ) -> None:
        super().__init__()
        bins = bins_of(box_coder)
        check_points(features, decoder)
        width = decoder.width
        self.coder, self.classes_count, self.layer_pairs = box_coder, num_classes, layer_pairs
        self.denoising, self.positions = denoising, decoder.positions
        self.project = nn.ModuleDict(
            {n: nn.Identity() if s.channels == width else projection(s.channels, width) for n, s in features.items()}
        )
        self.selection = QuerySelection(
            width=width,
            classes=num_classes,
            queries=queries,
            project=decoder.project_cells,
            prior=prior,
            activation=HIDDEN[decoder.activation],
        )
        self.labels = None if denoising is None else nn.Embedding(num_classes + 1, width, padding_idx=num_classes)
        self.position = decoder.position()
        self.layers = nn.ModuleList(DfineLayer(decoder) for _ in range(decoder.layers))
        self.initial = decoder.mlp(width, 4)
        start_at_zero(self.initial)
        self.classes = nn.ModuleList(nn.Linear(width, num_classes) for _ in range(decoder.layers))
        box_heads = 1 if decoder.share_boxes else decoder.layers
        self.boxes = nn.ModuleList(decoder.mlp(width, 4 * bins) for _ in range(box_heads))
        self.quality = nn.ModuleList(
            LocationQuality(decoder.mlp(4 * (TOP + 1), 1, width=QUALITY_WIDTH, depth=2), top=TOP)
            for _ in range(decoder.layers)
        )
        self._start(prior)

    @torch.no_grad()
    def _start(self, prior: float) -> None:
        """Scores begin at ``prior``, boxes at their references, qualities at zero."""
        for classes in self.classes:
            assert isinstance(classes, nn.Linear)
            classes.bias.fill_(-math.log((1 - prior) / prior))
        for boxes in self.boxes:
            assert isinstance(boxes, nn.Sequential)
            start_at_zero(boxes)
        for quality in self.quality:
            assert isinstance(quality, LocationQuality)
            assert isinstance(quality.outputs, nn.Sequential)
            start_at_zero(quality.outputs)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Initial boxes [B,Q], and the last layer's predictions with all others as ``aux``."""
        maps = [layer(features[name]) for name, layer in self.project.items()]
        shapes = [(one.shape[-2], one.shape[-1]) for one in maps]
        cells = torch.cat([one.flatten(2).transpose(1, 2) for one in maps], dim=1)  # [B,S,F]
        picked = self.selection(cells, shapes)
        size = (batch.pixels.shape[-2], batch.pixels.shape[-1])
        noise = self.noise(targets, size)
        found = self.decode(picked, noise, cells, shapes, size)
        count = 0 if noise is None else noise.labels.shape[1]
        own = found.part(slice(count, None))
        aux = [*own.before_last(self.layer_pairs), self.encoder(picked, size)]
        if noise is not None:
            aux += found.part(slice(0, count)).denoised(noise, self.coder, self.layer_pairs)
        return candidates_at(own.boxes, self.coder), replace(own.layers[-1].predictions(), aux=tuple(aux))

    def noise(self, targets: Targets | None, size: tuple[int, int]) -> DenoisingQueries | None:
        """Queries of the ground truth, where there is one."""
        if targets is None or self.denoising is None:
            return None
        whole = targets.boxes.new_tensor([0, 0, size[1], size[0]])
        count, classes = places(targets, self.denoising), self.classes_count
        drawn = draw_noise(len(targets.boxes), count, classes, like=targets.boxes)
        return denoising_queries(targets, whole, self.denoising, drawn, classes=classes)

    def decode(
        self,
        picked: Selection,
        noise: DenoisingQueries | None,
        cells: Tensor,
        shapes: list[tuple[int, int]],
        size: tuple[int, int],
    ) -> Found:
        """What all layers say; denoising queries stand in front."""
        content, logits, bias = picked.content, picked.boxes.detach(), None
        if noise is not None and self.labels is not None:
            bias = attention_bias(noise.group, content.shape[1])
            content = torch.cat([self.labels(noise.labels).to(content.dtype), content], dim=1)
            logits = torch.cat([noise.boxes.to(logits.dtype), logits], dim=1)
        reference = logits.sigmoid()  # [B,Q,4]
        position = self.placed(reference)
        scale = full_precision(reference).new_tensor([size[1], size[0], size[1], size[0]])
        layers, before, distribution = list[Said](), torch.zeros_like(content), None
        initial, boxes = None, reference
        for row, layer in enumerate(self.layers):
            if row and self.positions == "every":
                position = self.placed(reference)
            content = layer(content, position, reference, cells, shapes, bias)
            if initial is None:
                corrected = (self.initial(content) + logit(reference)).sigmoid()
                boxes = cxcywh_to_xyxy(full_precision(corrected) * scale).detach()
                initial = self.first(content, corrected, boxes, scale)
            moves = self.boxes[row % len(self.boxes)](content + before).unflatten(-1, (4, -1))
            distribution = moves if distribution is None else moves + distribution
            layers.append(self.say(row, content, distribution))
            found = self.coder.decode(layers[-1].deltas, boxes, boxes.new_ones(1)).detach()
            reference = (xyxy_to_cxcywh(found) / scale).to(content.dtype)
            before = content.detach()
        assert initial is not None
        return Found(initial, layers, boxes)

    def placed(self, reference: Tensor) -> Tensor:
        """Where queries lie, float [B,Q,F]."""
        position: Tensor = self.position(reference)
        return position.clamp(-10, 10)

    def first(self, content: Tensor, corrected: Tensor, boxes: Tensor, scale: Tensor) -> Said:
        """Classes of the first layer, without a quality, and the initial box with its gradient."""
        moved = cxcywh_to_xyxy(full_precision(corrected) * scale)
        deltas = self.coder.encode(moved, boxes, boxes.new_ones(1))
        return Said(self.classes[0](content), deltas, None)

    def say(self, row: int, content: Tensor, distribution: Tensor) -> Said:
        """Classes, weighted sums and distributions of a layer."""
        bins = self.coder.bins
        assert bins is not None
        logits = self.classes[row](content) + self.quality[row](distribution)
        return Said(logits, expectation(distribution, bins), distribution)

    def encoder(self, picked: Selection, size: tuple[int, int]) -> Auxiliary:
        """What the chosen cells say themselves, in fractions of the network input."""
        whole = picked.boxes.new_tensor([0, 0, size[1], size[0]], dtype=torch.float32)
        boxes = whole.expand(*picked.boxes.shape[:2], 4)
        where = Candidates(boxes, torch.ones_like(boxes[..., 0], dtype=torch.bool), coder=Fractions())
        said = Said(picked.classes, picked.boxes.sigmoid(), None)
        return Auxiliary("encoder", said.predictions(), candidates=where)


@dataclass(frozen=True)
class Found:
    """What all layers say of a set of queries.

    Args:
        initial: the first layer's, of the initial boxes.
        layers: from the first to the last.
        boxes: float [B,Q,4] xyxy px: the initial boxes, without gradient.
    """

    initial: Said
    layers: list[Said]
    boxes: Tensor

    def part(self, rows: slice) -> Found:
        """Of some queries."""
        return Found(self.initial.part(rows), [one.part(rows) for one in self.layers], self.boxes[:, rows])

    @property
    def teacher(self) -> Predictions:
        """The last layer, without gradient."""
        last = self.layers[-1]
        assert last.distribution is not None
        return Said(last.class_logits.detach(), last.deltas.detach(), last.distribution.detach()).predictions()

    def taught(self, count: int, layer_pairs: str) -> list[Said]:
        """The first layers, each with what its distribution is trained beside."""
        if layer_pairs == "release":
            return self.layers[:count]
        shifted = [self.initial, *self.layers]
        return [
            replace(a, distribution=b.distribution) for a, b in zip(shifted[:count], self.layers[:count], strict=True)
        ]

    def before_last(self, layer_pairs: str) -> list[Auxiliary]:
        """All layers but the last."""
        early = self.taught(len(self.layers) - 1, layer_pairs)
        aux = [Auxiliary(f"aux{row}", said.predictions(self.teacher)) for row, said in enumerate(early)]
        return aux if layer_pairs == "transformers" else [*aux, Auxiliary("initial", self.initial.predictions())]

    def denoised(self, noise: DenoisingQueries, coder: BoxCoder, layer_pairs: str) -> list[Auxiliary]:
        """All layers, of denoising queries."""
        where, known = candidates_at(self.boxes, coder), noise.assignment
        said = [one.predictions(self.teacher) for one in self.taught(len(self.layers), layer_pairs)]
        aux = [Auxiliary(f"denoising{row}", one, where, known) for row, one in enumerate(said)]
        if layer_pairs == "transformers":
            return aux
        return [*aux, Auxiliary("denoising_initial", self.initial.predictions(), where, known)]


def candidates_at(boxes: Tensor, coder: BoxCoder) -> Candidates:
    """Candidates [B,Q] at given boxes."""
    return Candidates(boxes, torch.ones_like(boxes[..., 0], dtype=torch.bool), coder=coder)


def bins_of(coder: BoxCoder) -> int:
    """R.

    Raises:
        RecipeError: the coder has none.
    """
    if coder.bins is None:
        raise RecipeError(
            f"head dfine: its boxes are distributions, but box_coder {type(coder).__name__} has no bins; write "
            "box_coder: {type: fine_grained}"
        )
    return len(coder.bins)


def check_points(features: FeatureSpecs, decoder: DfineDecoder) -> None:
    """Reject numbers of points that are not one for each map.

    Raises:
        RecipeError: with the maps.
    """
    if len(decoder.points) != len(features):
        raise RecipeError(
            f"head dfine: decoder.points has {len(decoder.points)} numbers, but the neck gives {len(features)} maps "
            f"({', '.join(features)}); write one for each"
        )
