"""Files that ``detzoo export`` writes are no checkpoints; free of torch, for a wrong name is told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from detzoo.errors import WeightsError

_EXPORTED: Final = {".onnx": "an exported ONNX file", ".pt2": "an exported program of PyTorch"}


def reject_exported(place: Path | str) -> None:
    """Reject what ``detzoo export`` writes.

    Raises:
        WeightsError: what it is, and what to use.
    """
    exported = _EXPORTED.get(Path(place).suffix.lower())
    if exported is not None:
        raise WeightsError(
            f"{place} is {exported}: it holds the network alone. detzoo eval, bench, predict and compare take it as it "
            "is, as detzoo.load_foreign does in Python (docs/foreign-detectors.md); else give the run that it is of"
        )
