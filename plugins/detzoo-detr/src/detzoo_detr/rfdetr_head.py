"""RF-DETR's head: the best cells of one map become queries, a few layers of deformable attention correct their boxes.

Letters: B images, S cells, Q queries of a group, G groups, K classes, F width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder, DenseHead, Feature
from detzoo.ops.boxes import full_precision
from detzoo.types import Auxiliary, Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_detr.deformable_attention import DeformableAttention
from detzoo_detr.group_queries import Grid, Proposals, grid_of, refined, start_outputs
from detzoo_detr.head import Queries, whole_image
from detzoo_detr.position import sine
from detzoo_detr.transformer import Attention, FeedForward, Mlp, Transformer

SMALL: Final = Transformer(encoder_layers=0, decoder_layers=3, dropout=0.0)
"""RF-DETR's decoder: that of its small network; nano has two layers, medium and large four."""
GROUPS: Final = "groups"
"""The further matcher of the predictions of all groups."""


class RfDetrHead(DenseHead):
    """Queries are the best cells of the map; layers of a decoder look around their boxes, which stay where they were.

    The content of the queries is learned, their boxes are those of the cells with the highest scores. Every layer
    corrects the same boxes. In training there are ``groups`` sets of queries, which do not see each other, and each
    finds every object; the first alone detects.

    Args:
        features: the neck's map; one.
        num_classes: K.
        box_coder: how four numbers in [0,1] become a box: ``fractions`` of the image.
        queries: Q of a group; a map with fewer cells gives as many as it has.
        groups: G, in training. With more than one, ``matchers.groups`` is asked, and ``loss.groups`` divides.
        transformer: its sizes; ``encoder_layers`` must be 0.
        cross_heads: heads of the attention to the map.
        points: that each of them reads.

    Predictions that only training uses: ``encoder``, the cells' own; ``aux0``, ..., the layers' but the last's, of all
    groups; ``groups``, the last layer's of all groups but the first.

    Source: Robinson et al. 2025 (RF-DETR, arXiv:2511.09554); its parent, Chen et al. 2024 (LW-DETR, arXiv:2406.03459),
    sections 3.1 and 3.2; roboflow/rf-detr with ``two_stage``, ``bbox_reparam`` and ``lite_refpoint_refine``; groups:
    Chen et al. 2023 (Group DETR, arXiv:2207.13085). Difference: cells are fewer than queries without an error.
    """

    name: ClassVar[str] = "rf_detr"
    gives = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.SIGMOID_SCORES})

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        box_coder: BoxCoder,
        queries: Queries = 300,
        groups: Annotated[int, Field(ge=1, le=64)] = 13,
        transformer: Transformer = SMALL,
        cross_heads: Annotated[int, Field(ge=1, le=256)] = 16,
        points: Annotated[int, Field(ge=1, le=64)] = 2,
    ) -> None:
        super().__init__()
        self.level = _one_map(features, transformer, cross_heads)
        self.coder, self.queries, self.groups = box_coder, queries, groups
        width = transformer.width
        self.proposals = nn.ModuleList(Proposals(width, num_classes) for _ in range(groups))
        self.content = nn.Embedding(groups * queries, width)
        self.shifts = nn.Embedding(groups * queries, 4)
        self.place = Mlp(2 * width, width, width, depth=2)
        self.layers = nn.ModuleList(
            GroupDecoderLayer(transformer, cross_heads=cross_heads, points=points)
            for _ in range(transformer.decoder_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.classes, self.boxes = nn.Linear(width, num_classes), Mlp(width, width, 4, depth=3)
        nn.init.zeros_(self.shifts.weight)
        start_outputs(self.classes, self.boxes)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """The image's rectangle Q times, and the last layer's predictions of the first group."""
        feature = features[self.level]
        shape, size = (feature.shape[-2], feature.shape[-1]), (batch.pixels.shape[-2], batch.pixels.shape[-1])
        cells = feature.flatten(2).transpose(1, 2)  # [B,S,F]
        grid = grid_of(cells, shape, batch.region, size)
        groups, count = 1 if targets is None else self.groups, min(self.queries, cells.shape[1])
        proposed = [proposals(grid, count) for proposals in list(self.proposals)[:groups]]
        classes, boxes = (torch.cat(part, dim=1) for part in zip(*proposed, strict=True))  # [B,G*Q,K], [B,G*Q,4]
        reference = refined(boxes.detach(), self.of_groups(self.shifts, groups, count))  # [B,G*Q,4]
        said = self.decode(reference, cells, grid, shape, batch, groups)
        places = whole_image(batch, count, self.coder)
        if targets is None:
            return places, self.predictions(*said[-1])
        first = self.predictions(*(part[:, :count] for part in said[-1]))
        every = [self.predictions(*one) for one in (*said[:-1], (classes, boxes), said[-1])]
        return places, replace(first, aux=_of_groups(every, places, groups))

    def predictions(self, classes: Tensor, boxes: Tensor) -> Predictions:
        """Of class logits [B,.,K] and boxes [B,.,4]."""
        return Predictions(classes, self.scoring, boxes.unsqueeze(2))

    def of_groups(self, table: nn.Embedding, groups: int, count: int) -> Tensor:
        """The first ``count`` rows of each of the first ``groups`` groups: float [1,G*Q,.]."""
        rows = table.weight.view(self.groups, self.queries, -1)[:groups, :count]
        return rows.reshape(1, groups * count, -1)

    def decode(
        self,
        reference: Tensor,
        cells: Tensor,
        grid: Grid,
        shape: tuple[int, int],
        batch: ImageBatch,
        groups: int,
    ) -> list[tuple[Tensor, Tensor]]:
        """What each layer says of boxes ``reference`` [B,G*Q,4]: class logits [B,G*Q,K] and boxes [B,G*Q,4]."""
        seen_at = in_input(reference, batch)  # [B,G*Q,4] in fractions of the network input
        content = self.of_groups(self.content, groups, reference.shape[1] // groups).expand(cells.shape[0], -1, -1)
        place = self.place(encoded(seen_at, content.shape[2]).to(content.dtype))
        said = []
        for layer in self.layers:
            content = layer(content, place, seen_at.unsqueeze(2), cells, shape, grid.inside, groups)
            found = self.norm(content)
            said.append((self.classes(found), refined(reference, self.boxes(found))))
        return said


class GroupDecoderLayer(nn.Module):
    """Queries look at those of their group, then around their boxes; each part is added and normalised.

    Args:
        size: of the transformer.
        cross_heads: heads of the attention to the map.
        points: that each of them reads.
    """

    def __init__(self, size: Transformer, *, cross_heads: int, points: int) -> None:
        super().__init__()
        self.self_attention = Attention(width=size.width, heads=size.heads, dropout=size.dropout)
        self.cross_attention = DeformableAttention(width=size.width, heads=cross_heads, points=[points])
        self.norm1, self.norm2 = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.dropout = nn.Dropout(size.dropout)
        self.feed_forward = FeedForward(size)

    def forward(
        self,
        content: Tensor,
        place: Tensor,
        reference: Tensor,
        cells: Tensor,
        shape: tuple[int, int],
        inside: Tensor,
        groups: int,
    ) -> Tensor:
        """What each query has found.

        Args:
            content: float [B,G*Q,F]: what it had found before.
            place: float [B,G*Q,F]: where its box lies.
            reference: float [B,G*Q,1,4]: its box, in fractions of the network input.
            cells: float [B,S,F].
            shape: (h, w) of the map.
            inside: bool [B,S]: cells of the image.
            groups: G.

        Returns:
            float [B,G*Q,F].
        """
        images, queries, width = content.shape
        apart = content.reshape(images * groups, queries // groups, width)
        placed = apart + place.reshape(apart.shape)
        among = self.self_attention(placed, placed, apart).view(content.shape)
        content = self.norm1(content + self.dropout(among))
        seen = self.cross_attention(content + place, reference, cells, [shape], inside)
        return self.feed_forward(self.norm2(content + self.dropout(seen)))  # type: ignore[no-any-return]


def in_input(boxes: Tensor, batch: ImageBatch) -> Tensor:
    """Boxes cx, cy, w, h [B,Q,4] in fractions of the image, as fractions of the network input with its padding."""
    height, width = batch.pixels.shape[-2:]
    region = (batch.region / batch.region.new_tensor([width, height, width, height])).to(boxes.dtype).unsqueeze(1)
    side = region[..., 2:] - region[..., :2]  # [B,1,2]
    return torch.cat([boxes[..., :2] * side + region[..., :2], boxes[..., 2:] * side], dim=-1)


def encoded(boxes: Tensor, width: int) -> Tensor:
    """float [B,Q,2F]: sines of y, x, width and height.

    Source: Liu et al. 2022 (DAB-DETR, arXiv:2201.12329), section 4.2.
    """
    turned = full_precision(boxes)[..., [1, 0, 2, 3]] * (2 * torch.pi)
    return sine(turned, width // 2).flatten(2)


def _of_groups(every: list[Predictions], places: Candidates, groups: int) -> tuple[Auxiliary, ...]:
    """What only training uses, of all groups.

    Args:
        every: predictions [B,G*Q] of the layers but the last, of the cells, and of the last layer.
        places: candidates [B,Q].
        groups: G.
    """
    matcher = GROUPS if groups > 1 else None
    repeated = Candidates(places.boxes.repeat(1, groups, 1), places.valid.repeat(1, groups), coder=places.coder)
    names = [*(f"aux{row}" for row in range(len(every) - 2)), "encoder"]
    aux = [Auxiliary(name, one, repeated, matcher=matcher) for name, one in zip(names, every, strict=False)]
    if groups > 1:
        others = repeated.valid.clone()
        others[:, : places.valid.shape[1]] = False  # the first group is the main predictions
        aux.append(Auxiliary(GROUPS, every[-1], replace(repeated, valid=others), matcher=matcher))
    return tuple(aux)


def _one_map(features: FeatureSpecs, transformer: Transformer, cross_heads: int) -> str:
    """The name of the only map.

    Raises:
        RecipeError: there are more, or sizes do not fit each other.
    """
    if len(features) != 1:
        raise RecipeError(
            f"head rf_detr: it reads one map, and is given {len(features)}: {', '.join(features)}; choose one with "
            "backbone.levels, or neck: {type: c2f_projector}"
        )
    (name, spec), width = next(iter(features.items())), transformer.width
    if spec.channels != width:
        raise RecipeError(
            f"head rf_detr: transformer.width is {width} and the map has {spec.channels} channels; they must be "
            "equal: set neck.channels, or transformer.width"
        )
    if transformer.encoder_layers:
        raise RecipeError(
            f"head rf_detr: transformer.encoder_layers is {transformer.encoder_layers}; it has no encoder but the "
            "backbone: write 0"
        )
    if width % cross_heads:
        raise RecipeError(f"head rf_detr: cross_heads {cross_heads} must divide transformer.width, {width}")
    return name
