"""InputSpec: what a recipe writes below ``input:``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from detzoo.errors import RecipeError

Side = Annotated[int, Field(ge=1, le=16384)]
"""Network px of one side."""


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """How an image becomes network pixels: (value in ``pixel_range`` - mean) / std, per channel.

    Args:
        size: (height, width) of the network input; null for ``shortest``, whose size follows the images.
        resize: ``stretch`` ignores the aspect ratio; ``letterbox`` keeps it and pads to ``size``; ``shortest`` keeps
            it, makes the short side ``min_size`` unless the long side would pass ``max_size``, and pads the batch.
        channels: channel order of the network input; ``mean`` and ``std`` are given in the same order.
        mean: subtracted, in units of ``pixel_range``.
        std: divided by, in units of ``pixel_range``.
        pixel_range: white: 1 (torchvision) or 255 (Caffe).
        rounding: ``none`` interpolates in float32 (torchvision); ``uint8`` resizes bytes to bytes as cv2.resize does.
        normalise: ``after`` resizing, or ``before`` it (torchvision): equal but for rounding, up to 1e-6, which the
            norms of some networks make a thousand times larger.
        sampling: ``half_pixel`` or ``corners`` (darknet: the corner pixels' centres coincide).
        antialias: shrinking averages over all pixels that a new one covers (Pillow, torchvision's transforms), not over
            the two nearest each way. With ``rounding: uint8`` it is what torchvision makes of bytes.
        min_size: network px of the short side, ``shortest`` only.
        max_size: network px that the long side may not pass, ``shortest`` only.
        short_side: ``scaled``: both sides are cut to whole px (torchvision's detectors); ``exact``: the short side is
            ``min_size``, or what ``max_size`` leaves of it, rounded, and the long one is cut (DETR, transformers).
        pad_multiple: the padded size is rounded up to a multiple of it, ``shortest`` only (torchvision: 32).
        place: where ``letterbox`` puts the image (darknet: centre).
        fill: padding value in units of ``pixel_range`` (darknet: 0.5); null is ``mean``, that is 0 once normalised.

    Raises:
        RecipeError: the fields do not fit together.
    """

    name: ClassVar[str] = "input"
    kind: ClassVar[str] = "settings"
    size: tuple[Side, Side] | None = None
    resize: Literal["stretch", "letterbox", "shortest"] = "stretch"
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    pixel_range: Literal[1, 255] = 1
    rounding: Literal["none", "uint8"] = "none"
    normalise: Literal["after", "before"] = "after"
    sampling: Literal["half_pixel", "corners"] = "half_pixel"
    antialias: bool = False
    min_size: Side | None = None
    max_size: Side | None = None
    short_side: Literal["scaled", "exact"] = "scaled"
    pad_multiple: Annotated[int, Field(ge=1, le=1024)] = 1
    place: Literal["centre", "top_left"] = "centre"
    fill: float | None = None

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise RecipeError(f"input: {problem}")

    def _problems(self) -> list[str]:
        found = self._shortest_problems() if self.resize == "shortest" else self._fixed_problems()
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            found.append(f"std must be three positive numbers, not {list(self.std)}")
        if not all(math.isfinite(value) for value in self.mean):
            found.append(f"mean must be three numbers, not {list(self.mean)}")
        if self.rounding == "uint8" and self.sampling == "corners":  # cv2.resize samples at half pixels alone
            found.append("sampling: corners needs rounding: none")
        if self.antialias and self.sampling == "corners":  # torch averages around half pixels alone
            found.append("antialias: true needs sampling: half_pixel")
        if self.rounding == "uint8" and self.normalise == "before":  # normalised pixels are no bytes
            found.append("normalise: before needs rounding: none")
        return found

    def _shortest_problems(self) -> list[str]:
        found = []
        if self.size is not None:
            found.append("size must be null with resize: shortest, whose size follows the images")
        if self.min_size is None or self.max_size is None or not 0 < self.min_size <= self.max_size:
            found.append("resize: shortest needs min_size and max_size with 0 < min_size <= max_size, as 800, 1333")
        if self.pad_multiple < 1:
            found.append(f"pad_multiple must be at least 1, not {self.pad_multiple}")
        return found

    def _fixed_problems(self) -> list[str]:
        found = []
        if self.size is None:
            found.append(f"size is missing: resize: {self.resize} needs (height, width), as [300, 300]")
        elif len(self.size) != 2 or min(self.size) < 1:
            found.append(f"size must be (height, width) of at least 1 px, not {list(self.size)}")
        if self.min_size is not None or self.max_size is not None or self.pad_multiple != 1:
            found.append("min_size, max_size and pad_multiple belong to resize: shortest")
        if self.short_side != "scaled":
            found.append("short_side: exact belongs to resize: shortest")
        return found
