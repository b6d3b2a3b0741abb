"""``torch.export``: a program that PyTorch loads without the detector's classes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from detzoo.export.describing import describe
from detzoo.export.network import Exported, ExportError, exportable, recorded, unrecorded
from detzoo.export.writing import check_free
from detzoo.runtime.atomic_files import write_bytes

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

MOST_IMAGES: Final = 1024
MOST_REGIONS: Final = 10_000


def export_program(
    detector: Detector, path: str | os.PathLike[str], *, size: tuple[int, int] | None = None
) -> tuple[str, ...]:
    """Write a ``.pt2`` from pixels to detections; ``torch.export.load`` reads it once ``detzoo.export`` is imported.

    Args:
        detector: with its weights.
        path: of the file, which must not exist.
        size: (height, width) px of the network input; the recipe's without it.

    Returns:
        what is free: ``batch`` or not, and ``regions`` where the detector is given regions.

    Raises:
        ExportError: the detector cannot be recorded, or the path is taken.
    """
    path = Path(path)
    check_free(path, ".pt2")
    exported = exportable(detector, postprocess=True, size=size)
    shapes = dynamic(exported)
    free = tuple(sorted({str(dim.__name__) for shape in shapes for dim in shape.values()}))
    try:
        program = recorded(detector, exported, shapes, otherwise=str)
    except ExportError:  # some look at the number of images; one image at a time is what most runtimes give
        free = tuple(name for name in free if name != "batch")
        alone = tuple({at: dim for at, dim in shape.items() if at != 0} for shape in shapes)
        program = recorded(detector, exported.alone(), alone, otherwise=unrecorded)
    extra = describe(detector, exported, dynamic=free)
    written = io.BytesIO()  # in memory: torch's own writer hides what a full disk answers
    torch.export.save(program, written, extra_files=extra)
    write_bytes(path, written.getvalue())
    return free


def dynamic(exported: Exported) -> tuple[dict[int, Any], ...]:
    """Free dimensions of each input: the images, and how many regions of each there are."""
    batch = torch.export.Dim("batch", min=1, max=MOST_IMAGES)
    regions = torch.export.Dim("regions", min=1, max=MOST_REGIONS)
    return tuple({0: batch, 1: regions} if name == "regions" else {0: batch} for name in exported.inputs)
