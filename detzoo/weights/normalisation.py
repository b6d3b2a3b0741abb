"""The pixels that a set of weights was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open

from detzoo.errors import RecipeError, WeightsError
from detzoo.interfaces.normalisation import Normalisation, numbers
from detzoo.runtime.json_text import parse_object

IMAGENET: Final = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""torchvision's and timm's usual ImageNet weights."""

CAFFE: Final = Normalisation((104.0, 117.0, 123.0), (1.0, 1.0, 1.0), "bgr", 255)
"""Caffe's ImageNet weights, to the rounding in which their means are handed on (102.98, 115.95, 122.77 in R-CNN's)."""


NORMALISATION_KEY: Final = "normalisation"
"""Of the metadata of a safetensors file that records it, as JSON."""


def _are_three(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_finite(number) for number in value)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9 and math.isfinite(value)


_RECORDED: Final[dict[str, Callable[[Any], bool]]] = {
    "mean": _are_three,
    "std": lambda value: _are_three(value) and all(number > 0 for number in value),
    "channels": lambda value: value in ("rgb", "bgr"),
    "pixel_range": lambda value: type(value) in (int, float) and value in (1, 255),
}


def recorded_normalisation(path: Path) -> Normalisation | None:
    """What a file of weights says of the pixels that it was trained on; None where it says nothing.

    Raises:
        WeightsError: its metadata were altered.
    """
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, framework="numpy") as file:  # the header alone
        written = (file.metadata() or {}).get(NORMALISATION_KEY)
    if written is None:
        return None
    place = f"{path}: the metadata {NORMALISATION_KEY!r} were altered or damaged; import the weights again"
    values = parse_object(written, place, _RECORDED, error=WeightsError)
    return Normalisation(tuple(values["mean"]), tuple(values["std"]), values["channels"], values["pixel_range"])


def check_normalisation(
    expects: Normalisation | None,
    *,
    channels: str,
    mean: Sequence[float],
    std: Sequence[float],
    pixel_range: float,
    weights: str,
    tolerance: float = 0.01,
) -> None:
    """Reject an input whose normalisation is not that of the weights.

    Args:
        expects: what the weights were trained on; None where nobody said.
        channels: the recipe's channel order.
        mean: the recipe's mean, in that order and range.
        std: the recipe's standard deviation.
        pixel_range: the recipe's range of values before mean and std.
        weights: name of the weights, for the message.
        tolerance: allowed difference of black and white after normalisation; rounded constants stay below it.

    Raises:
        RecipeError: they differ.
    """
    if expects is None:
        return
    given = _black_and_white(mean, std, pixel_range, channels)
    wanted = _black_and_white(expects.mean, expects.std, expects.pixel_range, expects.channels)
    # relative: Caffe's run to 151
    apart = max(abs(g - w) / max(1.0, abs(w)) for g, w in zip(given, wanted, strict=True))
    if channels == expects.channels and apart <= tolerance:
        return
    found = f"channels: {channels}, mean: [{numbers(mean)}], std: [{numbers(std)}], pixel_range: {pixel_range:g}"
    raise RecipeError(
        f"input: normalisation does not fit the backbone's weights ({weights}).\n"
        f"  found:    {found}\n"
        f"  expected: {expects.describe()}\n"
        "  Write the expected values under input, or set backbone.weights to null to train from scratch."
    )


def _black_and_white(mean: Sequence[float], std: Sequence[float], top: float, channels: str) -> list[float]:
    """The six numbers that black and white become: equal for equal normalisations, however they are written."""
    order = (0, 1, 2) if channels == "rgb" else (2, 1, 0)
    return [(value - mean[i]) / std[i] for value in (0.0, float(top)) for i in order]
