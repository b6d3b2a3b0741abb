"""DETR's head: a transformer whose queries each answer for one object, or for none.

Letters: B images, Q queries (the candidates N), K classes, F width of the transformer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.interfaces import BoxCoder, DenseHead, Feature
from detzoo.types import Auxiliary, Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_detr.encoder import Encoder
from detzoo_detr.transformer import PAPER, DecoderLayer, Mlp, Transformer, start

Queries = Annotated[int, Field(ge=1, le=10_000)]


class DetrHead(DenseHead):
    """Cells look at each other, queries at each other and at the cells; each query gives a class and a box.

    Args:
        features: the neck's maps, all of which are read: one in DETR.
        num_classes: K.
        box_coder: how four numbers in [0,1] become a box: ``fractions`` of the image.
        queries: Q, more than an image has objects.
        transformer: its sizes.
        scoring: ``softmax`` with a column for no object (the paper), or ``sigmoid`` for a focal loss.
        aux: every layer of the decoder predicts, not only the last (the paper's auxiliary losses).

    Every candidate is the image's rectangle: what tells queries apart is learned.

    Source: Carion et al. 2020 (arXiv:2005.12872), section 3.2 and appendix A.3; facebookresearch/detr. Difference:
    the column for no object stands in front, as everywhere in detzoo, not at the end.
    """

    name: ClassVar[str] = "detr"
    gives = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.SOFTMAX_SCORES, Feature.SIGMOID_SCORES})

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        box_coder: BoxCoder,
        queries: Queries = 100,
        transformer: Transformer = PAPER,
        scoring: Literal["softmax", "sigmoid"] = "softmax",
        aux: bool = True,
    ) -> None:
        super().__init__()
        width = transformer.width
        self.coder, self.aux = box_coder, aux
        self.scoring = scoring
        self.encoder = Encoder(features, size=transformer, middle=False)
        self.queries = nn.Embedding(queries, width)
        self.layers = nn.ModuleList(DecoderLayer(transformer) for _ in range(transformer.decoder_layers))
        start(self.layers)
        self.norm = nn.LayerNorm(width)
        self.classes = nn.Linear(width, num_classes + (scoring == "softmax"))
        self.boxes = Mlp(width, width, 4, depth=3)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """The image's rectangle Q times, and predictions of the last layer with those before as ``aux``."""
        memory = self.encoder(features, batch)
        query = self.queries.weight.unsqueeze(0)  # [1,Q,F]
        content = torch.zeros_like(query).expand(memory.cells.shape[0], -1, -1)
        said = []
        for layer in self.layers:
            content = layer(content, query, memory.cells, memory.places.position, memory.bias)
            said.append(self.predict(self.norm(content)))
        return whole_image(batch, query.shape[1], self.coder), with_aux(said, aux=self.aux)

    def predict(self, content: Tensor) -> Predictions:
        """Classes and boxes of one layer's answer [B,Q,F]."""
        return Predictions(self.classes(content), self.scoring, self.boxes(content).sigmoid().unsqueeze(2))


def whole_image(batch: ImageBatch, count: int, coder: BoxCoder) -> Candidates:
    """The rectangle of each image, without its padding, ``count`` times: [B,Q,4]."""
    boxes = batch.region.float().unsqueeze(1).expand(-1, count, -1)
    return Candidates(boxes, torch.ones_like(boxes[..., 0], dtype=torch.bool), coder=coder)


def with_aux(said: list[Predictions], *, aux: bool) -> Predictions:
    """The last layer's predictions, which carry those of the layers before."""
    before = tuple(Auxiliary(f"aux{i}", layer) for i, layer in enumerate(said[:-1]))
    return replace(said[-1], aux=before) if aux else said[-1]
