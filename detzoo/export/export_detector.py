"""What ``detzoo export`` does, and what it says afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from detzoo.export.network import ExportError

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

Format: TypeAlias = Literal["onnx", "torch"]
SUFFIXES: Final[dict[str, Format]] = {".onnx": "onnx", ".pt2": "torch"}


def format_of(path: Path) -> Format:
    """The format that a file name asks for.

    Raises:
        ExportError: it asks for none.
    """
    if path.suffix not in SUFFIXES:
        raise ExportError(f"{path}: the name must end in {' or '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix]


def export(
    detector: Detector,
    out: Path,
    *,
    format: Format,
    postprocess: bool = False,
    size: tuple[int, int] | None = None,
    dynamic_size: bool = False,
) -> str:
    """Write the file and say what is in it.

    Args:
        detector: with its weights.
        out: the file, which must not exist.
        format: ``onnx`` or ``torch``.
        postprocess: of ONNX: detections come out; a program of PyTorch always gives them.
        size: (height, width) px of the network input.
        dynamic_size: of ONNX: the size is free.

    Raises:
        ExportError: it cannot be done; says why.
    """
    if format == "onnx":
        from detzoo.export.onnx_file import export_onnx

        off = export_onnx(detector, out, postprocess=postprocess, size=size, dynamic_size=dynamic_size)
        return f"written: {out}; onnxruntime and PyTorch differ by {off:.1g} of the largest value"
    from detzoo.export.program import export_program

    if dynamic_size:
        raise ExportError("--dynamic-size works with --format onnx only; leave it out")
    free = export_program(detector, out, size=size)
    batches = "any number of images" if "batch" in free else "one image at a time"
    return f"written: {out}, for {batches}; torch.export.load reads it after `import detzoo.export`"
