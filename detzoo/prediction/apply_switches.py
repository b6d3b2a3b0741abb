"""What the switches do to a detector: folded, channels last, compiled."""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from detzoo.prediction.fold_batch_norm import fold_batch_norm
from detzoo.prediction.foreign_detector import ForeignDetector
from detzoo.prediction.predict import prepared
from detzoo.runtime.switches import Switches

if TYPE_CHECKING:
    from collections.abc import Callable

    from detzoo.interfaces import Detector
    from detzoo.interfaces.any_detector import AnyDetector


_log = logging.getLogger("detzoo.prediction")


def apply_switches(detector: AnyDetector, switches: Switches, device: torch.device | str | None = None) -> Switches:
    """Move a detector to its device and prepare it as the switches say, in place.

    Args:
        detector: with its weights loaded. It is for inference afterwards: folded and compiled parts stay so.
        switches: what to do; ``precision`` is not done here but given to ``predict``, ``evaluate`` and ``benchmark``.
        device: None leaves it where it is.

    Returns:
        what was done, for the protocol: ``compile`` is False where the detector has no part to compile, and a foreign
        detector takes no switch at all.
    """
    if device is not None:
        detector.to(device)
    if isinstance(detector, ForeignDetector):
        if switches != Switches():
            given = ", ".join(name for name, value in switches.as_dict().items() if value != Switches().as_dict()[name])
            _log.warning(
                "%s: not one of detzoo's detectors, so %s changes nothing; it runs as it is", detector.name, given
            )
        return Switches()
    if switches.fold:  # before channels_last and compile: both look at the modules that are left
        detector.eval()
        fold_batch_norm(detector, example_batch(detector))
    if switches.channels_last:
        detector.to(memory_format=torch.channels_last)
    if switches.compile and not compile_parts(detector, fixed_weights=True):
        return dataclasses.replace(switches, compile=False)
    return switches


def compile_parts(detector: Detector, *, fixed_weights: bool = False) -> bool:
    """Compile what the detector says can be compiled.

    Post-processing and the pooling of regions stay eager: their shapes depend on what is found.

    Args:
        detector: changed in place; names in its state dict stay.
        fixed_weights: the weights of the first call are compiled in, as constants that are laid out for the
            processor, with norms and activations in the convolutions; later changes are not seen
            (what it is worth: docs/results/speed.md).

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
        if fixed_weights:
            part.forward = frozen(part.forward)
        else:
            part.compile()  # in place: names in the state dict stay, where torch.compile(part) would wrap
    return bool(parts)


def frozen(forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward`` compiled with its weights as constants, wherever gradients are off."""
    # its guards on modules stay on: compiled code belongs to a class, and they tell two detectors of one class apart
    run = torch.compile(forward)

    @functools.wraps(forward)
    def run_frozen(*args: Any, **kwargs: Any) -> Any:
        # the tracer and the code generator read this switch from the process, not from compile's options; set for the
        # call alone, it leaves other compiled modules of the process as they are
        with torch._inductor.config.patch(freezing=True):
            return run(*args, **kwargs)

    return run_frozen


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
