"""Deformable DETR's head: plain, with boxes that each layer corrects, and with proposals of the encoder.

Letters: B images, Q queries, S cells of all maps, K classes, F width of the transformer.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder, DenseHead, Feature
from detzoo.ops.ranking import gather_rows
from detzoo.types import Auxiliary, Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_detr.deformable_attention import DeformableAttention
from detzoo_detr.deformable_decoder import DeformableDecoderLayer, LearnedStart, ProposalStart, Start, logit
from detzoo_detr.deformable_encoder import DeformableEncoder, DeformableMemory
from detzoo_detr.head import Queries, whole_image, with_aux
from detzoo_detr.transformer import Mlp, Transformer, start

Count = Annotated[int, Field(ge=1, le=64)]
SIZES = Transformer(feedforward=1024)
"""Deformable DETR's own."""


class DeformableDetrHead(DenseHead):
    """Queries and cells read a few points of several maps; each query gives a class and a box.

    Args:
        features: the neck's maps, finest first.
        num_classes: K.
        box_coder: how four numbers in [0,1] become a box: ``fractions`` of the image.
        queries: Q, more than an image has objects.
        transformer: its sizes.
        levels: maps that are read; those beyond the neck's are made by convolutions with stride 2.
        points: that a head reads on each map.
        groups: of the norms behind the projections to the transformer's width.
        refine: each layer corrects the box of the layer before, and has a classifier of its own; else all layers
            share one, and boxes are seen from a point of the query's.
        two_stage: the encoder's cells propose the boxes with which the queries start; needs ``refine``. Their loss,
            object or not, is the auxiliary ``encoder``.
        aux: every layer of the decoder predicts, not only the last (the paper's auxiliary losses).
        prior: where untrained scores start.

    Source: Zhu et al. 2021 (arXiv:2010.04159), section 4; fundamentalvision/Deformable-DETR.
    """

    name: ClassVar[str] = "deformable_detr"
    gives = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.SIGMOID_SCORES})

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        box_coder: BoxCoder,
        queries: Queries = 300,
        transformer: Transformer = SIZES,
        levels: Count = 4,
        points: Count = 4,
        groups: Count = 32,
        refine: bool = False,
        two_stage: bool = False,
        aux: bool = True,
        prior: Annotated[float, Field(gt=0, lt=1)] = 0.01,
    ) -> None:
        super().__init__()
        check(features, transformer, levels=levels, groups=groups, refine=refine, two_stage=two_stage)
        width, depth = transformer.width, transformer.decoder_layers
        self.coder, self.aux, self.refine, self.queries = box_coder, aux, refine, queries
        self.encoder = DeformableEncoder(features, size=transformer, levels=levels, points=points, groups=groups)
        self.layers = nn.ModuleList(
            DeformableDecoderLayer(transformer, points=points, levels=levels) for _ in range(depth)
        )
        self.learned = None if two_stage else LearnedStart(queries, width)
        self.proposals = ProposalStart(width) if two_stage else None
        count = depth + two_stage if refine else 1
        self.classes = nn.ModuleList(nn.Linear(width, num_classes) for _ in range(count))
        self.boxes = nn.ModuleList(Mlp(width, width, 4, depth=3) for _ in range(count))
        self._start(prior)

    @torch.no_grad()
    def _start(self, prior: float) -> None:
        """Matrices of the transformer by Xavier; scores at ``prior``; boxes upon their references."""
        for part in (self.encoder.layers, self.layers):
            start(part)
            for module in part.modules():
                if isinstance(module, DeformableAttention):
                    module.start()
        for classes in self.classes:
            nn.init.constant_(classes.get_parameter("bias"), -math.log((1 - prior) / prior))
        for boxes in self.boxes:
            nn.init.zeros_(boxes.get_parameter("4.weight"))
            nn.init.zeros_(boxes.get_parameter("4.bias"))
        if self.proposals is None:
            self.boxes[0].get_parameter("4.bias")[2:] = -2.0  # sides of 0.12

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """The image's rectangle Q times, and predictions of the last layer with those before as ``aux``."""
        memory = self.encoder(features, batch)
        first: tuple[Auxiliary, ...] = ()
        if self.proposals is None:
            assert self.learned is not None
            begin = self.learned(memory.cells.shape[0])
        else:
            begin, proposed = self.propose(memory, self.proposals)
            squares = whole_image(batch, memory.cells.shape[1], self.coder)
            first = (Auxiliary("encoder", proposed, squares, one_class=True),)
        said = self.decode(begin, memory)
        found = with_aux(said, aux=self.aux)
        return whole_image(batch, begin.content.shape[1], self.coder), replace(found, aux=first + found.aux)

    def decode(self, begin: Start, memory: DeformableMemory) -> list[Predictions]:
        """Predictions of every layer."""
        content, reference = begin.content, begin.reference
        said = []
        for row, layer in enumerate(self.layers):
            content = layer(content, begin.position, memory.on_maps(reference), memory)
            predictions = self.predict(content, reference, row if self.refine else 0)
            said.append(predictions)
            if self.refine:
                reference = predictions.deltas.squeeze(2).detach()
        return said

    def predict(self, content: Tensor, reference: Tensor, row: int) -> Predictions:
        """Classes and boxes of one layer's answer [B,Q,F], seen from its references [B,Q,2 or 4]."""
        boxes = self.boxes[row](content)
        seen = logit(reference).to(boxes.dtype)
        boxes = torch.cat([boxes[..., : seen.shape[2]] + seen, boxes[..., seen.shape[2] :]], dim=2)
        return Predictions(self.classes[row](content), self.scoring, boxes.sigmoid().unsqueeze(2))

    def propose(self, memory: DeformableMemory, proposals: ProposalStart) -> tuple[Start, Predictions]:
        """The queries of the cells that score best by class 0, which stands for any object, and what all cells say."""
        said, squares = proposals.cells(memory)
        scores, boxes = self.classes[-1](said), self.boxes[-1](said) + squares  # [B,S,K], [B,S,4]
        best = scores[..., 0].topk(min(self.queries, said.shape[1]), dim=1).indices  # [B,Q]
        begin = proposals(gather_rows(boxes, best).detach())
        return begin, Predictions(scores, self.scoring, boxes.sigmoid().unsqueeze(2))


def check(
    features: FeatureSpecs, size: Transformer, *, levels: int, groups: int, refine: bool, two_stage: bool
) -> None:
    """Reject what does not fit together.

    Raises:
        RecipeError: fewer levels than maps, a width that is no multiple of groups, two stages without refinement.
    """
    if levels < len(features):
        raise RecipeError(
            f"head deformable_detr: levels {levels} are fewer than the {len(features)} maps that it is given; raise "
            "levels, or choose fewer with backbone.levels"
        )
    if size.width % groups:
        raise RecipeError(
            f"head deformable_detr: transformer.width {size.width} must be a multiple of groups, {groups}"
        )
    if two_stage and not refine:
        raise RecipeError("head deformable_detr: two_stage: true needs refine: true, as proposals are boxes")
