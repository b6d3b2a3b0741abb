"""What travels in an exported file, so that it can be run without detzoo: class names, input recipe, outputs."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from detzoo.export.network import Exported
from detzoo.recipes.full_names import stored_values
from detzoo.runtime.version import __version__

if TYPE_CHECKING:
    from detzoo.interfaces import Detector


def describe(detector: Detector, exported: Exported, *, dynamic: tuple[str, ...]) -> dict[str, str]:
    """Metadata by name, each value JSON.

    Args:
        detector: for its recipe, classes and input.
        exported: for its names and size.
        dynamic: which of ``batch``, ``size`` and ``regions`` are free.
    """
    height, width = exported.examples[0].shape[-2:]
    raw = "scores" not in exported.outputs
    values: dict[str, Any] = {
        "detzoo.version": __version__,
        "detzoo.recipe": detector.recipe.name,
        "detzoo.classes": list(detector.classes),
        "detzoo.input": dataclasses.asdict(detector.input) | {"size": [height, width]},
        "detzoo.dynamic": list(dynamic),
        "detzoo.size_step": exported.step,
        "detzoo.meaning": exported.meanings(),
        "detzoo.scoring": None if detector.raw_head is None else detector.raw_head.scoring,
        "detzoo.quality": detector.postprocess.quality,
        "detzoo.score_threshold": detector.settings().score_threshold,
        "detzoo.postprocess": stored_values(detector.recipe.values).get("postprocess") if raw else None,
        "detzoo.levels": [dataclasses.astuple(level) for level in exported.levels],
    }
    return {name: json.dumps(value) for name, value in values.items()}
