"""Pooling of regions: which level a region belongs to, and how regions are spread over several maps.

Regions here are [R,5]: image index, then xyxy in network px, as torchvision.ops takes them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

from detzoo.ops.boxes import area, full_precision
from detzoo.ops.ranking import allows_dynamic_shapes

Pool: TypeAlias = Callable[[Tensor, Tensor, float], Tensor]
"""(map [B,C,h,w], regions [R,5], map cells per px) -> [R,c,oh,ow]."""

OUTSIDE: Final = -4096
"""Cells from the map's corner at which a region surely meets no map: all its samples are zeros, without gradient."""

CELLS_PER_SAMPLE: Final = 3
"""Cells that are copied to channels-last in the time in which torchvision's CPU kernel takes one sample: on 10x14 to
200x336 cells of 256 channels, 10 to 1,200 regions and one or two threads it is then the faster way, forward and with
gradients.
"""


def assign_levels(
    boxes: Tensor, strides: Sequence[float], *, canonical_size: float = 224.0, canonical_level: int = 4
) -> Tensor:
    """Index into ``strides`` of the map that each box is pooled from.

    ``k = floor(canonical_level + log2(sqrt(area) / canonical_size) + 1e-6)``, clamped to the levels there are, where
    level k is the map of stride 2^k. Of maps of one stride the first is used, and a level that is missing between two
    others is served by the next finer one.

    Args:
        boxes: float [...,4] xyxy network px.
        strides: network px per cell of each map, finest first.
        canonical_size: side in px of a box that belongs to ``canonical_level``.
        canonical_level: that level.

    Returns:
        int64 [...].

    Source: Lin et al. 2017 (arXiv:1612.03144), equation 1; torchvision.ops.poolers.LevelMapper, operation by
    operation. (There the epsilon keeps boxes of exactly 112, 224, ... px on the upper level.)
    """
    known = [round(math.log2(stride)) for stride in strides]
    # padding may be negative; log2(0) is -inf and clamps to the first
    side = full_precision(area(boxes)).clamp(min=0).sqrt()
    level = torch.floor(canonical_level + torch.log2(side / canonical_size) + 1e-6)
    place = level.clamp(known[0], known[-1]).to(torch.int64) - known[0]
    table = level_table(known)
    if table == list(range(len(table))):
        return place
    return torch.tensor(table, device=boxes.device)[place]


def level_table(known: Sequence[int]) -> list[int]:
    """For each level from the finest to the coarsest of ``known``: the first map of the next finer or equal level."""
    table = []
    for level in range(known[0], known[-1] + 1):
        finer = max(k for k in known if k <= level)
        table.append(list(known).index(finer))
    return table


def to_regions(boxes: Tensor, valid: Tensor, images: int, coarsest: float) -> Tensor:
    """Boxes [1 or B,P,4] as regions [B*P,5] with their image's index.

    Args:
        boxes: float xyxy network px.
        valid: bool [1 or B,P]; invalid boxes are moved outside every map, so that whatever stands in them is harmless.
            So are boxes with NaN or infinity (a training that diverges): the kernels would read outside of the map.
        images: B.
        coarsest: network px per cell of the coarsest map.
    """
    usable = (valid & boxes.isfinite().all(-1)).unsqueeze(-1)
    # detach: approximate joint training, no gradient through coordinates (Faster R-CNN, section 3.2)
    boxes = torch.where(usable, full_precision(boxes.detach()), outside(boxes, coarsest))
    count = boxes.shape[1]
    index = torch.arange(images, device=boxes.device, dtype=boxes.dtype).view(images, 1, 1).expand(images, count, 1)
    return torch.cat([index, boxes.expand(images, count, 4)], dim=-1).flatten(0, 1)


def outside(like: Tensor, stride: float) -> Tensor:
    """A box [4] of one cell that meets no map, on the device of ``like`` and in its dtype, float32 at least."""
    corner, opposite = OUTSIDE * stride, (OUTSIDE + 1) * stride
    # torch.arange is made on the device; a tensor from a list would be copied there, and waited for
    inner = torch.arange(4, device=like.device) < 2
    box = torch.full((4,), opposite, device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))
    return box.masked_fill(inner, corner)


