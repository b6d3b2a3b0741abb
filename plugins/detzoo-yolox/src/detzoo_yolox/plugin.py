"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from detzoo.interfaces import Detector

SOURCES: Final = ("yolox", "mmdet")


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename Megvii's state dict or ONNX initialisers, or mmdetection's state dict; None where it is another's."""
    from detzoo.detectors.one_stage import OneStage
    from detzoo_yolox.head import YoloxHead

    if source not in SOURCES or not isinstance(detector, OneStage) or not isinstance(detector.head, YoloxHead):
        return None
    from detzoo_yolox.converters import from_mmdet, from_yolox

    return (from_yolox if source == "yolox" else from_mmdet)(state_dict, detector)
