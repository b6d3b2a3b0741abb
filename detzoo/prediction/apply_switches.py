"""What the switches do to a detector: folded, channels last, compiled."""

from __future__ import annotations

import dataclasses
import functools
import logging
import types
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
    """A module's ``forward`` compiled with its weights as constants, wherever gradients are off."""
    alone = with_own_code(forward)
    # what a module holds is constant here: looking at hundreds of them before each call takes a fifth of the time
    run = torch.compile(
        alone, fullgraph=True, options={"guard_filter_fn": torch.compiler.skip_guard_on_all_nn_modules_unsafe}
    )

    @functools.wraps(forward)
    def run_frozen(*args: Any, **kwargs: Any) -> Any:
        nonlocal run
        # the tracer and the code generator read this switch from the process, not from compile's options; set for the
        # call alone, it leaves other compiled modules of the process as they are
        with torch._inductor.config.patch(freezing=True):
            try:
                return run(*args, **kwargs)
            except torch._dynamo.exc.Unsupported:
                # not one graph: functions that it calls are compiled apart, for all modules of their class; the guards
                # tell those apart
                run = torch.compile(alone)
                return run(*args, **kwargs)

    return run_frozen


def with_own_code(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same bound method with a code object of its own.

    Compiled code belongs to a code object, which all modules of a class share: without guards on modules, one would run
    with the weights of another.
    """
    function = method.__func__  # type: ignore[attr-defined]
    code = function.__code__.replace(co_name=function.__name__)
    own = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    own.__kwdefaults__ = function.__kwdefaults__
    return types.MethodType(own, method.__self__)  # type: ignore[attr-defined]


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
