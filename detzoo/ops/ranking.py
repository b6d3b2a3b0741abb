"""Picking and ordering rows of padded batches."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def allows_dynamic_shapes(tensor: Tensor) -> bool:
    """Whether shapes may depend on the data: on the CPU, where looking costs nothing, and outside the compiler.

    Every data-dependent fast path of detzoo asks this, so a search for it finds them all.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def extreme_rows(values: Tensor, count: int, *, largest: bool) -> Tensor:
    """Places of the ``count`` largest or smallest values, best first; of equal values the earlier place first.

    ``topk`` promises nothing about equal values, and centres on a grid tie all the time.

    Args:
        values: float [...,N], not negative; infinity is allowed.
        count: N at most.
        largest: else the smallest.

    Returns:
        int64 [...,count].
    """
    # bits of floats that are not negative are ordered as the floats are: one whole number holds value and place
    bits = values.float().contiguous().view(torch.int32).long() << 32
    place = torch.arange(values.shape[-1], device=values.device)
    key = bits | (values.shape[-1] - 1 - place if largest else place)
    return key.topk(count, dim=-1, largest=largest).indices


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` [B,S] of ``values`` [1 or B,N,...] -> [B,S,...]."""
    images, count = values.shape[:2]
    if images > 1:
        index = index + torch.arange(images, device=index.device).unsqueeze(1) * count
    # one flat index_select is several times faster than a gather whose index is expanded
    return values.flatten(0, 1).index_select(0, index.flatten()).view(*index.shape, *values.shape[2:])


def compact(values: Tensor, mask: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """The true entries of each image, moved to the front. The shape depends on the data.

    Args:
        values: float [B,N,K], on the CPU.
        mask: bool [B,N,K]; an array, for NumPy finds a few true entries among millions three times as fast as torch.

    Returns:
        values float [B,S] padded with -inf, and their places int64 [B,S] in the flattened [N*K], ascending and padded
        with 0; S is the largest count of an image.
    """
    batch, rows, classes = mask.shape
    place = torch.from_numpy(np.flatnonzero(mask))
    row = place // max(1, classes)
    return pack(values.flatten(0, 1)[row, place - row * classes], place, batch, rows * classes)


def pack(chosen: Tensor, place: Tensor, batch: int, per_image: int) -> tuple[Tensor, Tensor]:
    """Entries of a batch, moved to the front of their images. The shape depends on the data.

    Args:
        chosen: float [P].
        place: int64 [P] in the flattened batch, ascending.
        batch: B.
        per_image: places of an image.

    Returns:
        as ``compact``.
    """
    if batch == 1:
        return chosen.unsqueeze(0), place.unsqueeze(0)
    ends = torch.searchsorted(place, torch.arange(1, batch + 1) * per_image)
    count = ends.diff(prepend=ends.new_zeros(1))
    image = torch.repeat_interleave(torch.arange(batch), count)
    place = place - image * per_image
    size = int(count.max()) if batch else 0
    # place within its image, plus image * S
    slot = torch.arange(place.numel()) + (image * size - (ends - count)[image])
    packed = chosen.new_full((batch * size,), -math.inf).index_copy_(0, slot, chosen)  # -inf: sorts behind any score
    places = torch.zeros(batch * size, dtype=torch.int64).index_copy_(0, slot, place)
    return packed.view(batch, size), places.view(batch, size)


def best_of_each_class(values: Tensor, places: Tensor, shape: tuple[int, int], top: int) -> tuple[Tensor, Tensor]:
    """What is among the ``top`` of its class, of equal values the earlier place first; packed as ``pack`` does.

    Args:
        values: float [B,P], on the CPU, padded with -inf.
        places: int64 [B,P] in the flattened [N,K], ascending where the values are no padding.
        shape: (N, K).
        top: the most of a class that stay.
    """
    count, classes = shape
    batch = values.shape[0]
    if count <= top:
        return values, places
    dense = torch.full((batch, count * classes), -math.inf)
    inside = values > -math.inf
    image, slot = inside.nonzero().unbind(1)
    dense[image, places[image, slot]] = values[inside]
    dense = dense.view(batch, count, classes).transpose(1, 2).contiguous()  # [B,K,N]
    least = dense.topk(top, dim=2).values[..., -1:]
    above, equal = dense > least, dense == least
    room = top - above.sum(2, keepdim=True)
    chosen = (above | (equal & (equal.cumsum(2) <= room))) & (dense > -math.inf)
    return compact(dense.transpose(1, 2), chosen.transpose(1, 2).numpy())


def rank_in_group(group: Tensor) -> Tensor:
    """int64 [B,N]: how many earlier entries of its row belong to the same group."""
    ordered, order = group.sort(dim=1, stable=True)  # stable: earlier entries stay earlier within their group
    places = torch.arange(group.shape[1], device=group.device).expand_as(group)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = torch.where(fresh, places, 0).cummax(1).values
    return torch.zeros_like(group).scatter(1, order, places - start)
