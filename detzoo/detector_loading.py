"""What the commands take as a detector: a name or recipe file, a trained run, or somebody else's detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from detzoo.errors import DetzooError, WeightsError
from detzoo.foreign.target import is_foreign
from detzoo.recipes.recipe import load_recipe
from detzoo.runtime.foreign_files import is_folder, is_ordinary

if TYPE_CHECKING:
    from detzoo.foreign.options import Described
    from detzoo.interfaces import Detector
    from detzoo.interfaces.any_detector import AnyDetector
    from detzoo.recipes.recipe import Recipe

RECIPE_ENDINGS: Final = (".yaml", ".yml")


def is_run(target: str) -> bool:
    """Whether ``target`` is a run folder or a checkpoint, rather than the name or file of a recipe."""
    if is_foreign(target):
        return False
    path = Path(target)
    if is_folder(path) or path.suffix == ".safetensors":
        return True
    return is_ordinary(path) and Path(target.split("#", maxsplit=1)[0]).suffix not in RECIPE_ENDINGS


@dataclass(frozen=True)
class Target:
    """A detector that was found and not built yet.

    Args:
        name: as on the command line.
        overrides: ``key=value``.
        recipe: the checked recipe; None for a run and a foreign detector.
        foreign: with its options; None for detzoo's own.
    """

    name: str
    overrides: tuple[str, ...]
    recipe: Recipe | None
    foreign: Described | None = None

    def load_any(self, runtime: str = "torch") -> AnyDetector:
        """As ``load``, a foreign detector too.

        Args:
            runtime: ``torch``, or ``onnxruntime`` or ``openvino``, for which a one-stage detector is exported.

        Raises:
            DetzooError: there is no such runtime, or the detector cannot be exported.
        """
        from detzoo.foreign.detector import ProcessDetector
        from detzoo.foreign.exported_runtime import FOLDER, check_runtime, in_runtime

        check_runtime(runtime)
        if self.foreign is not None:
            if runtime != "torch":
                raise DetzooError(
                    f"--runtime {runtime} is for detzoo's own detectors, and {self.name} is a foreign one; what runs "
                    "an ONNX file is said by --set runtime=onnxruntime or openvino"
                )
            return ProcessDetector(self.foreign)
        detector = self.load()
        if runtime == "torch":
            return detector
        from detzoo.weights.checkpoint import checkpoint_of
        from detzoo.weights.sources import default_cache

        home = default_cache() if self.recipe is not None else checkpoint_of(Path(self.name)).parent
        return in_runtime(detector, runtime, home / FOLDER)

    def load(self, classes: Sequence[str | None] | None = None) -> Detector:
        """Build it, with its weights; with ``classes``, untrained for these.

        Raises:
            WeightsError: it is a foreign detector, whose inside nobody sees.
        """
        from detzoo.builder import build_resolved, load

        if self.foreign is not None:
            raise WeightsError(
                f"{self.name} is a foreign detector: eval, bench, predict and compare take it, and nothing that needs "
                "its parts (docs/foreign-detectors.md). Give a name from `detzoo list`, a recipe file or a run"
            )
        if self.recipe is None:
            return load(self.name, self.overrides)
        if self.recipe.values["weights"] and classes is None:
            return build_resolved(self.recipe, weights="published")
        return build_resolved(self.recipe, classes=classes, weights=None)


def find_target(
    target: str, *, set_: Sequence[str] | None = None, weights: Literal["needed", "optional"] = "needed"
) -> Target:
    """Report what is wrong with a target before the slow work: searching images, fetching weights.

    Args:
        target: a name from ``detzoo list``, a recipe file, a run folder, a checkpoint, ``hf:owner/name``, or a foreign
            detector.
        set_: ``key=value`` overrides of a recipe, of a run whose weights still fit, or of a foreign detector's options.
        weights: ``needed`` for whatever looks at detections: a name must have published weights; ``optional`` for
            timing and training: without published weights it is built untrained.

    Raises:
        RecipeError: a name that nobody knows, a wrong recipe or override.
        WeightsError: a run without a checkpoint; weights are needed and the recipe publishes none.
        ForeignError: a foreign detector whose file is not there.
    """
    overrides = tuple(set_ or ())
    if target.startswith("hf:"):
        from detzoo.weights.hub_run import fetch_hub_run  # it imports torch

        fetched = fetch_hub_run(target)
        if fetched is not None:
            return Target(str(fetched), overrides, None)
    if is_foreign(target):
        from detzoo.foreign.options import described  # it imports torch

        return Target(target, overrides, None, described(target, overrides))
    if is_run(target):
        from detzoo.weights.checkpoint import checkpoint_of  # it imports torch, which a wrong name need not wait for

        checkpoint_of(Path(target))
        return Target(target, overrides, None)
    recipe = load_recipe(target, overrides)
    if weights == "needed" and not recipe.values["weights"]:
        raise WeightsError(
            f"{target} has no published weights, so it would give random boxes. Give a run folder instead of the name, "
            f"after: detzoo train {target} --data DATA --out RUN"
        )
    return Target(target, overrides, recipe)


def load_any_detector(
    target: str,
    *,
    set_: Sequence[str] | None = None,
    weights: Literal["needed", "optional"] = "needed",
    runtime: str = "torch",
) -> AnyDetector:
    """``load_detector`` for what takes a foreign detector too.

    Args:
        target: as for ``find_target``.
        set_: as for ``find_target``.
        weights: as for ``find_target``.
        runtime: as for ``Target.load_any``.
    """
    return find_target(target, set_=set_, weights=weights).load_any(runtime)


def load_detector(
    target: str,
    *,
    classes: Sequence[str | None] | None = None,
    set_: Sequence[str] | None = None,
    weights: Literal["needed", "optional"] = "needed",
) -> Detector:
    """The detector that a command line names: ``find_target``, built.

    Args:
        target: as for ``find_target``.
        classes: class names for a recipe that is built without weights of its own (``optional`` only).
        set_: as for ``find_target``.
        weights: as for ``find_target``.
    """
    return find_target(target, set_=set_, weights=weights).load(classes)
