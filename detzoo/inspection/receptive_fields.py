"""What each cell of a feature map can see of the image, beside the sizes of the candidates that stand on it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from detzoo.detectors.one_stage import OneStage
from detzoo.detectors.two_stage import TwoStage
from detzoo.errors import DetzooError

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

LARGEST: Final = 4096
"""px; a cell that sees more than this sees every image whole."""
_SHORT: Final = 320  # px of the strip's other side: below it SSD's last maps would be empty
_ACTIVATIONS: Final = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.SiLU, nn.GELU, nn.Mish, nn.ELU, nn.PReLU)


@dataclass(frozen=True)
class ReceptiveField:
    """One level of a detector.

    Args:
        level: name of the feature map.
        stride: network px from one of its cells to the next.
        height: network px that a cell depends on, from top to bottom; None where it is more than ``LARGEST``.
        width: the same from left to right.
        smallest: side (root of the area, network px) of the smallest candidate of a cell; None without candidates.
        largest: of the largest.
    """

    level: str
    stride: int
    height: int | None
    width: int | None
    smallest: float | None
    largest: float | None

    def line(self) -> str:
        """As ``detzoo show --receptive-fields`` prints it."""
        sees = " x ".join("the whole side" if side is None else str(side) for side in (self.height, self.width))
        sizes = (
            f"candidates {self.smallest:.0f}..{self.largest:.0f} px"
            if self.smallest is not None and self.largest is not None
            else "no candidates of its own"
        )
        return f"{self.level}: stride {self.stride}, sees {sees} px, {sizes}"


def receptive_fields(detector: Detector) -> list[ReceptiveField]:
    """The theoretical receptive field of each map behind the neck: the pixels that can change a cell in the middle.

    Measured, not derived: in a copy of the network every weight is positive, activations and norms pass everything on,
    maxima are means, and the pixels that have a gradient are counted in a strip of an image. Norms over the whole map
    (GroupNorm) are not counted as seeing it; squeeze-and-excitation is, since it looks at the whole map on purpose.

    What a cell makes use of is much less: its weight falls off like a Gaussian around the middle (Luo et al., NIPS
    2016, arXiv:1701.04128).

    Args:
        detector: of one or two stages.

    Raises:
        DetzooError: it has no backbone and neck.
    """
    if not isinstance(detector, OneStage | TwoStage):
        raise DetzooError(f"{detector.name} has no backbone and neck whose maps could be looked at")
    net = transparent(nn.Sequential(copy.deepcopy(detector.backbone), copy.deepcopy(detector.neck)))
    specs = detector.neck.out
    heights, widths = (_extents(net, list(specs), across) for across in (False, True))
    sizes = _candidate_sizes(detector)
    nothing = (None, None)
    return [
        ReceptiveField(name, round(spec.stride), heights[name], widths[name], *sizes.get(name, nothing))
        for name, spec in specs.items()
    ]


def transparent(net: nn.Module) -> nn.Module:
    """Make every pixel that can have an influence have one, and a positive one."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            alone = not list(child.children())
            if isinstance(child, _ACTIVATIONS) or (alone and "Norm" in type(child).__name__):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, ceil_mode=child.ceil_mode)
                setattr(module, name, mean)
    for name, parameter in net.named_parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
        parameter.data.fill_(0.0 if name.endswith("bias") else 1 / fan_in)
    return net.eval()


def _extents(net: nn.Module, levels: Sequence[str], across: bool) -> dict[str, int | None]:
    """How many px of the long side of a strip the middle cell of each level depends on."""
    found: dict[str, int | None] = dict.fromkeys(levels)
    side, left = 512, list(levels)
    while left and side <= LARGEST:
        pixels = torch.ones(1, 3, *((_SHORT, side) if across else (side, _SHORT)), requires_grad=True)
        maps = net(pixels)
        for level in list(left):
            extent = _extent(maps[level], pixels, across)
            if extent < side - 1:  # it did not reach both ends
                found[level] = extent
                left.remove(level)
        side *= 2
    return found


def _extent(found: Tensor, pixels: Tensor, across: bool) -> int:
    middle = found[0, :, found.shape[2] // 2, found.shape[3] // 2].sum()
    (gradient,) = torch.autograd.grad(middle, pixels, retain_graph=True)
    seen = gradient[0].abs().sum((0, 1 if across else 2)).nonzero().flatten()
    return int(seen.max() - seen.min()) + 1


def _candidate_sizes(detector: OneStage | TwoStage) -> dict[str, tuple[float, float]]:
    """Smallest and largest side of the candidates of each level, at the recipe's own input size."""
    from detzoo.inspection.matches import blank
    from detzoo.prediction.predict import inference
    from detzoo.prediction.prepare import prepare

    batch = prepare([blank()], detector.input)
    with inference(detector):
        features = detector.neck(detector.backbone(batch.pixels))
        candidates = (
            detector.head(features, batch)[0]
            if isinstance(detector, OneStage)
            else detector.proposals.places(features, batch)
        )
    if candidates is None:
        return {}
    sizes, start = {}, 0
    for level in candidates.levels:
        boxes = candidates.boxes[0, start : start + level.count]
        start += level.count
        sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1).sqrt()
        low, high = float(sides.min()), float(sides.max())
        if math.isfinite(high) and high > 0:
            sizes[level.name] = (low, high)
    return sizes


def shown(target: str, overrides: Sequence[str]) -> str:
    """Build a recipe; one line per level."""
    from detzoo.builder import build

    detector = build(target, overrides=list(overrides), weights=None)
    return "\n".join(field.line() for field in receptive_fields(detector))
