"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from detzoo.interfaces import Detector

SOURCES: Final = ("mmdet",)


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename mmdetection's state dict; None where source or head is another's."""
    from detzoo.detectors.one_stage import OneStage
    from detzoo_rtmdet.head import RtmdetSepBnHead

    if source not in SOURCES or not isinstance(detector, OneStage) or not isinstance(detector.head, RtmdetSepBnHead):
        return None
    from detzoo_rtmdet.converters import from_mmdet

    return from_mmdet(state_dict, detector)
