"""``torch.export``: a program that PyTorch loads without the detector's classes."""

from __future__ import annotations

from pathlib import Path

import torch

from detzoo.export.describing import describe
from detzoo.export.network import ExportError, exportable, recorded
from detzoo.export.writing import check_free, write
from detzoo.interfaces import Detector


def export_program(detector: Detector, path: Path, *, size: tuple[int, int] | None = None) -> tuple[str, ...]:
    """Write a ``.pt2`` from pixels to detections; ``torch.export.load`` reads it once ``detzoo.export`` is imported.

    Args:
        detector: with its weights.
        path: of the file, which must not exist.
        size: (height, width) px of the network input; the recipe's without it.

    Returns:
        what is free: ``batch``, or nothing.

    Raises:
        ExportError: the detector cannot be recorded, or the path is taken.
    """
    check_free(path, ".pt2")
    exported = exportable(detector, postprocess=True, size=size)
    free: tuple[str, ...] = ("batch",)
    batch = torch.export.Dim("batch", min=1, max=1024)
    try:
        program = recorded(detector, exported, ({0: batch},) * len(exported.inputs), otherwise=lambda reason: reason)
    except ExportError:  # some look at the number of pictures; one picture at a time is what most runtimes give
        free = ()
        program = recorded(detector, exported.alone(), ({},) * len(exported.inputs), otherwise=_reason)
    extra = describe(detector, exported, dynamic=free)
    write(path, lambda temporary: torch.export.save(program, temporary, extra_files=extra))
    return free


def _reason(found: str) -> str:
    return f"what it computes depends on what it has found ({found}); run it with detzoo itself"
