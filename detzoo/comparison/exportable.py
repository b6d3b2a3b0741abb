"""Whether a detector can be exported, as far as its parts declare it: nothing is exported to find out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from detzoo.export.network import ExportError
from detzoo.export.onnx_file import check_possible

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

UNTRIED: Final = "no part declares it, and it was not tried here: detzoo export RUN --format torch --out FILE.pt2"


def export_facts(detector: Detector) -> dict[str, dict[str, str]]:
    """Column of the table -> ``can`` (``yes``, ``raw head``, ``no``, ``not tried``) and ``why``."""
    return {"onnx": onnx_fact(detector), "program": {"can": "not tried", "why": UNTRIED}}


def onnx_fact(detector: Detector) -> dict[str, str]:
    """By the detector's raw head and the declaration of its post-processing."""
    try:
        check_possible(detector, postprocess=False, dynamic_size=False)
    except ExportError as error:
        return {"can": "no", "why": str(error)}
    try:
        check_possible(detector, postprocess=True, dynamic_size=False)
    except ExportError as error:
        return {"can": "raw head", "why": str(error)}
    return {"can": "yes", "why": "declared by its parts, with and without --postprocess; it was not exported here"}
