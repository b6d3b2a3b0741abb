"""SSD's default boxes ("priors"): one generator for every published set of them."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors
from detzoo.types import FeatureMaps, FeatureSpecs, Level

Clip: TypeAlias = Literal["none", "size", "centre_size", "corners"]
Positive = Annotated[float, Field(gt=0, le=100_000)]
MAX_PRIORS = 4_000_000
"""More than 100 times SSD512's 24,564: beyond it a recipe is wrong, and the memory would be gone before anyone saw."""


class SsdPriors(Anchors):
    """Squares and elongated boxes around the middle of every cell.

    In each cell, for each of the level's sizes s: a square of s; a square of √(s · max) where the level has a max
    size; then s·√r × s/√r for each ratio r (with ``flip``, followed at once by its transpose). ``extra_at`` may move
    the second square to the end.

    Args:
        features: the maps the priors stand on, finest first.
        sizes: for each level, the sides of its squares, in ``unit``.
        max_sizes: for each level, the partner of its size in the extra square √(size · max), in ``unit``; null for a
            level without one; null altogether for none.
        ratios: for each level, width / height of its elongated boxes; 1 is not listed.
        flip: whether each ratio r also gives 1/r. Off where a set has an order of its own, as the PyTorch tutorial's
            2, 3, 1/2, 0.333.
        last_extra: side of the last level's extra square, in ``unit``, where it isn't √(size · max): the tutorial's
            1.0. The last of ``max_sizes`` is null then.
        first_square: side of the first level's square, in ``unit``, where it isn't its size: TensorFlow's 0.1 beside
            elongated boxes of 0.2 (``reduce_boxes_in_lowest_layer``).
        extra_at: where the extra square stands in its cell: ``second``, behind the square (paper), or ``last``, behind
            the elongated boxes (TensorFlow).
        unit: ``px``: network pixels, so that squares stay square on any input (Caffe); ``fraction``: of the input's
            width and height (torchvision and most ports).
        steps: for each level, network px from one cell's middle to the next (Caffe, torchvision's SSD300); null for
            input size / map size (the paper's formula, torchvision's SSDLite, the tutorial).
        offset: where in its cell a prior stands, in cells; 0.5 is the middle.
        clip: ``none`` (Caffe's ssd_pascal); ``size`` cuts width and height to the input's (torchvision);
            ``centre_size`` cuts centre, width and height each on its own (amdegroot, lufficc, the tutorial);
            ``corners`` cuts the box to the input (Caffe's clip: true).
        integer_cut: drop the fraction of sizes and max sizes (only ``px``): Caffe's PriorBoxLayer reads them as int,
            which moves SSD512's boxes by up to 0.0027 of the image.

    Source: Liu et al. 2016, section 2.2; weiliu89/caffe prior_box_layer.cpp; TensorFlow's
    multiple_grid_anchor_generator.py and MediaPipe's ssd_anchors_calculator.cc. Boxes in px are computed in float64 and
    rounded once. Fractions are computed in float32, step by step as in torchvision: many objects overlap two priors
    equally, and the last bit then decides which of them is matched.
    """

    one_size = True

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        sizes: list[list[Positive]],
        max_sizes: list[Positive | None] | None,
        ratios: list[list[Positive]],
        flip: bool = True,
        last_extra: Positive | None = None,
        first_square: Positive | None = None,
        extra_at: Literal["second", "last"] = "second",
        unit: Literal["px", "fraction"] = "px",
        steps: list[Positive] | None = None,
        offset: Annotated[float, Field(ge=0, le=1)] = 0.5,
        clip: Clip = "none",
        integer_cut: bool = False,
    ) -> None:
        super().__init__()
        _check_levels(list(features), sizes=sizes, max_sizes=max_sizes, ratios=ratios, steps=steps)
        if integer_cut and unit != "px":
            raise RecipeError("integer_cut: true needs unit: px; fractions of the image would all become 0.")
        self.names = tuple(features)
        self.strides = tuple(spec.stride for spec in features.values())
        self.unit, self.offset, self.clip = unit, offset, clip
        self.steps = None if steps is None else tuple(steps)
        cut = math.floor if integer_cut else float  # prior_box_layer.cpp reads them into int
        partners = max_sizes if max_sizes is not None else [None] * len(sizes)
        self.shapes = tuple(
            _shapes([cut(s) for s in level], None if partner is None else cut(partner), level_ratios, flip)
            for level, partner, level_ratios in zip(sizes, partners, ratios, strict=True)
        )
        if last_extra is not None:
            if partners[-1] is not None:
                raise RecipeError("last_extra replaces the last of max_sizes; make that one null, or drop last_extra.")
            self.shapes = (*self.shapes[:-1], _with_extra(self.shapes[-1], last_extra))
        if extra_at == "last":
            extra = [partner is not None for partner in partners[:-1]]
            has_extra = [*extra, partners[-1] is not None or last_extra is not None]
            self.shapes = tuple(
                (level[0], *level[2:], level[1]) if own else level
                for level, own in zip(self.shapes, has_extra, strict=True)
            )
        if first_square is not None:
            self.shapes = (((first_square, first_square), *self.shapes[0][1:]), *self.shapes[1:])
        self._made: dict[tuple[object, ...], Tensor] = {}

    def per_cell(self) -> tuple[int, ...]:
        """Priors in each cell of each level."""
        return tuple(len(level) for level in self.shapes)

    def forward(self, features: FeatureMaps, size: tuple[int, int]) -> tuple[Tensor, tuple[Level, ...]]:
        """Priors of maps of these sizes on an input of ``size``; see Anchors.forward."""
        maps = [features[name] for name in self.names]
        grids = tuple((int(m.shape[-2]), int(m.shape[-1])) for m in maps)
        boxes = self.boxes(grids, (int(size[0]), int(size[1])), str(maps[0].device))
        levels = tuple(
            Level(name=name, height=h, width=w, per_cell=len(shapes), stride=step)
            for name, (h, w), shapes, step in zip(
                self.names, grids, self.shapes, self.steps or self.strides, strict=True
            )
        )
        return boxes, levels

    @torch.no_grad()
    def boxes(self, grids: tuple[tuple[int, int], ...], size: tuple[int, int], device: str) -> Tensor:
        """All priors, made once for each combination of sizes.

        Args:
            grids: (height, width) of each map.
            size: (height, width) of the input, px.
            device: where the result lives.

        Returns:
            float32 [N,4] xyxy px.
        """
        key = (grids, size, device)  # made once: float64 on the CPU, then copied
        if key not in self._made:
            count = sum(h * w * n for (h, w), n in zip(grids, self.per_cell(), strict=True))
            if count > MAX_PRIORS:
                raise RecipeError(f"{count:,} priors on an input of {size[0]}x{size[1]}; {MAX_PRIORS:,} at most.")
            levels = [self._level(level, grid, size) for level, grid in enumerate(grids)]
            made = torch.cat(levels).to(torch.float32).to(device)
            if torch.compiler.is_compiling():  # a traced tensor must not stay in the cache
                return made
            if len(self._made) >= 8:  # inputs of ever-changing size must not fill the memory
                self._made.clear()
            self._made[key] = made
        return self._made[key]

    def _level(self, level: int, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """[h*w*per_cell,4] xyxy px of one level."""
        height, width = size
        # torchvision's rounding decides between equal IoUs
        dtype = torch.float32 if self.unit == "fraction" else torch.float64
        scale = torch.tensor([width, height], dtype=dtype)
        extent = torch.ones_like(scale) if self.unit == "fraction" else scale
        step = None if self.steps is None else self.steps[level]
        # cells per side, not always whole
        across, down = (grid[1], grid[0]) if step is None else (width / step, height / step)
        columns = (torch.arange(grid[1], dtype=dtype) + self.offset) / across
        rows = (torch.arange(grid[0], dtype=dtype) + self.offset) / down
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        sides = torch.tensor(self.shapes[level], dtype=dtype)
        centres = (torch.stack((x, y), -1) * extent)[:, :, None].expand(*grid, len(sides), 2)  # [h,w,A,2]
        sides = sides.expand(*grid, -1, 2)
        if self.clip in {"size", "centre_size"}:
            sides = torch.minimum(sides, extent)  # torchvision clips width and height to 1
        if self.clip == "centre_size":
            centres = torch.minimum(centres, extent)
        boxes = torch.cat((centres - 0.5 * sides, centres + 0.5 * sides), -1).reshape(-1, 4)
        if self.clip == "corners":
            boxes = torch.minimum(boxes.clamp(min=0), extent.repeat(2))
        return boxes if self.unit == "px" else boxes * scale.repeat(2)  # fractions become px last, as in torchvision


def _shapes(
    sizes: list[float], partner: float | None, ratios: list[float], flip: bool
) -> tuple[tuple[float, float], ...]:
    """(width, height) of the priors of one cell."""
    shapes: list[tuple[float, float]] = []
    for size in sizes:
        shapes.append((size, size))
        if partner is not None:
            shapes.append((math.sqrt(size * partner),) * 2)
        for ratio in ratios:
            root = math.sqrt(ratio)
            shapes.append((size * root, size / root))
            if flip:
                shapes.append((size / root, size * root))
    return tuple(shapes)


def _with_extra(shapes: tuple[tuple[float, float], ...], extra: float) -> tuple[tuple[float, float], ...]:
    return (shapes[0], (extra, extra), *shapes[1:])  # second: where the extra square of a level stands


def _check_levels(
    names: list[str],
    *,
    sizes: list[list[float]],
    max_sizes: list[float | None] | None,
    ratios: list[list[float]],
    steps: list[float] | None,
) -> None:
    """Every list speaks about the same levels, and says something about each."""
    for field, values in {"sizes": sizes, "max_sizes": max_sizes, "ratios": ratios, "steps": steps}.items():
        if values is not None and len(values) != len(names):
            raise RecipeError(
                f"{field} has {len(values)} entries, but the head gets {len(names)} maps: {', '.join(names)}. "
                "Give one entry for each map."
            )
    for index, level in enumerate(sizes):
        if not level:
            raise RecipeError(f"sizes[{index}] is empty: map {names[index]} would have no prior.")
        if max_sizes is not None and max_sizes[index] is not None and len(level) != 1:
            raise RecipeError(f"max_sizes[{index}] pairs with one size, but sizes[{index}] has {len(level)}.")
