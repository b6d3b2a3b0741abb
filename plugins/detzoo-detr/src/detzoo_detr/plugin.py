"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from detzoo.interfaces import Detector

SOURCE: Final = "transformers"
CONVERTERS: Final = {
    "DfineHead": "detzoo_detr.dfine_converters:from_transformers",
    "RfDetrHead": "detzoo_detr.rfdetr_names:from_rf_detr",
    "RtdetrHead": "detzoo_detr.rtdetr_names:from_transformers",
    "DetrHead": "detzoo_detr.detr_names:from_detr",
    "DeformableDetrHead": "detzoo_detr.detr_names:from_deformable_detr",
}
"""What reads the state dicts of transformers, by the class of the head."""


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename transformers' state dict; None where source or head is another's."""
    from detzoo.detectors.one_stage import OneStage

    if source != SOURCE or not isinstance(detector, OneStage):
        return None
    head = type(detector.head)
    if head.__name__ not in CONVERTERS or not head.__module__.startswith("detzoo_detr."):
        return None
    module, _, name = CONVERTERS[head.__name__].partition(":")
    convert: Any = getattr(import_module(module), name)
    converted: dict[str, Tensor] = convert(state_dict, detector)
    return converted
