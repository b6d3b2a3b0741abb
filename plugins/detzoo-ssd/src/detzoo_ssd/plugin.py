"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from detzoo.interfaces import Detector


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename a foreign state dict; None where the source, or the detector's head, is none of SSD's."""
    from detzoo.detectors.one_stage import OneStage
    from detzoo_ssd import converters
    from detzoo_ssd.head import SsdHead
    from detzoo_ssd.shared_head import SsdSharedHead

    known: dict[str, Any] = {
        "torchvision": converters.from_torchvision,
        "tutorial": converters.from_tutorial,
        "ultralight_face": converters.from_ultralight_face,
    }
    convert = known.get(source)
    if convert is None or not isinstance(detector, OneStage):
        return None
    if not isinstance(detector.head, SsdHead | SsdSharedHead):
        return None
    renamed: dict[str, Tensor] = convert(state_dict, detector)
    return renamed
