"""ONNX files of detectors."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from detzoo.export.describing import describe
from detzoo.export.network import Exported, ExportError, exportable, quiet, recorded, sentence, unrecorded
from detzoo.export.operations import TRANSLATIONS
from detzoo.export.program import MOST_REGIONS
from detzoo.export.writing import check_free
from detzoo.runtime.atomic_files import replacing

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

MODULES = ("onnx", "onnxscript", "onnxruntime")
AGREES = 1e-3
"""Largest difference to PyTorch, in parts of the largest value of an output, that rounding explains."""


def export_onnx(
    detector: Detector,
    path: str | os.PathLike[str],
    *,
    postprocess: bool = False,
    size: tuple[int, int] | None = None,
    dynamic_size: bool = False,
) -> float:
    """Write an ONNX file with any number of images, run it once, and compare it with PyTorch.

    Args:
        detector: with its weights.
        path: of the file, which must not exist.
        postprocess: detections come out, else what the head says (of one-stage detectors alone).
        size: (height, width) px of the network input; the recipe's without it.
        dynamic_size: sides may be any multiples of the coarsest stride; raw outputs only.

    Returns:
        the largest difference to PyTorch on noise, in parts of the largest value.

    Raises:
        ExportError: the detector cannot be exported as asked, the path is taken, or onnxruntime answers otherwise.
    """
    path = Path(path)
    check_free(path, ".onnx")
    check_installed()
    check_possible(detector, postprocess=postprocess, dynamic_size=dynamic_size)
    exported = exportable(detector, postprocess=postprocess, size=size)
    model = translated(detector, exported, dynamic_size=dynamic_size)
    free = ("batch", *(["regions"] if "regions" in exported.inputs else []), *(["size"] if dynamic_size else []))
    import onnx

    onnx.helper.set_model_props(model, describe(detector, exported, dynamic=free))
    with replacing(path) as temporary:
        onnx.save_model(model, temporary)
        difference = compared(exported, temporary)
        if difference > AGREES:
            raise ExportError(
                f"{detector.recipe.name}: onnxruntime gives other results than PyTorch (by {difference:.2g} of the "
                "largest value), so nothing was written; please report it"
            )

    return difference


def check_installed() -> None:
    """Reject where the extra is missing."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f"--format onnx needs {', '.join(missing)}: pip install 'detzoo[onnx]'")


def check_possible(detector: Detector, *, postprocess: bool, dynamic_size: bool) -> None:
    """Reject what ONNX, or its graph of a detector, cannot say."""
    name = detector.recipe.name
    if detector.raw_head is None and not postprocess:
        raise ExportError(
            f"{name} has no raw head to export: its last stage looks at what the earlier found; give --postprocess"
        )
    if postprocess and dynamic_size:
        raise ExportError(
            "--postprocess and --dynamic-size exclude each other: how many candidates are sorted is part of the "
            "graph; leave one out, or write one file for each size (--size)"
        )
    if dynamic_size and detector.one_size:  # else the trace would find out, after minutes
        raise ExportError(f"{name} cannot be exported: {_one_size('Constraints violated')}")
    if postprocess and not detector.postprocess.fits_onnx:
        suppress = (detector.recipe.values.get("postprocess") or {}).get("suppress") or {}
        raise ExportError(
            f"{name} cannot be exported as ONNX with --postprocess: ONNX has no operation for "
            f"{suppress.get('type', 'its suppression')}; leave --postprocess out, or --set "
            "postprocess.suppress.type=nms"
        )


def translated(detector: Detector, exported: Exported, *, dynamic_size: bool) -> Any:
    """The ONNX model."""
    dim = torch.export.Dim
    pixels: dict[int, Any] = {0: dim("batch", min=1, max=1024)}
    if dynamic_size:
        pixels |= {2: exported.step * dim("rows", min=1, max=512), 3: exported.step * dim("columns", min=1, max=512)}
    regions = {1: dim("regions", min=1, max=MOST_REGIONS)}
    rest = ({0: pixels[0]} | (regions if name == "regions" else {}) for name in exported.inputs[1:])
    program = recorded(detector, exported, (pixels, *rest), otherwise=_one_size if dynamic_size else unrecorded)
    try:
        with quiet():
            made = torch.onnx.export(
                program,
                input_names=list(exported.inputs),
                output_names=list(exported.outputs),
                custom_translation_table=TRANSLATIONS,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # as with the tracer
        raise ExportError(
            f"{detector.recipe.name} cannot be exported as ONNX: {sentence(error)}; use --format torch"
        ) from error
    assert made is not None
    return _naming_the_batch(made.model_proto)


def _naming_the_batch(model: Any) -> Any:
    """Call the first axis of the inputs ``batch`` wherever it comes back; the exporter calls it ``s47``."""
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param and symbol:
                axis.dim_param = re.sub(rf"\b{symbol}\b", "batch", axis.dim_param)
    return model


def _one_size(reason: str) -> str:
    """What to do where the tracer found a size that is not free."""
    made = "something in it is made for one size of the input, such as priors that are computed beforehand"
    return f"{made if 'Constraints violated' in reason else reason}; leave --dynamic-size out, or give --size"


def compared(exported: Exported, path: Path) -> float:
    """How far onnxruntime's answers are from PyTorch's, in parts of the largest value of each output.

    Of detections only the scores are compared: boxes of equal scores may change places; PyTorch may have cut off rows
    that only pad.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: it warns about its own optimisations
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {name: tensor.numpy() for name, tensor in zip(exported.inputs, exported.examples, strict=True)}
    found = session.run(list(exported.outputs), given)
    with torch.no_grad():
        expected = exported.module(*exported.examples)
    worst = 0.0
    for name, one, other in zip(exported.outputs, expected, found, strict=True):
        if "scores" in exported.outputs and name != "scores":
            continue
        if "scores" in exported.outputs:
            worst = max(worst, float(other[:, one.shape[1] :].max(initial=0)))
        cut = other[:, : one.shape[1]] if "scores" in exported.outputs else other
        scale = max(1.0, float(one.abs().max()))
        worst = max(worst, float(np.abs(one.numpy() - cut).max()) / scale)
    return worst
