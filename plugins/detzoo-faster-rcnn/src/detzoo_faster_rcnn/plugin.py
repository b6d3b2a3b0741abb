"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from detzoo.interfaces import Detector


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename a foreign state dict, or compress one of our own; None where the source, or the detector, is not ours."""
    from detzoo.detectors.two_stage import TwoStage
    from detzoo_faster_rcnn.head import RoiBox

    if not isinstance(detector, TwoStage) or not isinstance(detector.box.head, RoiBox):
        return None
    if source == "torchvision":
        from detzoo_faster_rcnn.converters import from_torchvision

        return from_torchvision(state_dict, detector)
    if source == "svd":
        from detzoo_faster_rcnn.svd import compressed

        return compressed(state_dict, detector)
    return None