def pool_on_levels(
    maps: Sequence[Tensor], regions: Tensor, strides: Sequence[float], levels: Tensor | None, pool: Pool
) -> Tensor:
    """Every region pooled from the map of its level.

    Maps narrower than float32 are widened for the pooling: the kernels want maps and regions of one dtype, and boxes
    in half precision would be off by a pixel.

    Args:
        maps: [B,C,h,w] each, C the same.
        regions: float [R,5].
        strides: network px per cell of each map.
        levels: int64 [R] index into ``maps``; None where there is one map.
        pool: pools from one map.

    Returns:
        [R,c,oh,ow] in the dtype of the first map.
    """
    wide = [full_precision(values) for values in maps]
    regions = regions.to(wide[0].dtype)
    if levels is None:
        return pool(wide[0], regions, 1 / strides[0]).contiguous().to(maps[0].dtype)
    way = pool_members if allows_dynamic_shapes(levels) else pool_all
    return way(wide, regions, strides, levels, pool).to(maps[0].dtype)


def pool_members(
    maps: Sequence[Tensor], regions: Tensor, strides: Sequence[float], levels: Tensor, pool: Pool
) -> Tensor:
    """The CPU's way: each map pools the regions of its level alone. Shapes depend on the data."""
    order = levels.argsort(stable=True)
    counts = torch.bincount(levels, minlength=len(maps)).tolist()
    ends = list(itertools.accumulate(counts))
    parts = []
    for values, stride, start, end in zip(maps, strides, [0, *ends], ends, strict=False):
        # a map without regions stays in the graph: its gradient is zero, not missing
        # no regions at all: the maps still give [0,c,oh,ow]
        if end > start or values.requires_grad or end == ends[-1] == 0:
            parts.append(pool(values, regions[order[start:end]], 1 / stride))
    pooled = torch.cat(parts)
    return pooled.new_empty(pooled.shape).index_copy_(0, order, pooled)


def pool_all(maps: Sequence[Tensor], regions: Tensor, strides: Sequence[float], levels: Tensor, pool: Pool) -> Tensor:
    """The way with static shapes: each map pools every region, but those of other levels lie outside: they add 0."""
    total: Tensor | None = None
    for level, (values, stride) in enumerate(zip(maps, strides, strict=True)):
        foreign = (levels != level).unsqueeze(1)
        moved = torch.where(foreign, outside(regions, stride), regions[:, 1:])
        pooled = pool(values, torch.cat([regions[:, :1], moved], dim=1), 1 / stride)
        total = pooled if total is None else total + pooled
    assert total is not None
    return total


def align_one(
    values: Tensor, regions: Tensor, scale: float, output: tuple[int, int], sampling_ratio: int, *, aligned: bool
) -> Tensor:
    """RoIAlign from one map, by whichever way is faster: torchvision's kernel or ``align``.

    Args:
        values: float [B,C,h,w].
        regions: float [R,5].
        scale: map cells per px.
        output: (oh, ow).
        sampling_ratio: samples along each side of a bin; 0: as many as the bin has cells.
        aligned: shift by half a cell.

    Returns:
        [R,C,oh,ow]; the channels may lie last in memory.
    """
    samples = regions.shape[0] * output[0] * output[1] * sampling_ratio**2
    cells = values.shape[0] * values.shape[2] * values.shape[3]
    is_fixed = torch.compiler.is_exporting()  # other runtimes have the operation itself
    if values.device.type == "cpu" and not is_fixed and samples * CELLS_PER_SAMPLE > cells:
        return align([values], regions, [1 / scale], None, output, sampling_ratio, aligned=aligned)
    pooled: Tensor = roi_align(values, regions, output, scale, sampling_ratio, aligned)
    return pooled


