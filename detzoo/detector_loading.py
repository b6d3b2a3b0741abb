"""What the commands take as a detector: a name or recipe file, or a trained run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from detzoo.errors import WeightsError
from detzoo.runtime.foreign_files import is_folder, is_ordinary

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

RECIPE_ENDINGS: Final = (".yaml", ".yml")
EXPORTED: Final = {".onnx": "an exported ONNX file", ".pt2": "an exported program of PyTorch"}


def is_run(target: str) -> bool:
    """Whether ``target`` is a run folder or a checkpoint, rather than the name or file of a recipe."""
    path = Path(target)
    if is_folder(path) or path.suffix == ".safetensors":
        return True
    return is_ordinary(path) and Path(target.split("#", maxsplit=1)[0]).suffix not in RECIPE_ENDINGS


def load_detector(
    target: str,
    *,
    classes: Sequence[str | None] | None = None,
    set_: Sequence[str] | None = None,
    weights: Literal["needed", "optional"] = "needed",
) -> Detector:
    """The detector that a command line names.

    Args:
        target: a name from ``detzoo list``, a recipe file, a run folder or a checkpoint.
        classes: class names for a recipe that is built without weights of its own (``optional`` only).
        set_: ``key=value`` overrides of a recipe, or of a run whose weights still fit.
        weights: ``needed`` for whatever looks at detections: a name must have published weights; ``optional`` for
            timing and training: without published weights it is built untrained.

    Raises:
        RecipeError: a wrong recipe or override.
        WeightsError: weights are needed and the recipe publishes none.
    """
    from detzoo.builder import build_resolved, load
    from detzoo.recipes.recipe import load_recipe

    if (exported := EXPORTED.get(Path(target).suffix.lower())) is not None:
        raise WeightsError(
            f"{target} is {exported}: it holds the network alone, and other programs run it (docs/export.md). "
            "Give the run that it was exported from; to score what it finds: detzoo eval --from detections.json"
        )
    if is_run(target):
        return load(target, list(set_ or []))
    recipe = load_recipe(target, list(set_ or []))
    if recipe.values["weights"] and classes is None:
        return build_resolved(recipe, weights="published")
    if weights == "needed":
        raise WeightsError(
            f"{target} has no published weights, so it would give random boxes. Give a run folder instead of the name, "
            f"after: detzoo train {target} --data DATA --out RUN"
        )
    return build_resolved(recipe, classes=classes, weights=None)
