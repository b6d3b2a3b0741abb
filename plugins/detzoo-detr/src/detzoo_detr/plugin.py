"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from detzoo.interfaces import Detector

CONVERTERS: Final = {
    ("transformers", "DfineHead"): "detzoo_detr.dfine_converters:from_transformers",
    ("transformers", "RfDetrHead"): "detzoo_detr.rfdetr_names:from_rf_detr",
    ("transformers", "RtdetrHead"): "detzoo_detr.rtdetr_names:from_transformers",
    ("transformers", "DetrHead"): "detzoo_detr.detr_names:from_detr",
    ("transformers", "DeformableDetrHead"): "detzoo_detr.detr_names:from_deformable_detr",
    ("deimv2", "DfineHead"): "detzoo_detr.deimv2_names:from_release",
}
"""What reads a state dict, by its source and the class of the head."""


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename the state dict of transformers, or of DEIMv2's release; None where source or head is another's."""
    from detzoo.detectors.one_stage import OneStage

    if not isinstance(detector, OneStage):
        return None
    head = type(detector.head)
    place = CONVERTERS.get((source, head.__name__))
    if place is None or not head.__module__.startswith("detzoo_detr."):
        return None
    module, _, name = place.partition(":")
    convert: Any = getattr(import_module(module), name)
    converted: dict[str, Tensor] = convert(state_dict, detector)
    return converted
