"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from detzoo.interfaces import Detector


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename torchvision's state dict; None where the source, or the detector's head, is another's."""
    from detzoo.detectors.one_stage import OneStage
    from detzoo_retinanet.fcos_head import FcosHead
    from detzoo_retinanet.head import RetinaNetHead

    if source != "torchvision" or not isinstance(detector, OneStage):
        return None
    if not isinstance(detector.head, RetinaNetHead | FcosHead):
        return None
    from detzoo_retinanet.converters import from_torchvision

    return from_torchvision(state_dict, detector)
