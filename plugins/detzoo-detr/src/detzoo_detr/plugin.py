"""Hook implementations of the plugin; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from detzoo.plugins.hooks import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from detzoo.interfaces import DenseHead, Detector

    Converter: TypeAlias = Callable[[dict[str, Tensor], Detector], dict[str, Tensor]]


@hookimpl
def detzoo_convert_weights(detector: Detector, state_dict: dict[str, Tensor], source: str) -> dict[str, Tensor] | None:
    """Rename the state dict of transformers, or of DEIMv2's release; None where source or head is another's."""
    from detzoo.detectors.one_stage import OneStage

    if source not in ("transformers", "deimv2") or not isinstance(detector, OneStage):
        return None
    convert = converter_of(detector.head, source)
    return None if convert is None else convert(state_dict, detector)


def converter_of(head: DenseHead, source: str) -> Converter | None:
    """What reads a source's state dict for a head; None where nothing here does."""
    from detzoo_detr import deimv2_names, detr_names, dfine_converters, rfdetr_names, rtdetr_names
    from detzoo_detr.deformable_head import DeformableDetrHead
    from detzoo_detr.dfine_head import DfineHead
    from detzoo_detr.head import DetrHead
    from detzoo_detr.rfdetr_head import RfDetrHead
    from detzoo_detr.rtdetr_head import RtdetrHead

    known: dict[tuple[str, type[DenseHead]], Converter] = {
        ("transformers", DetrHead): detr_names.from_detr,
        ("transformers", DeformableDetrHead): detr_names.from_deformable_detr,
        ("transformers", RtdetrHead): rtdetr_names.from_transformers,
        ("transformers", DfineHead): dfine_converters.from_transformers,
        ("transformers", RfDetrHead): rfdetr_names.from_rf_detr,
        ("deimv2", DfineHead): deimv2_names.from_release,
    }
    return known.get((source, type(head)))