def align(
    maps: Sequence[Tensor],
    regions: Tensor,
    strides: Sequence[float],
    levels: Tensor | None,
    output: tuple[int, int],
    sampling_ratio: int,
    *,
    aligned: bool,
) -> Tensor:
    """RoIAlign with a fixed number of samples as a weighted sum of rows, all maps at once -> [R,C,oh,ow].

    With the channels last, a bilinear sample is four rows of numbers next to each other, where torchvision's CPU
    kernel gathers single numbers; a tenth of the time, if there are regions enough to pay for turning the maps round.
    Shapes are static.

    Args:
        maps: float [B,C,h,w] each, C the same.
        regions: float [R,5].
        strides: network px per cell of each map.
        levels: int64 [R] index into ``maps``; None where there is one map.
        output: (oh, ow).
        sampling_ratio: samples along each side of a bin.
        aligned: shift by half a cell.

    Source: torchvision.ops.roi_align; equal up to the order of the sums.
    """
    cells = [values.shape[2] * values.shape[3] for values in maps]
    rows = [values.flatten(2).transpose(1, 2) for values in maps]
    # [B,cells of all maps,C], transposed in memory too: rows with gaps would be summed ten times slower
    table = rows[0].contiguous() if len(rows) == 1 else torch.cat(rows, dim=1)
    offsets = [0, *itertools.accumulate(cells[:-1])]
    height, width, start, stride = (
        choose(numbers, levels)
        for numbers in ([v.shape[2] for v in maps], [v.shape[3] for v in maps], offsets, list(strides))
    )
    corners = regions[:, 1:] * (1 / stride) - (0.5 if aligned else 0.0)
    corners, sides = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        sides = sides.clamp(min=1)  # as torchvision: one cell at least, unless aligned
    row, row_weight = taps(corners[:, 1], sides[:, 1], output[0], sampling_ratio, height)
    column, column_weight = taps(corners[:, 0], sides[:, 0], output[1], sampling_ratio, width)
    first = (regions[:, :1].long() * sum(cells) + start).view(-1, 1, 1, 1, 1)
    row = first + row[:, :, None, :, None] * (width if isinstance(width, int) else width.view(-1, 1, 1, 1, 1))
    index = row + column[:, None, :, None, :]  # [R,oh,ow,2 samples,2 samples]
    weight = row_weight[:, :, None, :, None] * column_weight[:, None, :, None, :]
    bag = (index.shape[0] * output[0] * output[1], 4 * sampling_ratio**2)
    pooled = F.embedding_bag(
        index.view(bag), table.flatten(0, 1), per_sample_weights=weight.view(bag).to(table.dtype), mode="sum"
    )
    return pooled.view(-1, *output, table.shape[2]).permute(0, 3, 1, 2)


def choose(numbers: Sequence[float], levels: Tensor | None) -> Any:
    """The number of each level, [R,1]; or the only number."""
    if levels is None:
        return numbers[0]
    chosen = torch.full_like(levels, numbers[0], dtype=torch.int64 if isinstance(numbers[0], int) else torch.float32)
    for level, number in enumerate(numbers[1:], start=1):
        chosen = torch.where(levels == level, number, chosen)
    return chosen.unsqueeze(1)


def taps(start: Tensor, side: Tensor, bins: int, samples: int, limit: Tensor | int) -> tuple[Tensor, Tensor]:
    """Cells and weights of the samples along one axis.

    Args:
        start: float [R] first edge, in cells.
        side: float [R] in cells.
        bins: number of bins.
        samples: in each bin.
        limit: cells of the map, int or int64 [R,1].

    Returns:
        int64 and float [R,bins,2*samples]: the two cells of each sample and their share in the bin's mean. Samples
        further than one cell outside the map weigh nothing.
    """
    if isinstance(limit, Tensor):
        limit = limit.unsqueeze(1)
    step = (side / bins).view(-1, 1, 1)
    bin_number = torch.arange(bins, device=start.device, dtype=start.dtype).view(1, -1, 1)
    sample = torch.arange(samples, device=start.device, dtype=start.dtype) + 0.5
    place = start.view(-1, 1, 1) + bin_number * step + sample * step / samples  # [R,bins,samples]
    # in the dtype of the places: a bool divided by an int would be float32
    share = ((place >= -1) & (place <= limit)).to(place.dtype) / samples
    place = place.clamp(min=0).clamp(max=limit - 1)
    low = place.floor()
    high = (low + 1).clamp(max=limit - 1)
    far = (place - low) * share
    near = share - far
    return torch.stack([low, high], dim=-1).flatten(2).long(), torch.stack([near, far], dim=-1).flatten(2)


