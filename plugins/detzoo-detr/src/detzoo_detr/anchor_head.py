"""DETR with boxes for queries: a variant that small data and a CPU can train.

Letters: B images, Q queries, S cells, K classes, F width of the transformer, E heads of attention.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from detzoo.interfaces import BoxCoder, DenseHead, Feature
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_detr.encoder import Encoder, Memory
from detzoo_detr.head import Queries, whole_image, with_aux
from detzoo_detr.position import sine
from detzoo_detr.transformer import PAPER, DecoderLayer, Mlp, Transformer, start

PRIOR = 0.01
"""Where untrained sigmoids start, as in RetinaNet."""
START_SIDE = 0.25
"""Sides of the anchors before training, in fractions of the image."""


class AnchorDetrHead(DenseHead):
    """As ``detr``, but each query is a box that every layer of the decoder corrects, and looks mainly around it.

    Args:
        features: the neck's maps, all of which are read: one in DETR.
        num_classes: K.
        box_coder: how four numbers in [0,1] become a box: ``fractions`` of the image.
        queries: Q; they start as squares on a lattice over the image.
        transformer: its sizes.
        scoring: ``sigmoid`` for a focal loss, or ``softmax`` with a column for no object.
        aux: every layer of the decoder predicts, not only the last.

    Plain DETR learns over hundreds of epochs where each query looks. Here the query says it: its encoding is made of
    its box's sines, a Gaussian around its middle is added to the logits of the attention, and layers predict
    corrections of the box in place of the box. What is attended to carries its place, so that a correction is little
    more than a difference: DETR's values carry none.

    Source: boxes as queries, corrected layer by layer: Liu et al. 2022, DAB-DETR (arXiv:2201.12329), sections 4.2 and
    4.3; the Gaussian: Gao et al. 2021, SMCA (arXiv:2101.07448), section 3.2. A mixture, simpler than either: no
    conditional attention, one learned width of the Gaussian for each head of each layer, no offsets.
    """

    name: ClassVar[str] = "detr_anchors"
    gives = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.SOFTMAX_SCORES, Feature.SIGMOID_SCORES})

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        box_coder: BoxCoder,
        queries: Queries = 64,
        transformer: Transformer = PAPER,
        scoring: Literal["softmax", "sigmoid"] = "sigmoid",
        aux: bool = True,
    ) -> None:
        super().__init__()
        width, depth = transformer.width, transformer.decoder_layers
        self.coder, self.aux = box_coder, aux
        self.scoring = scoring
        self.encoder = Encoder(features, size=transformer, middle=True)
        self.anchors = nn.Parameter(logit(lattice(queries)))  # [Q,4]
        self.content = nn.Embedding(queries, width)
        self.query = Mlp(2 * width, width, width, depth=2)
        self.place = nn.Linear(2, width)
        self.layers = nn.ModuleList(DecoderLayer(transformer) for _ in range(depth))
        start(self.layers)
        # how fast attention falls with the distance in half sides of the box: from wide to narrow over the heads
        self.falloff = nn.Parameter(torch.linspace(-2.0, 1.0, transformer.heads).repeat(depth, 1))
        self.norm = nn.LayerNorm(width)
        self.classes = nn.Linear(width, num_classes + (scoring == "softmax"))
        self.boxes = Mlp(width + 4, width, 4, depth=3)
        self._start_heads()

    @torch.no_grad()
    def _start_heads(self) -> None:
        """Boxes are their anchors at first; sigmoids are ``PRIOR``."""
        last = self.boxes[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        if self.scoring == "sigmoid":
            self.classes.bias.fill_(-math.log((1 - PRIOR) / PRIOR))

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """The image's rectangle Q times, and predictions of the last layer with those before as ``aux``."""
        memory = self.encoder(features, batch)
        anchors = self.anchors.float().sigmoid().expand(memory.cells.shape[0], -1, -1)  # [B,Q,4]
        content = self.content.weight.expand(anchors.shape[0], -1, -1)
        cells = memory.cells + self.place(memory.places.centre.to(memory.cells.dtype))
        said = []
        for layer, falloff in zip(self.layers, self.falloff, strict=True):
            query = self.query(self.encoded(anchors).to(content.dtype))
            bias = memory.bias + around(anchors, memory, falloff)
            content = layer(content, query, cells, memory.places.position, bias)
            predictions, anchors = self.predict(self.norm(content), anchors)
            said.append(predictions)
        return whole_image(batch, anchors.shape[1], self.coder), with_aux(said, aux=self.aux)

    def encoded(self, anchors: Tensor) -> Tensor:
        """float [B,Q,2F]: sines of y, x, height and width."""
        turned = anchors[..., [1, 0, 3, 2]] * (2 * math.pi)
        return sine(turned, self.content.embedding_dim // 2).flatten(2)

    def predict(self, content: Tensor, anchors: Tensor) -> tuple[Predictions, Tensor]:
        """Predictions of one layer's answer [B,Q,F], and the next layer's anchors, cut from the graph."""
        seen = torch.cat([content, anchors.to(content.dtype)], dim=-1)
        boxes = (self.boxes(seen).float() + logit(anchors)).sigmoid()
        return Predictions(self.classes(content), self.scoring, boxes.unsqueeze(2)), boxes.detach()


def lattice(count: int) -> Tensor:
    """float [Q,4]: squares spread evenly over the image, as cx, cy, w, h in fractions of it."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    place = torch.arange(count)
    x, y = (place % columns + 0.5) / columns, (place // columns + 0.5) / rows
    return torch.stack([x, y, torch.full((count,), START_SIDE), torch.full((count,), START_SIDE)], dim=1)


def logit(fractions: Tensor) -> Tensor:
    """Inverse of the sigmoid, bounded."""
    kept = fractions.clamp(1e-3, 1 - 1e-3)
    return torch.log(kept / (1 - kept))


def around(anchors: Tensor, memory: Memory, falloff: Tensor) -> Tensor:
    """Logarithms of Gaussians around the anchors, one width a head.

    Args:
        anchors: float [B,Q,4] cx, cy, w, h in fractions of the image; no gradient is wanted of them.
        memory: for the cells' middles.
        falloff: float [E]; exp of it is the Gaussian's sharpness.

    Returns:
        float [B,E,Q,S], at most 0.
    """
    anchors = anchors.detach()
    between = memory.places.centre.unsqueeze(1) - anchors[..., :2].unsqueeze(2)  # [B,Q,S,2]
    distance = (between / (anchors[..., 2:].unsqueeze(2) / 2).clamp(min=0.02)).square().sum(-1)
    return -falloff.exp()[None, :, None, None] * distance.unsqueeze(1)
