"""The modes of selective search: which colour spaces, segmentations and similarities they combine.

Source: Uijlings et al. 2013, table 5, for ``single``, ``fast`` and ``quality``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from detzoo_rcnn.colour import ColourSpace

Mode: TypeAlias = Literal["single", "fast", "quality"]
Similarity: TypeAlias = Literal["colour", "texture", "size", "fill"]

ALL: Final[tuple[Similarity, ...]] = ("colour", "texture", "size", "fill")
WITHOUT_COLOUR: Final[tuple[Similarity, ...]] = ("texture", "size", "fill")


@dataclass(frozen=True)
class Combination:
    """Every colour space with every k with every strategy is one grouping.

    Args:
        colour_spaces: see ``in_colour_space``.
        k: of the segmentations.
        strategies: sets of similarities.
    """

    colour_spaces: tuple[ColourSpace, ...]
    k: tuple[float, ...]
    strategies: tuple[tuple[Similarity, ...], ...]


MODES: Final[dict[Mode, Combination]] = {
    "single": Combination(("hsv",), (100,), (ALL,)),
    "fast": Combination(("hsv", "lab"), (50, 100), (ALL, WITHOUT_COLOUR)),
    "quality": Combination(
        ("hsv", "lab", "rgi", "hue", "intensity"),
        (50, 100, 150, 300),
        (ALL, WITHOUT_COLOUR, ("fill",), ("size",)),
    ),
}
