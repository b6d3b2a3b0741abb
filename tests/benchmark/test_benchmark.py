"""Timing, costs and switches of a small convolutional detector."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as active_modes
from torch.utils.flop_counter import FlopCounterMode

from detzoo.benchmark import TimingOptions, benchmark
from detzoo.benchmark.cost import count_flops, cpu_peak
from detzoo.benchmark.in_turn import benchmark_in_turn
from detzoo.benchmark.other_load import STAT, OtherLoad, busy_warning
from detzoo.benchmark.phases import percentiles
from detzoo.benchmark.speed import Benchmark, Timing
from detzoo.components.postprocess.top_k import TopK
from detzoo.errors import DetzooError
from detzoo.interfaces import Detector
from detzoo.ops.reparameterised import Reparameterised, sum_of_branches
from detzoo.prediction.apply_switches import apply_switches, example_batch, noise
from detzoo.prediction.fold_batch_norm import fold_batch_norm, largest_difference
from detzoo.prediction.fused_convolutions import FusedConv2d
from detzoo.prediction.input_spec import InputSpec
from detzoo.runtime.device import devices, pick_device
from detzoo.runtime.isolated import Failure
from detzoo.runtime.switches import Switches
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Predictions, Targets


class Small(Detector):
    """Convolution, norm, rectifier, convolution shared by two levels with one norm each, global mean as score."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = ("thing",)
        self.input = InputSpec(size=(32, 32), mean=(0, 0, 0), std=(1, 1, 1))
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.shared = nn.Conv2d(4, 4, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
        self.postprocess = TopK(keep=2)
        generator = torch.Generator().manual_seed(1)
        for norm in [self.stem[1], *self.norms]:
            norm.running_mean.uniform_(-0.5, 0.5, generator=generator)
            norm.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(norm.weight, 0.5, 2, generator=generator)
            nn.init.uniform_(norm.bias, -0.5, 0.5, generator=generator)

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        x = self.stem(batch.pixels)
        levels = [norm(self.shared(x)) for norm in self.norms]
        scores = torch.stack([level.mean(dim=(1, 2, 3)).sigmoid() for level in levels], dim=1)
        boxes = torch.tensor([0.0, 0, 16, 16]).expand(len(scores), 2, 4)
        found = Predictions(scores[..., None], "linear", torch.zeros(len(scores), 2, 1, 4))
        return Candidates(boxes, torch.ones_like(scores).bool()), found

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        return {}


def test_phases_percentiles_and_protocol() -> None:
    result = benchmark(Small(), TimingOptions(batch=2, size=(40, 50), iterations=6, warmup=1, device="cpu"))
    assert set(result.latency_ms) == {"pre", "forward", "post", "total"}
    assert all(0 < p["p50"] <= p["p95"] <= p["p99"] for p in result.latency_ms.values())
    assert result.images_per_s == pytest.approx(2000 / result.latency_ms["total"]["mean"])
    protocol = result.protocol
    assert (protocol["batch"], protocol["rounds"], protocol["warmup"]) == (2, 6, 1)
    assert (protocol["precision"], protocol["image_sizes"], protocol["images"]) == ("fp32", ["40x50"], "noise")
    assert (protocol["score_threshold"], protocol["keep"], protocol["compile"]) == (0.0, 2, False)
    assert "nms_iou" not in protocol  # there is none
    assert {"type", "name", "threads"} == set(protocol["device"])
    json.dumps(result.as_dict())


def test_costs_are_those_of_paper_and_pencil() -> None:
    result = benchmark(Small(), TimingOptions(iterations=1, warmup=0, device="cpu"))
    # stem 3*4*9 + norm 8, shared 16 + 4, two norms of 8
    assert result.cost.parameters == 108 + 8 + 20 + 16
    # buffers: three norms with 2 x 4 floats and one int64 counter
    assert result.cost.weights_bytes == 4 * 152 + 3 * (2 * 4 * 4 + 8)
    # stem: 32*32*4 outputs of 27 multiply-adds; shared, twice: 32*32*4 of 4
    assert result.cost.flops == 2 * (32 * 32 * 4 * 27 + 2 * 32 * 32 * 4 * 4)
    # at least input (3 planes) and stem output (4 planes) live together
    assert result.cost.peak_memory_bytes is not None
    assert result.cost.peak_memory_bytes >= 4 * 32 * 32 * 7


def test_cpu_peak_counts_what_lives_together() -> None:
    def run() -> None:
        for _ in range(5):
            torch.empty(250_000)  # 1 MB each, freed at once

    peak = cpu_peak(run)
    assert peak is not None
    assert 1_000_000 <= peak < 2_000_000


def test_flops_of_a_product() -> None:
    a, b = torch.ones(2, 3), torch.ones(3, 5)
    assert count_flops(lambda: a @ b) == 2 * 2 * 3 * 5


def test_a_parameter_given_to_a_module_without_gradients_is_counted() -> None:
    """As queries are, in every DETR: PyTorch's own counter raises there."""
    layer, queries = nn.Linear(3, 5), nn.Parameter(torch.ones(2, 3))
    with torch.no_grad():
        assert count_flops(lambda: layer(queries)) == 2 * 2 * 3 * 5


class Uncountable(Small):
    """Raises where its arithmetic is counted and nowhere else."""

    def detect(self, batch: ImageBatch, settings: DetectionSettings | None = None) -> DetectionBatch:
        if any(isinstance(mode, FlopCounterMode) or "Flop" in type(mode).__name__ for mode in active_modes()):
            raise KeyError("no formula")
        return super().detect(batch, settings)


def test_a_cost_that_cannot_be_measured_costs_no_other_number() -> None:
    result = benchmark(Uncountable(), TimingOptions(iterations=1, warmup=0, device="cpu"))
    assert (result.cost.flops, result.cost.parameters) == (None, 152)
    assert result.cost.failed == {"gflops": "KeyError: 'no formula'"}
    assert result.row()["latency_p50_ms"] > 0


class Failing(Small):
    """Finds nothing but an error."""

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        raise ZeroDivisionError("by design\nand more")


def test_detectors_take_turns_and_one_that_fails_drops_out_alone() -> None:
    order: list[str] = []

    class Told(Timing):
        def block(self, rounds: int) -> None:
            order.append(f"{self.detector.classes[0]} {rounds}")
            super().block(rounds)

    made = {"a": Small(), "bad": Failing(), "b": Small()}
    made["b"].classes, made["bad"].classes = ("other",), ("bad",)
    options = TimingOptions(iterations=7, warmup=1, device="cpu", size=(32, 32))
    found = benchmark_in_turn({name: Told(detector, options) for name, detector in made.items()})
    assert order == [f"{name} {rounds}" for rounds in (2, 2, 1, 1, 1) for name in ("thing", "other")]
    assert isinstance(found["bad"], Failure)
    assert found["bad"].message == "ZeroDivisionError: by design"
    for name in ("a", "b"):
        result = found[name]
        assert isinstance(result, Benchmark)
        assert result.protocol["rounds"] == 7
        assert result.spread is not None
        assert result.spread >= 0


def test_nothing_to_time() -> None:
    assert benchmark_in_turn({}) == {}


@pytest.mark.parametrize(("share", "said"), [(None, False), (0.0, False), (0.1, False), (0.4, True)])
def test_a_busy_machine_is_told(share: float | None, said: bool) -> None:
    warning = busy_warning("ssd", share)
    assert (warning is not None) == said
    if warning is not None:
        assert "ssd" in warning
        assert "40%" in warning


@pytest.mark.skipif(not STAT.exists(), reason="Linux only")
def test_the_processor_time_of_others_is_seen() -> None:
    burn = "import time\nend = time.monotonic() + 1.2\nwhile time.monotonic() < end: pass"
    load = OtherLoad()
    with subprocess.Popen([sys.executable, "-c", burn]) as other, load:
        time.sleep(1.0)
        other.kill()
    share = load.share
    assert share is not None
    assert share > 0.3 / (os.cpu_count() or 1)  # of one processor's second at least a third


def test_percentiles() -> None:
    found = percentiles([0.001 * n for n in range(1, 101)])
    assert found == pytest.approx({"mean": 50.5, "p50": 50.5, "p95": 95.05, "p99": 99.01})


def test_folding_leaves_the_answers_alone() -> None:
    detector = Small().eval()
    batch = example_batch(detector)
    with torch.no_grad():
        before = detector.detect(batch)
    # The shared convolution feeds two norms: it must stay.
    assert fold_batch_norm(detector, batch) == 1
    with torch.no_grad():
        after = detector.detect(batch)
    assert isinstance(detector.stem[1], nn.Identity)
    assert isinstance(detector.norms[0], nn.BatchNorm2d)
    torch.testing.assert_close(after.scores, before.scores, atol=1e-6, rtol=0)


class SideBySide(Reparameterised):
    """Two convolutions with norms, added."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.narrow = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = self.wide(x) + self.narrow(x)
        return added

    def merged(self) -> nn.Module:
        return sum_of_branches(self.wide, self.narrow)


def test_detections_before_and_after_folding_may_differ_in_number() -> None:
    def found(*scores: float) -> DetectionBatch:
        count = len(scores)
        boxes, labels = torch.zeros(1, count, 4), torch.zeros(1, count, dtype=torch.int64)
        return DetectionBatch(boxes, torch.tensor([scores]), labels, torch.ones(1, count, dtype=torch.bool))

    assert largest_difference(found(), found()) == 0
    assert largest_difference(found(0.9, 0.5), found(0.9, 0.5, 0.0)) == 0
    assert largest_difference(found(0.9, 0.5), found(0.9)) == 0.5
    assert math.isnan(largest_difference(found(0.9), found(float("nan"))))


def test_branches_are_merged_where_norms_are_folded() -> None:
    detector = Small().eval()
    detector.stem.append(SideBySide().eval())
    batch = example_batch(detector)
    with torch.no_grad():
        before = detector.detect(batch)
    assert fold_batch_norm(detector, batch) == 1 + 2
    with torch.no_grad():
        after = detector.detect(batch)
    assert isinstance(detector.stem[-1], FusedConv2d)
    torch.testing.assert_close(after.scores, before.scores, atol=1e-6, rtol=0)


def test_folding_frozen_norms_of_torchvision() -> None:
    from torchvision.ops import FrozenBatchNorm2d

    detector = Small().eval()
    live: Any = detector.stem[1]
    frozen = FrozenBatchNorm2d(4)
    frozen.load_state_dict({k: v for k, v in live.state_dict().items() if k != "num_batches_tracked"})
    detector.stem[1] = frozen
    assert fold_batch_norm(detector, example_batch(detector)) == 1


def test_switches() -> None:
    detector = Small()
    asked = Switches(fold=True, channels_last=True)
    assert apply_switches(detector, asked) == asked
    assert isinstance(detector.get_submodule("stem.1"), nn.Identity)
    weight = detector.get_parameter("stem.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    half = TimingOptions(iterations=1, warmup=0, switches=Switches(precision="bf16"))
    assert benchmark(Small(), half).protocol["precision"] == "bf16"


def test_wrong_settings() -> None:
    with pytest.raises(DetzooError) as caught:
        Switches(precision="fp8")  # type: ignore[arg-type]
    assert str(caught.value) == "precision 'fp8' is unknown; allowed: fp32, bf16, fp16"
    with pytest.raises(DetzooError) as caught:
        TimingOptions(batch=0)
    assert str(caught.value) == "batch and iterations must be 1 or more, warmup 0 or more"
    with pytest.raises(DetzooError) as caught:
        benchmark(Small(), TimingOptions(images=[]))
    assert str(caught.value) == "benchmark got an empty list of images; give at least one, or None for noise"
    with pytest.raises(DetzooError) as caught:
        pick_device("gpu")
    assert str(caught.value).startswith("device 'gpu' cannot be used: ")
    assert str(caught.value).endswith(f"allowed here: {', '.join(devices())}")


def test_noise_is_the_same_every_time() -> None:
    a, b = noise(2, (30, 40))
    assert a.shape == b.shape == (30, 40, 3)
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(a, noise(1, (30, 40))[0])
