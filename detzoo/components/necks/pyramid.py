"""What necks of several levels have to check and to declare."""

from __future__ import annotations

import itertools

from detzoo.errors import RecipeError
from detzoo.types import FeatureSpec, FeatureSpecs


def check_pyramid(neck: str, features: FeatureSpecs, *, equal: bool = False) -> None:
    """Reject maps that are not a pyramid, each level coarser than the one before.

    Args:
        neck: its name, for the message.
        features: what it will get.
        equal: whether neighbours of one stride are a pyramid too, as in torchvision's FPN on MobileNet v3.

    Raises:
        RecipeError: with the strides found.
    """
    strides = [spec.stride for spec in features.values()]
    if not strides or any(a > b or (a == b and not equal) for a, b in itertools.pairwise(strides)):
        found = ", ".join(f"{name} (stride {spec.stride:g})" for name, spec in features.items()) or "none"
        rule = "never become finer" if equal else "become coarser"
        raise RecipeError(
            f"neck: {neck} needs maps that {rule} from one to the next, found: {found}. "
            "Change backbone.levels, or use neck: {type: identity}."
        )


def coarser(spec: FeatureSpec) -> tuple[str, FeatureSpec]:
    """Name and spec of the map that a stride of two makes of ``spec``."""
    # 3x3, stride 2, pad 1 rounds up
    size = None if spec.size is None else ((spec.size[0] + 1) // 2, (spec.size[1] + 1) // 2)
    stride = spec.stride * 2
    return f"s{stride:g}", FeatureSpec(spec.channels, stride, size)
