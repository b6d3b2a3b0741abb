"""Detectors for other runtimes: ONNX files, and PyTorch's own exported programs."""

from __future__ import annotations

from detzoo.export.describing import describe
from detzoo.export.network import Exported, ExportError, exportable
from detzoo.export.onnx_file import export_onnx
from detzoo.export.program import export_program
from detzoo.ops import exported as _operations  # registers what loaded programs call

__all__ = ["ExportError", "Exported", "describe", "export_onnx", "export_program", "exportable"]

del _operations
