"""What a recipe is made of, in the few words of a table and the marks of a plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detzoo.recipes.recipe import short_name


@dataclass(frozen=True)
class Facts:
    """A detector in few words.

    Args:
        architecture: its proposals and head by their registered names; the meta-architecture where there is no head.
        backbone: its registered name.
        size: of the input, HEIGHTxWIDTH px, or the shorter and the longer side.
        side: of a square of that area, px.
        gives: boxes, or boxes+masks.
    """

    architecture: str | None = None
    backbone: str | None = None
    size: str | None = None
    side: float | None = None
    gives: str | None = None


def recipe_facts(values: Mapping[str, Any]) -> Facts:
    """Of a resolved recipe."""
    size, side = input_size(values.get("input"))
    return Facts(
        architecture=architecture(values),
        backbone=innermost(values.get("backbone")),
        size=size,
        side=side,
        gives="boxes+masks" if values.get("mask") else "boxes",
    )


def architecture(values: Mapping[str, Any]) -> str | None:
    """``ssd``, ``rpn + roi_box``, ``rpn + 3 x roi_box``, ``image_level + roi_box``, ``region_svm``."""
    kind = values.get("architecture")
    kind = short_name(kind) if isinstance(kind, str) else None  # a run's recipe has full ids
    if kind not in ("one_stage", "two_stage"):
        return kind
    box = values.get("box")
    stages = box if isinstance(box, list) else [box]
    heads = [stage.get("head") for stage in stages if isinstance(stage, Mapping)] or [values.get("head")]
    named = [part.get("type") for part in (values.get("proposals"), heads[-1]) if isinstance(part, Mapping)]
    parts = [short_name(str(part)) for part in named if part]
    if len(heads) > 1:
        parts[-1] = f"{len(heads)} x {parts[-1]}"
    return " + ".join(part for part in parts if part) or kind


def innermost(part: Any) -> str | None:
    """A backbone's name; what only wraps one (``image_pyramid``) steps back."""
    while isinstance(part, Mapping) and isinstance(part.get("backbone"), Mapping):
        part = part["backbone"]
    return short_name(str(part["type"])) if isinstance(part, Mapping) and "type" in part else None


def input_size(spec: Any) -> tuple[str | None, float | None]:
    """(as text, side of a square of that area in px) of an input."""
    if not isinstance(spec, Mapping):
        return None, None
    if spec.get("size"):
        height, width = (int(side) for side in spec["size"])
        return f"{height}x{width}", (height * width) ** 0.5
    if spec.get("min_size"):
        short, long = spec["min_size"], spec.get("max_size")
        return f"{short}..{long}" if long else f"{short}", float(short)
    return None, None
