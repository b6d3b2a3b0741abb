"""A chain of layers whose maps are tapped by name: what every backbone of the core is made of.

The layers live under ``body`` with the module names of torchvision's classification model, so that its state dict
loads by putting ``body.`` before each key (``detzoo.weights.backbone`` does it). Layers beyond the deepest level that
was asked for, classifier included, are not kept; ``classifier_keys`` names them, so that every key of a file is
accounted for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from detzoo.errors import RecipeError
from detzoo.interfaces import Backbone, Normalisation
from detzoo.runtime.near_names import nearest
from detzoo.types import FeatureMaps, FeatureSpec
from detzoo.weights.normalisation import IMAGENET

_PROBE = (256, 256)  # network px; large enough for stride 32, and only sizes are computed
_SAME_SHAPE: Final = frozenset(
    {
        functional.batch_norm,
        functional.group_norm,
        functional.hardsigmoid,
        functional.hardswish,
        functional.hardtanh,
        functional.leaky_relu,
        functional.relu,
        functional.relu6,
        functional.silu,
        torch.sigmoid,
    }
)


@dataclass(frozen=True)
class Tap:
    """Where a level leaves the chain.

    Args:
        step: the layer whose output it is, as a path below ``body``.
        stride: network px per cell.
    """

    step: str
    stride: float


class TappedBackbone(Backbone):
    """Runs ``body`` step by step and hands out the maps that ``levels`` names.

    Args:
        body: the layers. It is cut after the deepest level.
        steps: paths below ``body`` in the order of execution; each takes the output of the one before.
        taps: every level that can be asked for, finest first.
        levels: those that are, finest first.
        input_size: (height, width) of the network input in px where it is fixed; the sizes of ``out`` follow from it.
        absent: parts of the published model that ``body`` never had, such as its classifier.
    """

    expects: Normalisation | None = IMAGENET

    def __init__(
        self,
        body: nn.Module,
        *,
        steps: Sequence[str],
        taps: Mapping[str, Tap],
        levels: Sequence[str],
        input_size: tuple[int, int] | None,
        absent: Sequence[str] = (),
    ) -> None:
        super().__init__()
        check_levels(type(self).__name__, levels, tuple(taps))
        level_of = {taps[level].step: level for level in levels}
        last = max(steps.index(step) for step in level_of)  # layers behind it would have parameters without gradient
        self.body = body
        self.steps = tuple((step, level_of.get(step)) for step in steps[: last + 1])
        # so that a published state dict may hold them
        left_out = (*absent, *_cut(body, {step for step, _ in self.steps}))
        self.classifier_keys = tuple(f"{part}.*" for part in left_out)
        self.out = feature_specs(self, {level: taps[level].stride for level in levels}, input_size)

    def forward(self, pixels: Tensor) -> FeatureMaps:
        """Maps by level, finest first."""
        maps: FeatureMaps = {}
        x = pixels
        for step, level in self.steps:
            x = self.body.get_submodule(step)(x)
            if level is not None:
                maps[level] = x
        return maps


def feature_specs(
    backbone: nn.Module, strides: Mapping[str, float], input_size: tuple[int, int] | None
) -> dict[str, FeatureSpec]:
    """What ``backbone`` gives: channels and sizes from a pass over meta tensors, without arithmetic or memory.

    Args:
        backbone: finished; it gives maps by level.
        strides: of the levels that are declared.
        input_size: (height, width) of the network input; None: any, and no size is declared.
    """
    shapes = trace_shapes(backbone, input_size or _PROBE)
    return {
        level: FeatureSpec(shapes[level][0], stride, shapes[level][1:] if input_size else None)
        for level, stride in strides.items()
    }


def trace_shapes(backbone: nn.Module, size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
    """(channels, height, width) of each map of ``backbone`` for an input of ``size`` (height, width)."""
    # functional_call: the backbone itself never leaves its device
    state = {name: value.to("meta") for name, value in (*backbone.named_parameters(), *backbone.named_buffers())}
    pixels = torch.empty(2, 3, *size, device="meta")  # two images: batch norm in training mode rejects a single value
    try:
        with torch.no_grad(), _ShapesAlone():
            maps: FeatureMaps = torch.func.functional_call(backbone, state, (pixels,))
    except RuntimeError as error:
        raise RecipeError(
            f"{type(backbone).__name__} cannot take an input of {size[0]} x {size[1]} px (height x width): {error}. "
            "Choose a larger input.size, or fewer levels."
        ) from None
    return {name: (value.shape[1], value.shape[2], value.shape[3]) for name, value in maps.items()}


class _ShapesAlone(TorchFunctionMode):
    """Leaves out what changes no shape: on meta tensors norms and activations take nine tenths of the time."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func in _SAME_SHAPE else func(*args, **(kwargs or {}))


def check_levels(owner: str, levels: Sequence[str], known: Sequence[str]) -> None:
    """Reject levels that do not exist, repeat, or are not finest first.

    Raises:
        RecipeError: with the names that exist.
    """
    exist = f"{owner} has: {', '.join(known)}"
    if not levels:
        raise RecipeError(f"levels is empty: name at least one. {exist}")
    for level in levels:
        if level not in known:
            near = nearest(level, known, most=1)
            hint = f" ({near})" if near else ""
            raise RecipeError(f'levels: there is no level "{level}"{hint}. {exist}')
    ordered = sorted(set(levels), key=tuple(known).index)
    if list(levels) != ordered:
        raise RecipeError(
            f"levels: [{', '.join(levels)}] must be in the order of the network, each once: [{', '.join(ordered)}]"
        )


def _cut(module: nn.Module, kept: set[str], prefix: str = "") -> list[str]:
    """Delete what no step needs; return the paths of what was deleted."""
    dropped: list[str] = []
    for name, child in list(module.named_children()):  # a copy: children go while it runs
        path = prefix + name
        if path in kept:
            continue
        if any(step.startswith(path + ".") for step in kept):
            dropped += _cut(child, kept, path + ".")
        else:
            delattr(module, name)
            dropped.append(path)
    return dropped
