"""Contrastive denoising: queries that are made of the ground truth, and have to find it again.

Letters: B images, M ground truths, K classes, G denoising queries, Q other queries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.ops.boxes import area, cxcywh_to_xyxy, xyxy_to_cxcywh
from detzoo.types import BACKGROUND, IGNORE, Assignment, Targets
from detzoo_detr.box_coder import Fractions
from detzoo_detr.query_selection import logit

MATCHED: Final = -1
"""Group of the queries that are no denoising queries."""


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """How much noise, on how many queries.

    Args:
        queries: about half of G: groups are made until all their positives would be more, and one at least.
        label_noise: twice the share of queries whose class is replaced by a random one.
        box_noise: 1 moves the edges of positives by up to half a side, those of negatives by half to a whole.

    Source: Zhang et al. 2023, DINO (arXiv:2203.03605), section 3.3; values of RT-DETR (arXiv:2304.08069).
    """

    queries: Annotated[int, Field(ge=1, le=10_000)] = 100
    label_noise: Annotated[float, Field(ge=0, le=2)] = 0.5
    box_noise: Annotated[float, Field(ge=0)] = 1.0


@dataclass(frozen=True)
class Noise:
    """What is drawn for the queries, whatever the ground truth is.

    Args:
        relabel: float [B,G], 0..1: the class is replaced where it is small.
        label: int64 [B,G], 0..K-1: the random class.
        sign: float [B,G,4]: -1 or 1 for each edge.
        size: float [B,G,4], 0..1, for each edge.
    """

    relabel: Tensor
    label: Tensor
    sign: Tensor
    size: Tensor


@dataclass(frozen=True)
class DenoisingQueries:
    """Queries of the ground truth.

    Args:
        labels: int64 [B,G], 0..K-1, or K where a group has more places than the image has objects.
        boxes: float [B,G,4] logits of cx, cy, w, h in fractions of the network input.
        group: int64 [G], 0, 1, ...: queries of one group see each other.
        assignment: [B,G]: positives have their ground truth; places that no group takes are IGNORE.
    """

    labels: Tensor
    boxes: Tensor
    group: Tensor
    assignment: Assignment


def places(targets: Targets, settings: Denoising) -> int:
    """G: enough for all groups of any ground truth in M rows, so that nobody has to wait for the real number."""
    return 2 * max(settings.queries, targets.boxes.shape[1])


def draw_noise(images: int, count: int, classes: int, *, like: Tensor) -> Noise:
    """Noise for ``count`` queries of each image, from torch's generator, which the training seeds and stores.

    Args:
        images: B.
        count: G.
        classes: K.
        like: for the device.
    """
    device = like.device
    return Noise(
        torch.rand(images, count, device=device),
        torch.randint(0, classes, (images, count), device=device),
        torch.randint(0, 2, (images, count, 4), device=device) * 2.0 - 1.0,
        torch.rand(images, count, 4, device=device),
    )


@torch.no_grad()
def denoising_queries(
    targets: Targets, whole: Tensor, settings: Denoising, noise: Noise, *, classes: int
) -> DenoisingQueries:
    """Copies of the ground truth in groups: first one positive of each object, then one negative of each.

    All images have as many groups, of as many places: those of the image with most objects. How many that is never
    leaves the device: shapes follow from the padding alone.

    Args:
        targets: [B,M]; ground truth that is ignored or has no area is left out.
        whole: float [4] xyxy px: the network input.
        settings: how much noise.
        noise: [B,G].
        classes: K.

    Source: DINO, section 3.3; RT-DETR's ``get_contrastive_denoising_training_group``, whose queries these are, given
    its noise. What does not fit into groups stands behind them here, and takes no part.
    """
    wanted = targets.usable & (area(targets.boxes) > 0)  # as the matcher has it
    usable = F.pad(wanted, (0, 1))  # a row that is nobody's, so that there is one to read
    order = usable.int().argsort(dim=1, descending=True, stable=True)  # [B,M+1]: the usable ones first
    objects = usable.sum(1)  # [B]
    most = objects.max()
    slot = torch.arange(noise.relabel.shape[1], device=most.device)  # [G]
    length = most.clamp(min=1)
    group, within = slot // (2 * length), slot % (2 * length)
    negative, rank = within >= length, within % length
    used = (group < (settings.queries // length).clamp(min=1)) & (most > 0)  # [G]
    present = used & (rank < objects.unsqueeze(1))  # [B,G]
    row = order.gather(1, rank.expand_as(present))
    labels = F.pad(targets.labels, (0, 1)).gather(1, row)
    drawn = noise.relabel < settings.label_noise / 2
    labels = torch.where(present, torch.where(drawn, noise.label, labels), classes)
    truth = F.pad(targets.boxes, (0, 0, 0, 1)).gather(1, row.unsqueeze(2).expand(-1, -1, 4))
    exact = torch.where(present.unsqueeze(2), Fractions().encode(truth, whole, whole.new_ones(())), 0)
    part = (noise.size + negative[:, None]) * noise.sign  # [B,G,4]
    moved = cxcywh_to_xyxy(exact) + part * settings.box_noise * exact[..., 2:].repeat(1, 1, 2) / 2
    boxes = logit(xyxy_to_cxcywh(moved.clamp(0, 1)))
    index = torch.where(present & ~negative, row, torch.where(used, BACKGROUND, IGNORE))
    return DenoisingQueries(labels, boxes, group, Assignment(index))


def attention_bias(group: Tensor, queries: int) -> Tensor:
    """Who sees whom: denoising queries their own group and the Q others; the others only each other.

    Args:
        group: int64 [G].
        queries: Q.

    Returns:
        float32 [1,1,G+Q,G+Q], -inf where a row may not look at a column.
    """
    kind = F.pad(group, (0, queries), value=MATCHED)
    seen = (kind[:, None] == kind) | (kind == MATCHED)
    return torch.zeros(seen.shape, device=group.device).masked_fill(~seen, -math.inf)[None, None]
