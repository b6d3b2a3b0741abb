"""Normalisation: the pixels that a set of weights was trained on, as a backbone declares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Normalisation:
    """How pixels were normalised: (value / 255 * pixel_range - mean) / std, channel by channel.

    It belongs to weights, not to an architecture: torchvision's detection VGG16 and its ImageNet VGG16 differ in it.

    Args:
        mean: in the order of ``channels``.
        std: likewise.
        channels: order of the channels.
        pixel_range: 1 where values lie in [0,1] before mean and std are applied, 255 where in [0,255].
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: Literal["rgb", "bgr"] = "rgb"
    pixel_range: Literal[1, 255] = 1

    def describe(self) -> str:
        """As the keys of a recipe's ``input``."""
        return (
            f"channels: {self.channels}, mean: [{numbers(self.mean)}], std: [{numbers(self.std)}], "
            f"pixel_range: {self.pixel_range}"
        )


def numbers(values: Sequence[float]) -> str:
    """As a recipe writes them."""
    return ", ".join(f"{value:g}" for value in values)
