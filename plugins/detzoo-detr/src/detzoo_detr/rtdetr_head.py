"""RT-DETR's head: the best cells become queries, which a decoder corrects layer by layer.

Letters: B images, S cells of all maps, Q queries (the candidates N), G denoising queries, K classes, F width of the
transformer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder, DenseHead, Feature
from detzoo.ops.boxes import full_precision
from detzoo.types import Auxiliary, Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_detr.deformable_attention import DeformableAttention
from detzoo_detr.denoising import (
    Denoising,
    DenoisingQueries,
    attention_bias,
    denoising_queries,
    draw_noise,
    places,
)
from detzoo_detr.head import Queries
from detzoo_detr.hybrid_encoder import projection
from detzoo_detr.query_selection import QuerySelection, logit, start_predicting
from detzoo_detr.transformer import Attention, Count, FeedForward, Mlp, Transformer, start

Points = Annotated[int, Field(ge=1, le=64)]


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """The sizes of RT-DETR's decoder.

    Args:
        width: F, a multiple of 4 and of ``heads``.
        heads: of both kinds of attention.
        layers: how often the boxes are corrected: 3 in R18, 4 in R34, 6 in R50 and R101.
        feedforward: width of the layers' hidden part.
        points: how many points a head reads on each map; one number, or one for each map (RT-DETRv2).
        method: how a map is read: ``default`` interpolates, ``discrete`` takes the nearest cell, which needs no
            grid_sample (RT-DETRv2); offsets do not learn then.
        dropout: share that is dropped after each part while training.
    """

    width: Count = 256
    heads: Count = 8
    layers: Count = 6
    feedforward: Count = 1024
    points: Points | list[Points] = 4
    method: Literal["default", "discrete"] = "default"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def transformer(self) -> Transformer:
        """The same sizes, for the parts that all of the family share."""
        return Transformer(
            width=self.width,
            heads=self.heads,
            encoder_layers=0,
            decoder_layers=self.layers,
            feedforward=self.feedforward,
            dropout=self.dropout,
        )


PAPER = Decoder()
"""Of R50 and R101."""
NOISE = Denoising()


class RtdetrHead(DenseHead):
    """Cells predict; the best become queries; every layer of the decoder corrects their boxes and says their classes.

    Args:
        features: the neck's maps, all of which are read, finest first.
        num_classes: K.
        box_coder: how four numbers in [0,1] become a box: ``fractions``.
        queries: Q, more than an image has objects.
        decoder: its sizes.
        denoising: queries made of the ground truth while training; null: none.
        look_forward_twice: while training, the gradient of a layer's boxes reaches the layer before too: the release;
            transformers stops it. Results are equal.
        prior: where untrained scores start: 0.01 in the release, 1 / (K + 1) in transformers.
        aux: while training every layer predicts, and the chosen cells do; else the last layer alone.

    Every candidate is the network input: RT-DETR stretches images, and knows no padding.

    Source: Zhao et al. 2023 (arXiv:2304.08069), sections 4.1 and 4.3, ``RTDETRTransformer``; Lv et al. 2024
    (arXiv:2407.17140), RT-DETRv2: ``decoder.points`` by map, ``decoder.method: discrete``.
    """

    name: ClassVar[str] = "rtdetr"
    gives = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.SIGMOID_SCORES})

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        box_coder: BoxCoder,
        queries: Queries = 300,
        decoder: Decoder = PAPER,
        denoising: Denoising | None = NOISE,
        look_forward_twice: bool = True,
        prior: Annotated[float, Field(gt=0, lt=1)] = 0.01,
        aux: bool = True,
    ) -> None:
        super().__init__()
        width, size = decoder.width, decoder.transformer()
        self.coder, self.aux, self.look_forward_twice = box_coder, aux, look_forward_twice
        self.num_classes, self.noise = num_classes, denoising
        self.project = nn.ModuleDict({name: projection(spec.channels, width) for name, spec in features.items()})
        self.select = QuerySelection(width=width, classes=num_classes, queries=queries, prior=prior)
        self.points = points_of(decoder, features)
        self.layers = nn.ModuleList(Layer(size, self.points, method=decoder.method) for _ in range(decoder.layers))
        self.position = Mlp(4, 2 * width, width, depth=2)
        start(self.position)
        self.classes = nn.ModuleList(nn.Linear(width, num_classes) for _ in range(decoder.layers))
        self.boxes = nn.ModuleList(Mlp(width, width, 4, depth=3) for _ in range(decoder.layers))
        for classes, boxes in zip(self.classes, self.boxes, strict=True):
            assert isinstance(classes, nn.Linear)
            assert isinstance(boxes, Mlp)
            start_predicting(classes, boxes, prior)
        # the last row: places of a group that no object of the image takes
        self.known = None if denoising is None else nn.Embedding(num_classes + 1, width, padding_idx=num_classes)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """The network input Q times, and the last layer's predictions, with those of all else as ``aux``."""
        maps = [layer(features[name]) for name, layer in self.project.items()]  # [B,F,h,w]
        shapes = [(one.shape[2], one.shape[3]) for one in maps]
        cells = torch.cat([one.flatten(2).transpose(1, 2) for one in maps], dim=1)  # [B,S,F]
        chosen = self.select(cells, shapes)
        training = targets is not None and self.aux
        known = self.noisy(targets, batch) if targets is not None and self.aux else None
        content, boxes, bias = chosen.content, chosen.boxes, None
        if known is not None:
            assert self.known is not None
            content = torch.cat([self.known(known.labels).to(content.dtype), content], dim=1)  # [B,G+Q,F]
            boxes = torch.cat([known.boxes.to(boxes.dtype), boxes], dim=1)
            bias = attention_bias(known.group, chosen.content.shape[1])
        said = self.decode(content, boxes.detach().sigmoid(), cells, shapes, bias, last_alone=not training)
        count = chosen.content.shape[1]
        main = replace(part(said[-1], -count, None), aux=())
        if training:
            before = [Auxiliary(f"aux{i}", part(layer, -count, None)) for i, layer in enumerate(said[:-1])]
            encoder = Auxiliary("encoder", self.predictions(chosen.classes, chosen.boxes.sigmoid()))
            main = replace(main, aux=(*before, encoder, *self.denoised(said, known, batch)))
        return whole_input(batch, count, self.coder), main

    def noisy(self, targets: Targets, batch: ImageBatch) -> DenoisingQueries | None:
        """Queries of the ground truth; None where the recipe wants none."""
        if self.noise is None:
            return None
        noise = draw_noise(len(targets.boxes), places(targets, self.noise), self.num_classes, like=targets.boxes)
        whole = whole_input(batch, 1, self.coder).boxes[0, 0]
        return denoising_queries(targets, whole, self.noise, noise, classes=self.num_classes)

    def decode(
        self,
        content: Tensor,
        reference: Tensor,
        cells: Tensor,
        shapes: Sequence[tuple[int, int]],
        bias: Tensor | None,
        *,
        last_alone: bool = False,
    ) -> list[Predictions]:
        """What every layer says, or the last.

        Args:
            content: float [B,G+Q,F].
            reference: float [B,G+Q,4] cx, cy, w, h in fractions of the input, without gradient.
            cells: float [B,S,F].
            shapes: (h, w) of the maps.
            bias: of the queries' attention, as ``attention_bias`` gives it; None: all see all.
            last_alone: leave out what layers before say: nobody asks but a loss.
        """
        said, before = [], reference
        for layer, classes, boxes in zip(self.layers, self.classes, self.boxes, strict=True):
            content = layer(content, self.position(reference.to(content.dtype)), reference, cells, shapes, bias)
            change = full_precision(boxes(content))
            found = (change + logit(reference)).sigmoid()
            if not last_alone or layer is self.layers[-1]:
                told = (change + logit(before)).sigmoid() if self.look_forward_twice else found
                said.append(self.predictions(classes(content), told))
            before, reference = found, found.detach()
        return said

    def denoised(self, said: list[Predictions], known: DenoisingQueries | None, batch: ImageBatch) -> list[Auxiliary]:
        """What the layers say of the denoising queries, whose ground truth is known."""
        if known is None:
            return []
        count = len(known.group)
        seen = whole_input(batch, count, self.coder)
        return [Auxiliary(f"dn{i}", part(layer, 0, count), seen, known.assignment) for i, layer in enumerate(said)]

    def predictions(self, logits: Tensor, boxes: Tensor) -> Predictions:
        """Of class logits [B,.,K] and boxes [B,.,4] in fractions."""
        return Predictions(logits, self.scoring, boxes.unsqueeze(2))


