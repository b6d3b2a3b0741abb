"""The hooks a plugin may implement. Few: components and recipes stand in the manifest, not here.

A plugin lists the hooks it implements in its manifest, so that only the plugins concerned are ever imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    import typer
    from torch import Tensor

    from detzoo.evaluation import Evaluation
    from detzoo.interfaces import Detector
    from detzoo.plugins.registry import Registry
    from detzoo.recipes.recipe import Recipe

PROJECT: Final = "detzoo"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def detzoo_register(registry: Registry) -> None:
    """Add components that have no dotted path: ``registry.register(kind, name, cls)``."""


@hookspec(firstresult=True)
def detzoo_read_weights(path: Path, source: str) -> dict[str, Tensor] | None:
    """Read a file that is neither safetensors nor a torch state dict, or return None where the source is not known.

    Args:
        path: the file.
        source: ``darknet``, ...

    Returns:
        name -> tensor, which ``detzoo_convert_weights`` of the same plugin will get.
    """


@hookspec(firstresult=True)
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename a foreign state dict to the detector's own names, or return None where the source is not known.

    Args:
        detector: the detector that will load the result.
        state_dict: name -> tensor, as read from the file.
        source: ``torchvision``, ``darknet``, ...
    """


@hookspec
def detzoo_detector_built(detector: Detector, recipe: Recipe) -> None:
    """Called after a detector is built and its weights are loaded."""


@hookspec
def detzoo_train_step(step: int, losses: dict[str, float], rate: float) -> None:
    """Called after each optimiser step.

    Args:
        step: 1 for the first.
        losses: weighted terms by name.
        rate: learning rate of the first parameter group.
    """


@hookspec
def detzoo_eval_finished(evaluation: Evaluation) -> None:
    """Called when an evaluation is complete."""


@hookspec
def detzoo_cli(commands: typer.Typer) -> None:
    """Add subcommands to ``detzoo``."""


HOOKS: Final = tuple(name for name, value in list(globals().items()) if name.startswith("detzoo_") and callable(value))


FIRST_RESULT: Final = ("detzoo_read_weights", "detzoo_convert_weights")
"""Hooks of which the first result that is not None counts."""


def specifications() -> Any:
    """The module pluggy reads the specifications from."""
    import sys

    return sys.modules[__name__]
