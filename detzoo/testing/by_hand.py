"""Values of the contract from plain numbers, for tests that a reader can check by hand.

Boxes are (left, top, right, bottom) in network px, sizes (height, width) in px. Letters as in ``detzoo.types``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import torch

from detzoo.interfaces import BoxCoder
from detzoo.types import Candidates, ImageBatch, Level, Targets

Box: TypeAlias = tuple[float, float, float, float]
SIZE: Final = (96, 128)
"""(height, width) px of an input where none is named: not square, divisible by 32."""


def image_batch(count: int = 2, *, size: tuple[int, int] = SIZE, seed: int = 0) -> ImageBatch:
    """``count`` images of noise that fill the network input: nothing is padded, nothing was resized."""
    height, width = size
    return ImageBatch(
        pixels=torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed)),
        region=_whole(count, size),
        original_size=torch.tensor([height, width]).expand(count, 2).contiguous(),
        scale=torch.ones(count, 2),
        index=torch.arange(count),
    )


def targets(
    boxes: Sequence[Sequence[Box]],
    labels: Sequence[Sequence[int]] | None = None,
    *,
    ignore: Sequence[Sequence[bool]] | None = None,
    size: tuple[int, int] = SIZE,
    padded: int = 16,
) -> Targets:
    """Ground truth of a batch.

    Args:
        boxes: of each image; an empty list is an image without objects.
        labels: of each box, 0..K-1; all 0 when None.
        ignore: of each box: difficult or crowd; none is when None.
        size: of the images.
        padded: M, the rows to which every image is padded.

    Raises:
        ValueError: labels or flags do not belong to the boxes, or there are more boxes than rows.
    """
    made = Targets(
        boxes=torch.zeros(len(boxes), padded, 4),
        labels=torch.zeros(len(boxes), padded, dtype=torch.int64),
        ignore=torch.zeros(len(boxes), padded, dtype=torch.bool),
        valid=torch.zeros(len(boxes), padded, dtype=torch.bool),
        region=_whole(len(boxes), size),
    )
    for name, given in (("labels", labels), ("ignore", ignore)):
        if given is not None and [len(row) for row in given] != [len(row) for row in boxes]:
            raise ValueError(f"{name} has another shape than boxes: one list per image, one value per box")
    for image, own in enumerate(boxes):
        if len(own) > padded:
            raise ValueError(f"image {image} has {len(own)} boxes, but padded is {padded}")
        made.boxes[image, : len(own)] = torch.tensor(own, dtype=torch.float32).reshape(-1, 4)
        made.valid[image, : len(own)] = True
        if labels is not None:
            made.labels[image, : len(own)] = torch.tensor(labels[image], dtype=torch.int64)
        if ignore is not None:
            made.ignore[image, : len(own)] = torch.tensor(ignore[image], dtype=torch.bool)
    return made


def candidates(
    boxes: Sequence[Box] | None = None,
    *,
    size: tuple[int, int] = SIZE,
    strides: Sequence[int] = (16,),
    sides: Sequence[float] = (2.0,),
    coder: BoxCoder | None = None,
) -> Candidates:
    """Candidates that all images share: the boxes that are given, or squares in every cell of a grid.

    Args:
        boxes: regions, which have no levels; None makes a grid.
        size: of the input that the grid covers.
        strides: px per cell of each level: (8, 16) makes levels ``s8`` and ``s16``.
        sides: of the squares in each cell, in strides: two of them are two candidates per cell.
        coder: box coder of the head; None where nothing is decoded.

    Returns:
        boxes [1,N,4]; on a grid flattened level, row, column, side.
    """
    if boxes is not None:
        rows = torch.tensor(list(boxes), dtype=torch.float32).reshape(1, -1, 4)
        return Candidates(rows, torch.ones(rows.shape[:2], dtype=torch.bool), coder=coder)
    levels, made = [], []
    for stride in strides:
        height, width = size[0] // stride, size[1] // stride
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centre = (torch.stack([x, y], -1).reshape(-1, 1, 2) + 0.5) * stride  # [h*w,1,2]
        half = torch.tensor(list(sides)).view(1, -1, 1) * stride / 2
        made.append(torch.cat([centre - half, centre + half], -1).reshape(-1, 4))
        levels.append(Level(f"s{stride}", height, width, len(sides), float(stride)))
    every = torch.cat(made).unsqueeze(0)
    return Candidates(every, torch.ones(every.shape[:2], dtype=torch.bool), tuple(levels), coder)


def _whole(count: int, size: tuple[int, int]) -> torch.Tensor:
    """float32 [B,4]: the whole input."""
    return torch.tensor([0.0, 0.0, size[1], size[0]]).expand(count, 4).contiguous()
