"""What the tools take as a detector: one of detzoo's, or somebody else's."""

from __future__ import annotations

from typing import TypeAlias

from detzoo.interfaces.detector import Detector
from detzoo.prediction.foreign_detector import ForeignDetector

AnyDetector: TypeAlias = Detector | ForeignDetector
