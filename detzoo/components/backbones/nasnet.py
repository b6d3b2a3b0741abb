"""NASNet-A out of timm, as TensorFlow's detectors cut it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.components.backbones.feature_extractor import check_levels, feature_specs
from detzoo.components.backbones.inception_resnet import INCEPTION
from detzoo.components.backbones.timm import import_timm
from detzoo.interfaces import Backbone
from detzoo.types import FeatureMaps

_LEVELS: Final = {"s8": 8, "s16": 16}
_WIDTH: Final = 24
"""Channels of the s16 map for each filter, and of the last map, whose width timm calls ``num_features``."""


class NasNet(Backbone):
    """NASNet-A up to its second reduction. Needs the extra ``detzoo[timm]``; timm's nasnetalarge loads.

    A cell looks at the two before it, so the map of stride 16 is the outputs of cells 10 and 11 side by side: the rest
    of the network (``roi_box_tail``) takes them apart again.

    Source: Zoph et al. 2018 (arXiv:1707.07012); TensorFlow's ``faster_rcnn_nas_feature_extractor``.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s8`` (cell_5, 6 channels per filter), ``s16`` (cells 10 and 11, 24 per filter: 4032).
        filters: of the cells: 168 (large).
    """

    name: ClassVar[str] = "nasnet"
    expects = INCEPTION

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s16",),
        filters: Annotated[int, Field(ge=4, le=512, multiple_of=4)] = 168,
    ) -> None:
        super().__init__()
        check_levels("NasNet", levels, tuple(_LEVELS))
        timm = import_timm("backbone nasnet")
        self.body = timm.create_model("nasnetalarge", pretrained=False, num_features=filters * _WIDTH)
        self.levels = tuple(levels)
        names = [name for name, _ in self.body.named_children()]
        left_out = names[names.index("cell_11") + 1 :]
        self.classifier_keys = tuple(f"{name}.*" for name in left_out)
        for name in left_out:
            delattr(self.body, name)
        self.out = feature_specs(self, {level: _LEVELS[level] for level in levels}, input_size)

    def forward(self, pixels: Tensor) -> FeatureMaps:
        """Maps by level, finest first."""
        body: Any = self.body
        stem = body.conv0(pixels)
        before = body.cell_stem_0(stem)
        last = body.cell_stem_1(stem, before)
        before, last = run_cells(body, before, last, range(6))
        maps: FeatureMaps = {"s8": last}
        # as in the classifier, the first cell behind a reduction looks at the one two before it
        reduced = body.reduction_cell_0(last, before)
        before, last = run_cells(body, reduced, body.cell_6(reduced, before), range(7, 12))
        maps["s16"] = torch.cat([before, last], dim=1)  # [B,24*filters,h,w]
        return {level: maps[level] for level in self.levels}


class NasNetTail(nn.Module):
    """What comes behind the map of stride 16: [R,24*filters,h,w] -> [R,24*filters,h/2,w/2].

    Args:
        channels: of that map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        import_timm("head roi_box_tail")
        from timm.models.nasnet import FirstCell, NormalCell, ReductionCell1

        n = channels // _WIDTH  # filters
        self.reduction_cell_1 = ReductionCell1(12 * n, 4 * n, 12 * n, 4 * n, pad_type="same")
        self.cell_12 = FirstCell(12 * n, 2 * n, 16 * n, 4 * n, pad_type="same")
        self.cell_13 = NormalCell(16 * n, 4 * n, 24 * n, 4 * n, pad_type="same")
        for number in range(14, 18):
            self.add_module(f"cell_{number}", NormalCell(24 * n, 4 * n, 24 * n, 4 * n, pad_type="same"))

    def forward(self, x: Tensor) -> Tensor:
        """Cells 12 to 17."""
        before, last = x.chunk(2, dim=1)  # undoes the concatenation at stride 16: cells 10 and 11
        reduced = self.reduction_cell_1(last, before)
        _, last = run_cells(self, reduced, self.cell_12(reduced, before), range(13, 18))
        return torch.relu(last)  # cells begin with a ReLU, so the last output has none yet


def run_cells(network: nn.Module, before: Tensor, last: Tensor, numbers: range) -> tuple[Tensor, Tensor]:
    """Cells that each take the outputs of the two before; returns the last two outputs."""
    for number in numbers:
        before, last = last, network.get_submodule(f"cell_{number}")(last, before)
    return before, last
