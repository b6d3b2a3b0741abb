"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from detzoo.interfaces import Detector


@hookimpl
def detzoo_read_weights(path: Path, source: str) -> dict[str, Tensor] | None:
    """The convolutions of an OpenVINO IR; None where the source is another."""
    if source != "openvino":
        return None
    from detzoo_retinanet.openvino_ir import read_ir

    return read_ir(path)


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename torchvision's or NanoDet's weights; None where the source, or the detector's head, is another's."""
    from detzoo.detectors.one_stage import OneStage
    from detzoo_retinanet.fcos_head import FcosHead
    from detzoo_retinanet.head import RetinaNetHead
    from detzoo_retinanet.nanodet_head import NanoDetHead

    if not isinstance(detector, OneStage):
        return None
    from detzoo_retinanet import converters

    if source == "torchvision" and isinstance(detector.head, RetinaNetHead | FcosHead):
        return converters.from_torchvision(state_dict, detector)
    if source == "openvino" and isinstance(detector.head, NanoDetHead):
        return converters.from_nanodet(state_dict, detector)
    return None