def round_half_away(values: Tensor) -> Tensor:
    """C's ``round``: halves go away from zero, where torch.round takes the even neighbour."""
    whole = values.trunc()
    return whole + values.sign() * ((values - whole).abs() >= 0.5)


def ps_roi_pool(
    values: Tensor, regions: Tensor, scale: float, output: tuple[int, int], *, rounding: Literal["before", "after"]
) -> Tensor:
    """Position-sensitive RoI pooling: bin (i, j) of output channel c averages map channel ``(c * oh + i) * ow + j``.

    Bins reach from floor to ceil, clipped to the map; empty bins give 0. Sums come from an integral image, in float64.

    Args:
        values: float [B,c*oh*ow,h,w].
        regions: float [R,5].
        scale: map cells per px.
        output: (oh, ow).
        rounding: ``before``: corners are rounded to whole pixels, the right and bottom ones grow by 1, and only then
            is it scaled; sides are at least 0.1 cells. ``after``: corners are scaled, then rounded to cells; sides are
            at least 1 cell.

    Returns:
        [R,c,oh,ow] in the dtype of ``values``.

    Source: Dai et al. 2016 (arXiv:1605.06409), equation 1; ``before``: py-R-FCN's psroi_pooling_layer.cu; ``after``:
    torchvision.ops.ps_roi_pool, except that bins reach the map's last row and column: torchvision leaves them out
    forward, but not backward, so that its gradient there is of another function.
    """
    rows, columns = output
    images, channels, height, width = values.shape
    if rounding == "before":
        corners = round_half_away(regions[:, 1:3]) * scale
        sides = ((round_half_away(regions[:, 3:5]) + 1) * scale - corners).clamp(min=0.1)
    else:
        corners = round_half_away(regions[:, 1:3] * scale)
        sides = (round_half_away(regions[:, 3:5] * scale) - corners).clamp(min=1)
    left, right = bin_edges(corners[:, 0], sides[:, 0], columns, width)  # [R,ow]
    top, bottom = bin_edges(corners[:, 1], sides[:, 1], rows, height)  # [R,oh]
    # channels split into (c, bin), and the bins come before them, so that one flat index picks a whole column of c
    # float64: differences of large sums lose a float32's digits
    integral = F.pad(values.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
    bin_channels = channels // (rows * columns)
    integral = integral.view(images, bin_channels, rows, columns, height + 1, width + 1)
    integral = integral.permute(0, 2, 3, 4, 5, 1).flatten(0, 4)
    cell = torch.arange(rows * columns, device=values.device).view(1, rows, columns)
    # [R,oh,ow], first row of the bin's map
    start = (regions[:, 0].long().view(-1, 1, 1) * (rows * columns) + cell) * (height + 1)

    def at(row: Tensor, column: Tensor) -> Tensor:
        place = (start + row.unsqueeze(2)) * (width + 1) + column.unsqueeze(1)
        return integral.index_select(0, place.flatten()).view(*place.shape, bin_channels)

    total = at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left)
    cells = (bottom - top).unsqueeze(2) * (right - left).unsqueeze(1)
    # [R,c,oh,ow]; an empty bin is 0
    return (total / cells.clamp(min=1).unsqueeze(-1)).permute(0, 3, 1, 2).to(values.dtype)


def bin_edges(start: Tensor, side: Tensor, bins: int, limit: int) -> tuple[Tensor, Tensor]:
    """First cell and the cell after the last, int64 [R,bins], of each bin; clipped to the map, equal where empty."""
    step = (side / bins).unsqueeze(1)
    number = torch.arange(bins, device=start.device, dtype=start.dtype)
    first = (number * step + start.unsqueeze(1)).floor().clamp(0, limit)
    after = ((number + 1) * step + start.unsqueeze(1)).ceil().clamp(0, limit)
    return first.long(), torch.maximum(first, after).long()
