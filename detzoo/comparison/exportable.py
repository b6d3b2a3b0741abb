"""Whether a detector can be exported, as far as its parts declare it: nothing is exported to find out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from detzoo.export.network import ExportError
from detzoo.export.onnx_file import check_possible

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

UNTRIED: Final = "no part declares it, and it was not tried here: detzoo export RUN --format torch --out FILE.pt2"


def export_facts(detector: Detector) -> dict[str, dict[str, str]]:
    """Column of the table -> ``can`` (``yes``, ``raw head``, ``detections``, ``no``, ``not tried``) and ``why``."""
    return {"onnx": onnx_fact(detector), "program": {"can": "not tried", "why": UNTRIED}}


def onnx_fact(detector: Detector) -> dict[str, str]:
    """By the detector's raw head and the declaration of its post-processing."""
    why: dict[bool, str] = {}
    for postprocess in (False, True):
        try:
            check_possible(detector, postprocess=postprocess, dynamic_size=False)
        except ExportError as error:
            why[postprocess] = str(error)
    if not why:
        return {"can": "yes", "why": "declared by its parts, with and without --postprocess; it was not exported here"}
    if len(why) == 2:
        return {"can": "no", "why": why[True]}
    return {"can": "raw head" if True in why else "detections", "why": next(iter(why.values()))}
