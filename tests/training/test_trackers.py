"""``--track``: the same numbers, parameters and images in each tracker's own store, one run over a resume."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detzoo.errors import DetzooError, TrainingError
from detzoo.runtime.git_state import git_state
from detzoo.training import train
from detzoo.training.options import TRACKERS, TrainOptions
from detzoo.training.trackers import TRACKED, check_trackers, flat
from detzoo.types import ImageBatch, Targets
from tests.training.training_toy import ToyDataset, ToyDetector, read_log, toy

# TensorBoard, MLflow and their like are not free of deprecated calls
pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 12  # 4 epochs of 3


def run(out: Path, *track: str, stop: int | None = None, **options: Any) -> ToyDetector:
    """Train 12 steps; ``stop``: Ctrl-C in that step."""
    detector = toy(epochs=4)
    real, calls = detector.losses, [0]

    def losses(batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        calls[0] += 1
        if calls[0] == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return real(batch, targets)

    detector.losses = losses  # type: ignore[method-assign]
    given = {"device": "cpu", "workers": 0, "progress": False, "track": track, **options}
    if stop is None:
        train(detector, ToyDataset(), out, val=ToyDataset(5, "val"), **given)
    else:
        with pytest.raises(KeyboardInterrupt):
            train(detector, ToyDataset(), out, val=ToyDataset(5, "val"), **given)
    return detector


def interrupted_and_resumed(out: Path, name: str) -> None:
    run(out, name, stop=8)
    run(out, name, resume=True)


def losses_of(out: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in read_log(out)}


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    interrupted_and_resumed(out, "tensorboard")
    board = EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    points = {event.step: event.value for event in board.Scalars("loss/total")}
    assert points == pytest.approx(losses_of(out))
    assert [event.step for event in board.Scalars("validation/AP")] == [3, 6, 9, 12]
    assert [event.step for event in board.Images("predictions/3")][-1] == STEPS
    assert board.Images("predictions/0")[0].width == 32
    assert "backbone.0.weight" in board.Tags()["histograms"]
    (written,) = (out / "tensorboard").rglob("hparams.yml")  # once, not again by the resume
    assert "recipe.lr: 0.05" in written.read_text()


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    out = tmp_path / "cells"
    run(out, "mlflow", stop=8)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("detzoo").experiment_id
    assert [one.info.status for one in client.search_runs([experiment])] == ["KILLED"]
    run(out, "mlflow", resume=True)
    (found,) = client.search_runs([experiment])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "cells")
    assert (found.data.params["recipe.lr"], found.data.params["run.batch"]) == ("0.05", "8")
    assert found.data.params["versions.torch"] == metadata.version("torch")
    number = found.info.run_id
    points = {point.step: point.value for point in client.get_metric_history(number, "loss/total")}
    assert points == pytest.approx({step: losses_of(out)[step] for step in (1, 10)})
    assert [point.step for point in client.get_metric_history(number, "validation/AP")] == [3, 6, 9, 12]
    images = [file.path for file in client.list_artifacts(number, "images")]
    assert sum("+step+12+" in name and name.endswith(".png") for name in images) == 4


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    out = tmp_path / "run"
    interrupted_and_resumed(out, "wandb")
    own = json.loads((out / TRACKED).read_text())["wandb"]["id"]
    files = sorted((out / "wandb").glob(f"offline-run-*-{own}/run-{own}.wandb"))
    assert len(files) == 2  # `wandb sync` joins them: one id
    for file in files:
        content = file.read_bytes()
        assert all(word in content for word in (b"loss/total", b"validation/AP", b"predictions/0"))
    assert b"recipe.lr" in files[0].read_bytes()


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    trackio = pytest.importorskip("trackio")
    out = tmp_path / "run"
    interrupted_and_resumed(out, "trackio")
    assert capsys.readouterr().out == ""  # standard output is for results
    name = json.loads((out / TRACKED).read_text())["trackio"]["name"]
    (found,) = trackio.Api().runs("detzoo")
    assert found.name == name
    assert found.config["recipe.lr"] == 0.05
    rows = sqlite3.connect(tmp_path / "trackio" / "detzoo.db").execute("select step, metrics from metrics").fetchall()
    points = {step: json.loads(values)["loss/total"] for step, values in rows if "loss/total" in json.loads(values)}
    assert points == pytest.approx({step: losses_of(out)[step] for step in (1, 10)})


def test_training_is_the_same_with_trackers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    plain, tracked = run(tmp_path / "plain"), run(tmp_path / "tracked", "tensorboard")
    for name, value in plain.state_dict().items():
        assert torch.equal(value, tracked.state_dict()[name]), name
    assert not (tmp_path / "plain" / TRACKED).exists()


def test_a_tracker_that_cannot_begin_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    run(out, stop=2)
    (out / "tensorboard").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        run(out, "tensorboard", resume=True)
    (message,) = [record.getMessage() for record in caplog.records if "--track" in record.getMessage()]
    assert message.startswith("--track tensorboard: failed (FileExistsError")
    assert message.endswith("; the training goes on without it")
    assert len(losses_of(out)) == STEPS


def test_a_tracker_that_fails_later_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    from accelerate.tracking import TensorBoardTracker

    def full(self: TensorBoardTracker, values: dict[str, float], step: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TensorBoardTracker, "log", full)
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "run", "tensorboard")
    told = [record.getMessage() for record in caplog.records if "--track" in record.getMessage()]
    assert told == [
        "--track tensorboard: failed (OSError: [Errno 28] No space left on device); the training goes on without it"
    ]
    assert len(losses_of(tmp_path / "run")) == STEPS


def test_a_server_that_is_not_there_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    try:
        with caplog.at_level(logging.WARNING):
            run(tmp_path / "run", "mlflow")
    finally:
        mlflow.set_tracking_uri(None)
    assert any("--track mlflow: failed (MlflowException" in record.getMessage() for record in caplog.records)
    assert len(losses_of(tmp_path / "run")) == STEPS


def test_an_altered_file_of_trackers_begins_new_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorboard")
    run(tmp_path / "run", "tensorboard", stop=2)
    (tmp_path / "run" / TRACKED).write_text("[1")
    run(tmp_path / "run", "tensorboard", resume=True)
    assert any("it was altered" in record.getMessage() for record in caplog.records)
    assert json.loads((tmp_path / "run" / TRACKED).read_text()) == {"tensorboard": {}}


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    with pytest.raises(TrainingError, match=rf"--track {name}: it cannot be imported .*detzoo\[{name}\]$"):
        check_trackers((name,))
    with pytest.raises(TrainingError, match="cannot be imported"):
        run(tmp_path / "run", name)
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_named_with_the_known_ones() -> None:
    with pytest.raises(DetzooError, match=r"mlfow.*mlflow"):
        TrainOptions.of({"track": ["mlfow"]})
    with pytest.raises(DetzooError, match=r"give a tuple of names, as \('mlflow',\)"):
        TrainOptions.of({"track": "mlflow"})
    assert TrainOptions.of({"track": ["wandb"]}).track == ("wandb",)


def test_nested_values_have_dotted_names() -> None:
    assert flat({}) == {}
    assert flat({"a": {"b": 1, "c": {"d": None}}, "e": [1, "x"], "f": {}, "g": True}) == {
        "a.b": 1, "a.c.d": None, "e": '[1, "x"]', "f": "{}", "g": True,
    }  # fmt: skip


def test_the_state_of_a_repository(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {}

    def git(*words: str) -> str:
        named = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=trunk")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *named, *words], check=True, capture_output=True, text=True
        ).stdout

    git("init")
    assert git_state(tmp_path) == {}  # no commit yet
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "one")
    commit = git("rev-parse", "HEAD").strip()
    assert git_state(tmp_path) == {"commit": commit, "branch": "trunk", "changed": False}
    (tmp_path / "new").write_text("not tracked")
    assert git_state(tmp_path)["changed"] is False
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path)["changed"] is True
