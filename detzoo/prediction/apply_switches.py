"""What the switches do to a detector: folded, channels last, compiled."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from detzoo.prediction.fold_batch_norm import fold_batch_norm
from detzoo.prediction.predict import prepared
from detzoo.runtime.switches import Switches

if TYPE_CHECKING:
    from detzoo.interfaces import Detector


_log = logging.getLogger("detzoo.prediction")


def apply_switches(detector: Detector, switches: Switches, device: torch.device | str | None = None) -> Switches:
    """Move a detector to its device and prepare it as the switches say, in place.

    Args:
        detector: with its weights loaded. It is for inference afterwards: folded and compiled parts stay so.
        switches: what to do; ``precision`` is not done here but given to ``predict``, ``evaluate`` and ``benchmark``.
        device: None leaves it where it is.

    Returns:
        what was done, for the protocol: ``compile`` is False where the detector has no part to compile.
    """
    if device is not None:
        detector.to(device)
    if switches.fold:  # before channels_last and compile: both look at the modules that are left
        detector.eval()
        fold_batch_norm(detector, example_batch(detector))
    if switches.channels_last:
        detector.to(memory_format=torch.channels_last)
    if switches.compile and not compile_parts(detector):
        return dataclasses.replace(switches, compile=False)
    return switches


def compile_parts(detector: Detector) -> bool:
    """Compile what the detector says can be compiled.

    Post-processing and the pooling of regions stay eager: their shapes depend on what is found.

    Returns:
        whether there was anything.
    """
    parts = detector.compiled_parts()
    if not parts:
        _log.warning(
            "compile: %s has no part that can be compiled (compiled_parts is empty); it runs as it is",
            detector.name,
        )
    for part in parts:
        part.compile()  # in place: names in the state dict stay, where torch.compile(part) would wrap
    return bool(parts)


def example_batch(detector: Detector) -> Any:
    """Two images of noise, prepared."""
    return prepared(detector, noise(2, (240, 320)))


def noise(count: int, size: tuple[int, int], seed: int = 0) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Images uint8 [H,W,3] of blurred noise: the same ones every time."""
    import cv2

    generator = np.random.default_rng(seed)
    # coarse, then enlarged: neighbouring pixels agree, as in photographs
    coarse = (max(1, size[0] // 16), max(1, size[1] // 16), 3)
    images = []
    for _ in range(count):
        blurred = cv2.resize(generator.integers(0, 256, coarse, dtype=np.uint8), (size[1], size[0]))
        images.append(np.asarray(blurred, dtype=np.uint8))
    return images
