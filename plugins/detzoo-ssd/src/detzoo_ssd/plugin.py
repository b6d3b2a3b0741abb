"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from detzoo.interfaces import Detector


@hookimpl
def detzoo_read_weights(path: Path, source: str) -> dict[str, Tensor] | None:
    """The convolutions of a TensorFlow Lite file; None where the source is another."""
    if source != "tflite":
        return None
    from detzoo_ssd.tflite_file import read_tflite

    return read_tflite(path)


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename a foreign state dict; None where the source, or the detector's head, is none of SSD's."""
    from detzoo.detectors.one_stage import OneStage
    from detzoo_ssd import converters
    from detzoo_ssd.head import SsdHead
    from detzoo_ssd.shared_head import SsdSharedHead
    from detzoo_ssd.tensorflow_names import from_tflite

    known: dict[str, Any] = {
        "torchvision": converters.from_torchvision,
        "tutorial": converters.from_tutorial,
        "ultralight_face": converters.from_ultralight_face,
        "tflite": from_tflite,
    }
    convert = known.get(source)
    if convert is None or not isinstance(detector, OneStage):
        return None
    if not isinstance(detector.head, SsdHead | SsdSharedHead):
        return None
    renamed: dict[str, Tensor] = convert(state_dict, detector)
    return renamed
