"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    import typer
    from torch import Tensor

    from detzoo.interfaces import Detector


@hookimpl
def detzoo_read_weights(path: Path, source: str) -> dict[str, Tensor] | None:
    """A ``.weights`` file of darknet; None where the source is another."""
    from detzoo_yolo.weights_file import read_weights

    return read_weights(path) if source == "darknet" else None


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Darknet's numbers under the detector's names; None where the source, or the head, is none of YOLO's."""
    from detzoo.detectors.one_stage import OneStage
    from detzoo_yolo.converters import from_darknet
    from detzoo_yolo.grid_head import YoloGrid
    from detzoo_yolo.head import YoloAnchorHead

    if source != "darknet" or not isinstance(detector, OneStage):
        return None
    if not isinstance(detector.head, YoloAnchorHead | YoloGrid):
        return None
    return from_darknet(state_dict, detector)


@hookimpl
def detzoo_cli(commands: typer.Typer) -> None:
    """``detzoo darknet``."""
    from detzoo_yolo.commands import darknet

    commands.command("darknet")(darknet)
