"""What dense heads have in common whose weights all maps share: RPN, RetinaNet, FCOS."""

from __future__ import annotations

from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors
from detzoo.types import FeatureSpecs


def shared_width(features: FeatureSpecs, names: tuple[str, ...], *, head: str, levels: str) -> int:
    """Channels of the maps that share a head's weights.

    Args:
        features: the neck's maps.
        names: those that the head reads.
        head: its name, for the message.
        levels: the field that chooses the maps, likewise.

    Raises:
        RecipeError: the maps differ.
    """
    widths = {features[name].channels for name in names}
    if len(widths) != 1:
        found = ", ".join(f"{name} ({features[name].channels})" for name in names) or "none"
        raise RecipeError(
            f"head {head}: its weights are shared by all maps, which need one number of channels; found: {found}. "
            f"Choose one with {levels}, or a neck such as {{type: fpn}}."
        )
    return widths.pop()


def shared_per_cell(anchors: Anchors, names: tuple[str, ...], *, head: str, levels: str) -> int:
    """Candidates of each cell, as many on every map.

    Args:
        anchors: the head's.
        names: the maps that it reads.
        head: its name, for the message.
        levels: the field that chooses the maps, likewise.

    Raises:
        RecipeError: the anchors are made for another number of maps, or differ from map to map.
    """
    counts = anchors.per_cell()
    if len(counts) != len(names):
        raise RecipeError(
            f"head {head}: anchors are given for {len(counts)} levels, but it is slid over {len(names)} maps: "
            f"{', '.join(names)}. Write one list of sizes for each map, set {levels}, or choose a neck that gives "
            f"{len(counts)}."
        )
    if len(set(counts)) != 1:
        raise RecipeError(
            f"head {head}: its weights are shared by all maps, so every cell needs the same number of anchors; "
            f"found {', '.join(map(str, counts))}. Give each level equally many sizes."
        )
    return counts[0]
