"""One of detzoo's own detectors run by another program: exported once, kept by what it is made of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Final

import numpy as np
import torch

from detzoo.errors import DetzooError
from detzoo.export.onnx_file import export_onnx
from detzoo.foreign.detector import ProcessDetector
from detzoo.foreign.options import Described
from detzoo.foreign.target import ForeignTarget
from detzoo.interfaces import Detector
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.version import __version__
from detzoo.schema.describing import unknown

RUNTIMES: Final = ("torch", "onnxruntime", "openvino")
FOLDER: Final = "exports"
"""Below the folder of a run."""
_log = logging.getLogger("detzoo.foreign")


def check_runtime(name: str) -> None:
    """Reject a name that is none, before the slow work.

    Raises:
        DetzooError: with those that are.
    """
    if name not in RUNTIMES:
        raise DetzooError(f"--runtime: {unknown('runtime', name, RUNTIMES)}")


def in_runtime(detector: Detector, runtime: str, folder: Path) -> ProcessDetector:
    """The detector as an ONNX file in a runtime.

    Its raw head is, followed by the recipe's own post-processing; a detector of several stages is as a whole.

    Args:
        detector: with its weights.
        runtime: ``onnxruntime`` or ``openvino``.
        folder: where the file is kept; made where it is missing. A file of the same weights, recipe and version of
            detzoo is used again.

    Raises:
        DetzooError: the detector cannot be exported, or is given regions that are found outside of it.
    """
    if detector.proposer is not None:
        raise DetzooError(
            f"--runtime {runtime}: {detector.name} is given regions that a program outside of its network finds; use "
            "--runtime torch"
        )
    whole = detector.raw_head is None
    path = folder / f"{digest(detector)[:16]}.onnx"
    if not is_ordinary(path):
        folder.mkdir(parents=True, exist_ok=True)
        _log.info("exporting %s to %s", detector.name, path)
        try:
            export_onnx(detector, path, postprocess=whole, dynamic_size=detector.input.size is None and not whole)
        except DetzooError:
            if not is_ordinary(path):  # else another process was faster
                raise
    target = ForeignTarget(f"{detector.name} ({runtime})", "onnx", str(path))
    return ProcessDetector(Described(target, {"runtime": runtime, "classes": None, "aliases": None}))


def digest(detector: Detector) -> str:
    """Of everything that decides an export: weights, recipe, input, classes and the version of detzoo."""
    found = hashlib.sha256()
    made = [detector.recipe.values, dataclasses.asdict(detector.input), list(detector.classes), __version__]
    found.update(json.dumps([*made, torch.__version__], sort_keys=True, default=str).encode())
    for name, tensor in sorted(detector.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(
            np.ascontiguousarray(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()).data
        )
    return found.hexdigest()
