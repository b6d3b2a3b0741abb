"""The stages of R-CNN and SPP-net, run, interrupted, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import detzoo
from detzoo.cli import app
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare
from detzoo.components.proposals.baselines import Uniform
from detzoo.components.proposals.image_level import ImageLevel
from detzoo.data.dataset import Dataset
from detzoo.errors import TrainingError
from detzoo.prediction.proposal_file import ProposalsError, image_key, write_proposals
from detzoo.runtime.drawing import write_image
from detzoo.weights.checkpoint import load_checkpoint
from detzoo_rcnn.fitting import windows_at_most
from detzoo_rcnn.region_svm import RegionSvm
from detzoo_rcnn.ridge import Ridge
from detzoo_rcnn.svm import LinearSvm
from detzoo_rcnn.window_store import WindowStore

SMALL: dict[str, Any] = {
    "input.size": [96, 128],
    "backbone.width": 0.25,
    "proposals": {"type": "image_level", "proposer": {"type": "uniform", "count": 20}, "training_top_k": 12},
    "head.fc": [16],
    "regressor.min_overlap": 0.1,  # few of a dozen random windows lie nearer
    "sampler.size": 8,
    "train.epochs": 1,
    "train.batch": 3,
}
RCNN: dict[str, Any] = SMALL | {
    "head.roi_pool.size": [32, 32],
    "head.roi_pool.context": 2,
    "head.grid": [1, 1],
}


SOFTMAX = ("--set", "classify_by=softmax", "--set", "correct_boxes=false")
OTHER_REGIONS = ("--set", "proposals.proposer={type: gaussian, count: 20}")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return detzoo.open_dataset("shapes", "train").subset(range(6))


def train(
    data: Dataset, out: Path, name: str = "rcnn_mobilenet_v2", *, resume: bool = False, **changes: Any
) -> RegionSvm:
    torch.manual_seed(0)
    base = RCNN if name.startswith("rcnn") else SMALL
    detector = detzoo.build(name, classes=data.classes, overrides=base | changes, weights=None)
    assert isinstance(detector, RegionSvm)
    detzoo.train(detector, data, out, val=data.subset(range(2)), resume=resume, workers=0, device="cpu", progress=False)
    return detector


@pytest.fixture(scope="module")
def trained(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train(data, out)
    return out


def weights(run: Path) -> dict[str, Tensor]:
    return load_checkpoint(run / "last.safetensors").model


def assert_equal(run: Path, other: Path) -> None:
    first, second = weights(run), weights(other)
    assert list(first) == list(second)
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


def test_windows_of_an_image_are_bounded_only_where_its_regions_are() -> None:
    ends, proposer = np.array([3, 3, 8]), Uniform(count=20)  # 3, 0 and 5 objects
    assert windows_at_most(ends, ImageLevel(proposer=proposer, training_top_k=12)) == 12 + 5
    assert windows_at_most(ends, ImageLevel(proposer=proposer, training_top_k=None)) is None
    assert windows_at_most(ends[:0], ImageLevel(proposer=proposer, training_top_k=12)) == 12


def test_a_run_ends_with_svms_and_boxes_in_its_checkpoint(trained: Path, data: Dataset) -> None:
    detector = detzoo.load(trained)

    assert isinstance(detector, RegionSvm)
    assert detector.classifier.fitted
    assert detector.regressor.state_dict()["weight"].any()
    names = {path.name for path in trained.iterdir()}
    assert {f"stage-{stage}.safetensors" for stage in ("fine-tune", "features", "svm")} <= names
    assert "best.safetensors" in names
    rows = (trained / "curve.csv").read_text().splitlines()
    assert len(rows) == 3  # its header, the epoch of fine-tuning without an AP, and the detector at the end
    assert rows[2].startswith("1,2,")
    store = (trained / "features" / "images").read_bytes()
    assert len(store) == 6 * 24
    assert len(detector.predict([data.sample(0).image], score_threshold=0.0, channels="rgb")[0]) > 0


def test_a_run_without_svms(data: Dataset, tmp_path: Path) -> None:
    detector = train(data, tmp_path / "run", classify_by="softmax", correct_boxes=False)

    assert not detector.classifier.fitted
    assert not (tmp_path / "run" / "features").exists()


def test_spp_net_trains_its_head_alone(data: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = detzoo.build("sppnet_mobilenet_v2", classes=data.classes, overrides=SMALL, weights=None).state_dict()

    after = train(data, tmp_path / "run", "sppnet_mobilenet_v2").state_dict()

    changed = {name.partition(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"head", "classifier", "regressor"}


@pytest.mark.parametrize("stage", ["features", "svm", "boxes"])
def test_killed_in_a_stage_and_resumed_the_weights_are_the_same(
    stage: str, trained: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """What no handler of the run catches."""

    count = 0

    def dies(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if stage != "features" or count > 3:
            raise Killed
        return append(*arguments, **named)

    append = WindowStore.append
    owner: Any = {"features": WindowStore, "svm": LinearSvm, "boxes": Ridge}[stage]
    monkeypatch.setattr(owner, "append" if stage == "features" else "fit", dies)
    with pytest.raises(Killed):
        train(data, tmp_path / "run")
    monkeypatch.undo()

    train(data, tmp_path / "run", resume=True)

    assert_equal(tmp_path / "run", trained)


def test_a_signal_stops_between_two_images(
    trained: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = WindowStore.append

    def signalled(*arguments: Any) -> None:
        real(*arguments)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(WindowStore, "append", signalled)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(data, tmp_path / "run")
    monkeypatch.undo()

    assert str(caught.value) == "stopped in stage features; repeat the command with --resume to continue"
    assert len((tmp_path / "run/features/images").read_bytes()) == 24
    train(data, tmp_path / "run", resume=True)
    assert_equal(tmp_path / "run", trained)


def test_features_of_other_regions_are_refused(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same path, another file: regions of other parameters must not be mixed with those that are there."""
    file, out = tmp_path / "regions.safetensors", tmp_path / "run"
    images = [data.sample(i).image for i in range(len(data))]
    boxes = torch.tensor([[0.0, 0, 30, 30], [10, 10, 60, 60], [5, 0, 50, 40]]).numpy()
    regions = {image_key(image): (boxes, boxes[:, 0]) for image in images}
    write_proposals(file, regions, method="by hand", parameters={"count": 3})
    proposals = {"type": "image_level", "proposer": {"type": "precomputed", "path": str(file)}}
    monkeypatch.setattr(LinearSvm, "fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(data, out, proposals=proposals)
    monkeypatch.undo()
    write_proposals(file, regions, method="by hand", parameters={"count": 4})

    with pytest.raises(TrainingError) as caught:
        train(data, out, proposals=proposals, resume=True)

    assert str(caught.value) == (
        f"{out}/features: holds features of something else:\n"
        "  origin.proposals file.parameters.count: 3 in the store, 4 now\n"
        f"Nothing was reused or changed. Remove {out}/features to make them again, or restore what they were made of."
    )


def test_the_commands_take_a_run_and_change_its_parts(trained: Path, tmp_path: Path) -> None:
    """predict, eval, bench and compare; SVMs or softmax, and other regions, on the same trained weights."""
    data = "shapes:train=6,val=3"
    write_image(tmp_path / "p.png", detzoo.open_dataset(data, "val").sample(0).image)
    for words in (
        ["predict", str(trained), str(tmp_path / "p.png"), "--out", str(tmp_path / "d")],
        ["eval", str(trained), "--data", data, "--split", "val", "--out", str(tmp_path / "e")],
        ["eval", str(trained), "--data", data, "--split", "val", "--out", str(tmp_path / "f"), *SOFTMAX],
        ["bench", str(trained), "--device", "cpu", "--iterations", "5", "--size", "60x80", *OTHER_REGIONS],
    ):
        out = CliRunner().invoke(app, words)
        assert out.exit_code == 0, out.output
    assert "proposals" in out.output
    svm, softmax = (json.loads((tmp_path / name / "detections.json").read_text()) for name in ("e", "f"))
    assert svm
    assert softmax != svm
    compared = ComparisonPlan(
        targets=[str(trained)], data=data, out=tmp_path / "c", split="val", device="cpu", iterations=5, largest_batch=1
    )
    comparison = compare(compared)
    assert comparison.failures == {}
    (entry,) = comparison.entries
    latency = entry.benchmark["latency_ms"]
    assert latency["total"]["mean"] > latency["without_proposals"]["mean"] > 0


def test_a_file_without_the_images_to_evaluate_on_is_refused_at_once(data: Dataset, tmp_path: Path) -> None:
    boxes = torch.tensor([[0.0, 0, 30, 30]]).numpy()
    learnt = {image_key(data.sample(i).image): (boxes, boxes[:, 0]) for i in range(len(data))}
    write_proposals(tmp_path / "r.safetensors", learnt, method="uniform", parameters={})
    proposer = {"type": "precomputed", "path": str(tmp_path / "r.safetensors")}
    overrides = RCNN | {"proposals": {"type": "image_level", "proposer": proposer}}
    detector = detzoo.build("rcnn_mobilenet_v2", classes=data.classes, overrides=overrides, weights=None)
    val = detzoo.open_dataset("shapes", "val")

    with pytest.raises(ProposalsError, match=r"^shapes-val-00000.*: .*holds no proposals for this image"):
        detzoo.train(detector, data, tmp_path / "run", val=val, device="cpu", progress=False)

    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_sigkill_while_extracting(tmp_path: Path) -> None:
    """The process itself, killed as soon as some images are in the store, and the command repeated."""
    sets = ["proposals.top_k=20", "input.size=[96,128]", "backbone.width=0.25", "head.roi_pool.size=[32,32]"]
    sets += ["head.roi_pool.context=2", "head.grid=[1,1]", "head.fc=[16]", "proposals.training_top_k=20"]
    sets += ["proposals.proposer={type: uniform, count: 20}", "backbone.weights=null"]

    def command(out: Path, *more: str) -> list[str]:
        options = [part for value in sets for part in ("--set", value)]
        base = [sys.executable, "-c", "from detzoo.cli import main; main()", "train", "rcnn_mobilenet_v2"]
        return [*base, "--data", "shapes", "--out", str(out), "--epochs", "1", "--weights", "none", *options, *more]

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(command(killed), stderr=subprocess.DEVNULL)
    images = killed / "features" / "images"
    while not (images.is_file() and images.stat().st_size > 24 * 20):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command(killed, "--resume"), check=True, stderr=subprocess.DEVNULL)
    subprocess.run(command(whole), check=True, stderr=subprocess.DEVNULL)

    assert_equal(killed, whole)