class Layer(nn.Module):
    """Queries look at each other, then read the maps around their boxes.

    Args:
        size: of the transformer.
        points: on each map.
        method: as in ``Decoder``.
    """

    def __init__(self, size: Transformer, points: Sequence[int], *, method: Literal["default", "discrete"]) -> None:
        super().__init__()
        self.self_attention = Attention(width=size.width, heads=size.heads, dropout=size.dropout)
        self.cross_attention = DeformableAttention(width=size.width, heads=size.heads, points=points, method=method)
        self.norm1, self.norm2 = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.dropout, self.feed_forward = nn.Dropout(size.dropout), FeedForward(size)
        start(self.self_attention)
        start(self.feed_forward)
        if method == "discrete":  # whose places have no gradient
            self.cross_attention.offsets.requires_grad_(False)

    def forward(
        self,
        content: Tensor,
        position: Tensor,
        reference: Tensor,
        cells: Tensor,
        shapes: Sequence[tuple[int, int]],
        bias: Tensor | None,
    ) -> Tensor:
        """What each query has found, float [B,G+Q,F]; arguments as in ``RtdetrHead.decode``."""
        placed = content + position
        content = self.norm1(content + self.dropout(self.self_attention(placed, placed, content, bias)))
        seen = self.cross_attention(content + position, reference.unsqueeze(2), cells, shapes)
        return self.feed_forward(self.norm2(content + self.dropout(seen)))  # type: ignore[no-any-return]


def points_of(decoder: Decoder, features: FeatureSpecs) -> list[int]:
    """Points on each map.

    Raises:
        RecipeError: a list of another length.
    """
    points = [decoder.points] * len(features) if isinstance(decoder.points, int) else decoder.points
    if len(points) != len(features):
        raise RecipeError(
            f"decoder.points has {len(points)} numbers for {len(features)} maps ({', '.join(features)}); write one for "
            "each, or one number for all"
        )
    return points


def part(said: Predictions, begin: int, end: int | None) -> Predictions:
    """The predictions of some of the queries."""
    assert said.class_logits is not None
    return replace(said, class_logits=said.class_logits[:, begin:end], deltas=said.deltas[:, begin:end])


def whole_input(batch: ImageBatch, count: int, coder: BoxCoder) -> Candidates:
    """The network input, ``count`` times: [1,count,4]."""
    height, width = batch.pixels.shape[-2:]
    box = batch.region.new_tensor([0.0, 0.0, float(width), float(height)])
    boxes = box.float().expand(1, count, 4)
    return Candidates(boxes, torch.ones_like(boxes[..., 0], dtype=torch.bool), coder=coder)
