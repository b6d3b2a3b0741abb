"""What a detector costs: parameters, arithmetic, bytes of weights, peak memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from detzoo.benchmark.energy import Energy, measure_energy
from detzoo.benchmark.zipped import file_pieces, tensor_pieces, zipped_bytes
from detzoo.prediction.foreign_detector import ForeignDetector
from detzoo.prediction.fused_convolutions import supported
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.isolated import Failure, isolated

if TYPE_CHECKING:
    from detzoo.interfaces import Detector
    from detzoo.interfaces.any_detector import AnyDetector
    from detzoo.types import ImageBatch


@dataclass(frozen=True)
class Cost:
    """Costs of one forward pass and of keeping the model.

    Args:
        parameters: numbers that are learnt; None where a foreign detector does not tell.
        weights_bytes: of parameters and buffers; None likewise.
        flops: of one image, masks of what is found included; a multiply-add counts as two. None where they cannot be
            counted.
        peak_memory_bytes: beyond what was in use before the pass, or None.
        peak_memory_of: what exactly was measured.
        failed: what could not be measured, by name, and why.
        zipped_bytes: of the weights in a zip file; None where it was not asked for, or a foreign detector has no file.
        joules_per_image: energy of the processor; None where it was not asked for, or the system does not tell.
        energy_of: what exactly was measured, or why it was not; empty where it was not asked for.
    """

    parameters: int | None
    weights_bytes: int | None
    flops: int | None
    peak_memory_bytes: int | None
    peak_memory_of: str
    failed: dict[str, str] = field(default_factory=dict)
    zipped_bytes: int | None = None
    joules_per_image: float | None = None
    energy_of: str = ""


def count_parameters(detector: Detector) -> int:
    """Numbers that are learnt, shared ones once."""
    return sum(p.numel() for p in detector.parameters())


def weights_bytes(detector: Detector) -> int:
    """Bytes of parameters and of buffers that a checkpoint holds."""
    return sum(t.numel() * t.element_size() for t in detector.state_dict().values())


class _NoModules:
    """In place of the counter's record of which module is at work.

    That record hooks into autograd, and raises where a parameter is given to a module without gradients (PyTorch 2.14:
    every DETR does that with its queries). Only the sum is wanted here.
    """

    parents: ClassVar[frozenset[str]] = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _fused_convolution_flops(x: Any, weight: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return int(conv_flop_count(x, weight, out_shape))


def count_flops(run: Callable[[], Any]) -> int:
    """Multiply-adds times two of convolutions and matrix products; pointwise work and NMS are not counted."""
    # what the counter does not know: of folded detectors on a CPU
    fused = {torch.ops.mkldnn._convolution_pointwise: _fused_convolution_flops} if supported() else {}
    counter = FlopCounterMode(display=False, custom_mapping=fused)
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]  # all that the counter asks of it
    # eagerly: the counter sees single operations, and what was compiled has none
    with torch.compiler.set_stance("force_eager"), counter:
        run()
    return int(counter.get_total_flops())


def peak_memory(run: Callable[[], Any], device: torch.device) -> tuple[int | None, str]:
    """(bytes, what they are) that ``run`` needs beyond what is in use before it."""
    if device.type == "cuda":
        run()
        torch.cuda.synchronize(device)
        held = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - held, "CUDA caching allocator, tensors, beyond the weights"
    if device.type == "cpu":
        return cpu_peak(run), "CPU tensor allocations seen by torch.profiler, beyond the weights"
    return None, f"not measured on {device.type}"


@contextlib.contextmanager
def quiet_profiler() -> Iterator[None]:
    """The profiler's library writes about missing GPUs to stderr unless an environment variable forbids it."""
    key = "KINETO_LOG_LEVEL"
    before = os.environ.get(key)
    os.environ.setdefault(key, "99")
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]


def cpu_peak(run: Callable[[], Any]) -> int | None:
    """Highest sum of tensor bytes allocated and not yet freed during ``run``."""
    with (
        quiet_profiler(),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as trace,
    ):
        run()
    results = getattr(trace.profiler, "kineto_results", None)
    if results is None:
        return None
    changes = sorted((e.start_ns(), e.nbytes()) for e in results.events() if e.name() == "[memory]")
    live = peak = 0
    for _, change in changes:
        live += change
        peak = max(peak, live)
    return peak


def measure_cost(detector: Detector, one: ImageBatch, run: Callable[[], Any], device: torch.device) -> Cost:
    """All costs of a detector.

    Args:
        detector: in evaluation mode.
        one: a single prepared image, for the arithmetic.
        run: one whole pass of the batch under test, for the memory.
        device: where the detector is.
    """
    memory = isolated(lambda: peak_memory(run, device))
    flops = isolated(lambda: count_flops(lambda: detector.detect(one)))
    failed = {"peak_memory_mib": memory, "gflops": flops}
    peak, kind = (None, "not measured") if isinstance(memory, Failure) else memory
    return Cost(
        parameters=count_parameters(detector),
        weights_bytes=weights_bytes(detector),
        flops=None if isinstance(flops, Failure) else flops,
        peak_memory_bytes=peak,
        peak_memory_of=kind,
        failed={name: found.message for name, found in failed.items() if isinstance(found, Failure)},
    )


def foreign_cost(detector: ForeignDetector) -> Cost:
    """As far as a foreign detector describes itself; its memory and arithmetic are out of sight."""
    told = detector.described
    parameters, size = told.get("parameters"), told.get("weights_bytes")
    return Cost(
        parameters=parameters if isinstance(parameters, int) else None,
        weights_bytes=size if isinstance(size, int) else None,
        flops=None,
        peak_memory_bytes=None,
        peak_memory_of="not measured of a foreign detector, which runs in a process of its own",
    )


def with_deployment(
    cost: Cost, detector: AnyDetector, run: Callable[[], object], images: int, device: torch.device
) -> Cost:
    """The cost with what matters on a small machine: zipped weights, and energy.

    Args:
        cost: so far.
        detector: whose it is.
        run: handles ``images`` images.
        images: how many.
        device: where the detector is.
    """
    if isinstance(detector, ForeignDetector):
        file = Path(detector.name)
        files = [file, file.with_suffix(".bin")] if file.suffix == ".xml" else [file]
        size = zipped_bytes(file_pieces(files)) if all(is_ordinary(one) for one in files) else None
    else:
        size = zipped_bytes(tensor_pieces(detector.state_dict().values()))
    tells = device.type == "cpu"
    energy = measure_energy(run, images) if tells else Energy(None, f"not measured on {device.type}")
    return dataclasses.replace(cost, zipped_bytes=size, joules_per_image=energy.joules_per_image, energy_of=energy.of)
