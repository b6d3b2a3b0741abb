"""Detections of weights that nobody trained are told as such, once per detector."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from detzoo.interfaces.any_detector import AnyDetector

_log = logging.getLogger("detzoo.prediction")
_told: Final[WeakSet[AnyDetector]] = WeakSet()


def tell_untrained(detector: AnyDetector) -> None:
    """Warn, the first time, where components of a detector still are as they were drawn at random."""
    untrained = detector.untrained
    if not untrained or detector in _told:
        return
    _told.add(detector)
    names = ", ".join(untrained[:4]) + (f" and {len(untrained) - 4} more" if len(untrained) > 4 else "")
    _log.warning(
        "%s: not trained: %s drawn at random, so what it finds means nothing. Train it (detzoo.train), or load "
        'weights: detzoo.load(RUN), or detzoo.build(..., weights="published" or a RUN)',
        detector.name,
        f"{names} {'is' if len(untrained) == 1 else 'are'}",
    )
