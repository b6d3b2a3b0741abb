"""What matters on a small machine: threads, energy, the size of what is downloaded."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detzoo.benchmark import TimingOptions, benchmark
from detzoo.benchmark.bench_command import bench_targets, render
from detzoo.benchmark.energy import Counter, counters, measure_energy, used
from detzoo.benchmark.zipped import file_pieces, tensor_pieces, zipped_bytes
from detzoo.components.postprocess.top_k import TopK
from detzoo.errors import DetzooError
from detzoo.interfaces import Detector
from detzoo.prediction.input_spec import InputSpec
from detzoo.runtime.parallel import cores
from detzoo.runtime.switches import Switches
from detzoo.runtime.thread_counts import parse_threads, torch_threads
from detzoo.types import Candidates, DetectionSettings, ImageBatch, Predictions, Targets


class Counting(Detector):
    """Finds nothing much, and notes how many threads it ran with."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.classes = InputSpec(size=(16, 16)), ("thing",)
        self.postprocess = TopK(keep=1)
        self.weight = nn.Parameter(torch.zeros(1000))
        self.threads: set[int] = set()

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        self.threads.add(torch.get_num_threads())
        count = len(batch.pixels)
        box = torch.tensor([0.0, 0.0, 8.0, 8.0]).expand(count, 1, 4)
        found = Predictions(torch.full((count, 1, 1), 0.5), "linear", torch.zeros(count, 1, 1, 4))
        return Candidates(box, torch.ones(count, 1, dtype=torch.bool)), found

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, torch.Tensor]:
        raise NotImplementedError


def package(root: Path, number: int, microjoules: int, name: str = "package-0", most: int = 1000) -> Path:
    """A zone as the kernel shows it."""
    zone = root / f"intel-rapl:{number}"
    zone.mkdir(parents=True)
    for file, value in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", most)):
        (zone / file).write_text(f"{value}\n", encoding="ascii")
    return zone / "energy_uj"


def test_packages_are_found_and_their_parts_are_not_counted_again(tmp_path: Path) -> None:
    package(tmp_path, 0, 5)
    package(tmp_path, 1, 7, "package-1")
    package(tmp_path, 2, 9, "psys")
    (tmp_path / "intel-rapl:0:0").mkdir()
    (tmp_path / "intel-rapl:0:0" / "name").write_text("core\n")
    found = counters(tmp_path)
    assert isinstance(found, list)
    assert [one.read() for one in found] == [5, 7]


def test_a_counter_that_began_again_is_understood() -> None:
    packages = [Counter(Path("a"), 1000), Counter(Path("b"), 1000)]
    # 100 -> 400 is 300, 900 -> 50 is 150 microjoules beyond the end at 1000
    assert used([100, 900], [400, 50], packages) == pytest.approx(450e-6)


def test_energy_of_an_image(tmp_path: Path) -> None:
    file = package(tmp_path, 0, 0, most=10**12)
    rounds = [0]

    def run() -> None:
        rounds[0] += 1
        file.write_text(f"{rounds[0] * 6_000_000}\n", encoding="ascii")  # 6 J for two images

    found = measure_energy(run, 2, root=tmp_path, seconds=0.0)
    assert rounds == [5]
    assert found.joules_per_image == pytest.approx(3.0)
    assert "RAPL" in found.of


def test_a_system_that_does_not_tell_says_so(tmp_path: Path) -> None:
    ran: list[int] = []
    found = measure_energy(lambda: ran.append(1), 1, root=tmp_path / "powercap")
    assert (found.joules_per_image, found.of) == (None, f"not measured: the system has no {tmp_path / 'powercap'}")
    assert ran == []
    (tmp_path / "powercap").mkdir()
    assert measure_energy(lambda: None, 1, root=tmp_path / "powercap").of.endswith("has no processor package")
    package(tmp_path / "powercap", 0, 0).write_text("much")
    assert "cannot be read" in measure_energy(lambda: None, 1, root=tmp_path / "powercap").of


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_counter_for_root_alone_is_told(tmp_path: Path) -> None:
    package(tmp_path, 0, 0).chmod(0)
    assert measure_energy(lambda: None, 1, root=tmp_path).of.endswith("may be read by root alone")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_the_zipped_size_is_that_of_a_zip_file(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.from_numpy(np.random.default_rng(0).normal(0, 20, (50, 40)).astype(np.float32)).to(dtype)
    data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("weights", data)
        size = file.infolist()[0].compress_size
    assert zipped_bytes(tensor_pieces([tensor])) == size
    (tmp_path / "weights").write_bytes(data)
    assert zipped_bytes(file_pieces([tmp_path / "weights"])) == size
    assert zipped_bytes([]) == 2  # deflate's empty stream


def test_a_detector_is_timed_with_the_threads_asked_for() -> None:
    before, detector = torch.get_num_threads(), Counting()
    other = before + 1
    result = benchmark(
        detector, TimingOptions(device="cpu", size=(16, 16), iterations=1, warmup=1, threads=other, deployment=True)
    )
    assert detector.threads == {other}
    assert torch.get_num_threads() == before
    assert result.row()["threads"] == result.protocol["device"]["threads"] == other
    assert result.cost.zipped_bytes is not None
    assert result.cost.weights_bytes == 4000
    assert result.cost.zipped_bytes < 50  # zeros
    plain = benchmark(detector, TimingOptions(device="cpu", size=(16, 16), iterations=1, warmup=0))
    assert "threads" not in plain.row()
    assert (plain.cost.zipped_bytes, plain.cost.energy_of) == (None, "")


def test_threads_stay_as_they_were() -> None:
    before = torch.get_num_threads()
    with torch_threads(None):
        assert torch.get_num_threads() == before
    with pytest.raises(KeyError), torch_threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before


def test_threads_are_read_as_they_are_written() -> None:
    assert parse_threads("1") == parse_threads(" 1,1 ") == (1,)
    for text, message in (("1,x", "'x' is no number"), ("", "'' is no number"), ("0", "'0' is no number")):
        with pytest.raises(DetzooError, match=message):
            parse_threads(text)
    with pytest.raises(DetzooError, match=f"may use {cores()} processor cores"):
        parse_threads(f"1,{cores() + 1}")


def test_bench_shows_threads_zipped_weights_and_energy() -> None:
    benched = bench_targets(
        ["ssd_mobilenet_v2_fpn"],
        device="cpu", batch=1, size="64", data=None, split=None, iterations=1, warmup=0,
        set_=["input.size=[64,64]", "backbone.weights=null"], settings=DetectionSettings(), switches=Switches(),
        threads=(1,),
    )  # fmt: skip
    assert [result.row()["threads"] for result in benched.results] == [1]
    text = render(benched, as_json=False)
    assert "zip MiB" in text
    assert "energy: " in text
    assert text.count("untrained: post-processing takes another time") == 1
