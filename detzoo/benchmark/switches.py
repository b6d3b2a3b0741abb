"""--compile, --channels-last, --precision, --fold: ways to run the same detector faster, never another detector."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch

from detzoo.errors import DetzooError

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Switches:
    """How a detector is run.

    Args:
        compile: the network through ``torch.compile``; the first call of each input size takes long.
        channels_last: weights and activations as NHWC in memory.
        fold: batch norms folded into the convolutions before them.
        precision: of the network; scores, decoding and suppression stay in float32.
    """

    compile: bool = False
    channels_last: bool = False
    fold: bool = False
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise DetzooError(f"precision {self.precision!r} is unknown; allowed: fp32, bf16, fp16")

    def as_dict(self) -> dict[str, Any]:
        """For a protocol."""
        return dataclasses.asdict(self)


def pick_device(name: str | None) -> torch.device:
    """The named device, or the best there is.

    Raises:
        DetzooError: there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        unknown = "at start of device string" in str(error)
        reason = "there is no such kind of device" if unknown else str(error).splitlines()[0]
        raise DetzooError(f"device {name!r} cannot be used: {reason}; allowed here: {', '.join(devices())}") from None
    return device


def devices() -> list[str]:
    """Names of the devices of this machine."""
    found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def apply_switches(detector: Detector, switches: Switches, device: torch.device | str | None = None) -> Detector:
    """Move a detector to its device and prepare it as the switches say, in place.

    Args:
        detector: with its weights loaded. It is for inference afterwards: folded and compiled parts stay so.
        switches: what to do; ``precision`` is not done here but given to ``predict``, ``evaluate`` and ``benchmark``.
        device: None leaves it where it is.
    """
    if device is not None:
        detector.to(device)
    if switches.fold:
        from detzoo.benchmark.fold import fold_batch_norm

        detector.eval()
        fold_batch_norm(detector, example_batch(detector))
    if switches.channels_last:
        detector.to(memory_format=torch.channels_last)
    if switches.compile:
        compile_network(detector)
    return detector


def compile_network(detector: Detector) -> None:
    """Compile what turns pixels into predictions: the join's ``network``, or its parts where there is none.

    Post-processing and the pooling of regions stay eager: their shapes depend on what is found.
    """
    network = getattr(detector, "network", None)
    if network is not None:
        vars(detector)["network"] = torch.compile(network)  # shadows the method of this one object
        return
    for path in ("backbone", "neck", "head", "proposals.head"):
        part: Any = detector
        for name in path.split("."):
            part = getattr(part, name, None)
        if isinstance(part, torch.nn.Module):
            part.compile()


def example_batch(detector: Detector) -> Any:
    """Two pictures of noise, prepared."""
    from detzoo.detectors.prediction import prepared

    return prepared(detector, noise(2, (240, 320)))


def noise(count: int, size: tuple[int, int], seed: int = 0) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Pictures uint8 [H,W,3] of blurred noise: the same ones every time."""
    import cv2

    generator = np.random.default_rng(seed)
    coarse = (max(1, size[0] // 16), max(1, size[1] // 16), 3)
    pictures = []
    for _ in range(count):
        blurred = cv2.resize(generator.integers(0, 256, coarse, dtype=np.uint8), (size[1], size[0]))
        pictures.append(np.asarray(blurred, dtype=np.uint8))
    return pictures
