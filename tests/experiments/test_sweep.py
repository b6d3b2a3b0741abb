"""A whole sweep: what is trained, kept, refused and said; with real processes where they are what is tested."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from detzoo.errors import DetzooError, RecipeError, TrainingError
from detzoo.experiments.job import Job, Outcome, reason
from detzoo.experiments.local import LocalWorkers, local_devices, manner
from detzoo.experiments.run_sweep import SweepResult, check_all_done, from_everywhere, sweep
from detzoo.experiments.sweep_plan import SweepPlan
from detzoo.runtime.folder_claim import wait_for_folder
from detzoo.training.log import read_curve
from detzoo.training.options import TrainCommand
from tests.experiments.processes import DATA, RECIPE, detzoo, wait_for

FAST: dict[str, Any] = {"target": RECIPE, "data": DATA, "weights": "none", "devices": "cpu", "batch": 4, "workers": 0}


class Rehearsal:
    """Workers that end each run at once: AP is a tenth of the number of runs so far."""

    jobs: list[Job]

    def __init__(self, devices: Sequence[str], logs: Path) -> None:
        self.room, self.running = len(devices), list[Job]()

    @property
    def free(self) -> bool:
        return len(self.running) < self.room

    @property
    def busy(self) -> bool:
        return bool(self.running)

    def start(self, job: Job) -> str:
        Rehearsal.jobs.append(job)
        self.running.append(job)
        if job.name.endswith("=99"):
            os.kill(os.getpid(), signal.SIGINT)
        return "cpu"

    def ended(self) -> list[Outcome]:
        over = [self._outcome(job) for job in self.running if not job.name.endswith("=99")]
        self.running = [job for job in self.running if job.name.endswith("=99")]
        return over

    def _outcome(self, job: Job) -> Outcome:
        if job.name.endswith("=13"):
            return Outcome(name=job.name, state="failed", why="out of memory")
        return Outcome(name=job.name, state="done", AP=len(Rehearsal.jobs) / 10, best_epoch=1)

    def stop(self) -> list[Outcome]:
        return [Outcome(name=job.name, state="stopped") for job in self.running]


@pytest.fixture
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Runs that were started; nothing is trained."""
    Rehearsal.jobs = []
    monkeypatch.setattr("detzoo.experiments.dispatch.LocalWorkers", Rehearsal)
    return Rehearsal.jobs


def run(out: Path, *set_: str, **changes: Any) -> tuple[SweepResult, list[str]]:
    said: list[str] = []
    return sweep(SweepPlan(**{**FAST, **changes}, overrides=set_, out=out), said.append), said


def test_a_larger_grid_adds_runs_and_keeps_the_finished(rehearsed: list[Job], tmp_path: Path) -> None:
    run(tmp_path, "train.seed=0,1")
    assert [job.name for job in rehearsed] == ["train.seed=0", "train.seed=1"]
    result, said = run(tmp_path, "train.seed=1,2,0")
    assert [job.name for job in rehearsed] == ["train.seed=0", "train.seed=1", "train.seed=2"]
    assert said[0] == f"3 runs in {tmp_path}: 1 to train, 2 done before"
    assert [row["name"] for row in result.table.rows] == ["train.seed=2", "train.seed=1", "train.seed=0"]
    # seed 2 of another learning rate is new; the recipe's own rate, 2e-3, written out, is what was trained already
    run(tmp_path, "lr=0.002,0.004", "train.seed=2")
    assert [job.name for job in rehearsed[3:]] == ["lr=0.004,train.seed=2"]
    assert rehearsed[-1].command.overrides == ("train.optimizer.lr=0.004", "train.seed=2")
    assert rehearsed[-1].command.out == tmp_path / "runs" / "lr=0.004,train.seed=2"


def test_what_failed_is_tried_again_and_stops_nothing(rehearsed: list[Job], tmp_path: Path) -> None:
    result, _ = run(tmp_path, "train.seed=13,1", "neck={type: identity},{type: nonsense}")
    assert [job.name for job in rehearsed] == ["train.seed=13,neck=identity", "train.seed=1,neck=identity"]
    (tmp_path / "again").mkdir()
    result, said = run(tmp_path / "again", "neck={type: nonsense},{type: identity}", "train.seed=13,1")
    assert said[0] == f"4 runs in {tmp_path / 'again'}: 2 to train, 2 that cannot be built"
    assert [entry.outcome.state for entry in result.entries] == ["failed", "failed", "failed", "done"]
    assert result.table.notes[1] == "failed: neck=identity,train.seed=13: out of memory"
    assert result.table.notes[0].startswith(
        "failed: neck=nonsense,train.seed=13; neck=nonsense,train.seed=1: --set neck: detectors.ssd_resnet18.neck."
        'type: unknown neck "nonsense"; installed: '
    )
    with pytest.raises(DetzooError) as caught:
        check_all_done(result)
    assert str(caught.value) == "3 of 4 runs failed; see the notes below the table"
    before = len(rehearsed)
    run(tmp_path / "again", "neck={type: identity}", "train.seed=13,1")
    assert [job.name for job in rehearsed[before:]] == ["neck=identity,train.seed=13"]


def test_paths_mean_the_same_from_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(RECIPE).parent)
    near, far = Path(RECIPE).name, f"../{Path(RECIPE).parent.name}/{Path(RECIPE).name}"
    assert from_everywhere(near) == from_everywhere(far) == RECIPE
    assert from_everywhere(DATA) == DATA


def test_a_grid_of_which_nothing_can_be_built(rehearsed: list[Job], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match='unknown key "learning" of the recipe'):
        run(tmp_path, "learning=1,2")
    assert rehearsed == []


def test_ctrl_c_ends_cleanly_and_the_next_call_goes_on(rehearsed: list[Job], tmp_path: Path) -> None:
    result, said = run(tmp_path, "train.seed=1,99,2")
    assert result.stopped
    assert said[-2:] == [
        "stopping: each run writes a checkpoint (Ctrl-C again ends them at once)",
        "train.seed=99: stopped",
    ]
    states = {run["name"]: run["state"] for run in json.loads((tmp_path / "sweep.json").read_text())["runs"]}
    assert states == {"train.seed=1": "done", "train.seed=99": "stopped", "train.seed=2": "waiting"}
    assert not run(tmp_path, "train.seed=1,2")[0].stopped
    assert [job.name for job in rehearsed] == ["train.seed=1", "train.seed=99", "train.seed=2"]


def test_other_settings_and_changed_recipes_are_refused(rehearsed: list[Job], tmp_path: Path) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine.yaml"
    mine.write_text(f"api: 1\ndetectors:\n  mine: {{extends: {RECIPE}, train: {{batch: 4}}}}\n")
    run(out, "train.seed=0", target=str(mine))
    with pytest.raises(TrainingError, match=r"other settings.*\n  epochs: None in the sweep, 3 now\n"):
        run(out, "train.seed=0", target=str(mine), epochs=3)
    mine.write_text(f"api: 1\ndetectors:\n  mine: {{extends: {RECIPE}, train: {{batch: 2}}}}\n")
    with pytest.raises(TrainingError) as caught:
        run(out, "train.seed=0", target=str(mine))
    folder = out / "runs" / "train.seed=0"
    assert str(caught.value) == (
        f"{out}: run train.seed=0 was trained by a recipe that has changed since (see `detzoo diff {mine} {folder}`); "
        f"choose another --out, or move {folder} away and take its entry out of {out / 'sweep.json'}"
    )


def test_runs_are_ranked_on_a_split_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, "train.seed=0", val_split="none")
    assert DATA in str(caught.value)
    assert "--val-split" in str(caught.value)


def test_devices() -> None:
    assert local_devices("cpu, cpu") == ["cpu", "cpu"]
    with pytest.raises(DetzooError, match=r"device 'gpu' cannot be used: there is no such kind of device; allowed"):
        local_devices("gpu")
    with pytest.raises(DetzooError) as caught:
        local_devices("cpu,")
    assert str(caught.value) == "--devices cpu,: expected names, for example --devices cuda:0,cuda:1"


def test_reasons() -> None:
    assert reason(MemoryError(), "cpu") == (
        "out of memory on cpu; a smaller --batch, --accumulate, or --precision bf16 needs less ()"
    )
    assert reason(ZeroDivisionError("division by zero\nmore"), None) == "ZeroDivisionError: division by zero"
    assert reason(KeyError(), None) == "KeyError"
    assert manner(3) == "its process ended with code 3"
    assert manner(-9) == "its process was ended by SIGKILL (the system does this when memory runs out)"
    assert manner(-11) == "its process was ended by SIGSEGV"


def test_a_process_that_is_killed_is_a_failure_of_its_run_alone(tmp_path: Path) -> None:
    workers = LocalWorkers(["cpu"], tmp_path / "logs")
    job = Job(name="a", command=TrainCommand(target=RECIPE, data=DATA, out=tmp_path / "runs" / "a"))
    assert workers.start(job) == "cpu"
    process = workers.slots[0].process
    assert process is not None
    assert (workers.busy, workers.free) == (True, False)
    process.kill()
    process.wait()
    assert workers.ended() == [
        Outcome(
            name="a",
            state="failed",
            device="cpu",
            why="its process was ended by SIGKILL (the system does this when memory runs out); "
            f"{tmp_path / 'logs' / 'a.txt'} has what it printed",
        )
    ]
    assert (workers.busy, workers.free) == (False, True)


@pytest.mark.slow
def test_two_workers_train_and_a_bad_run_is_named(tmp_path: Path) -> None:
    bad = f"{tmp_path / 'none.pth'}"
    grid = ["--set", f"backbone.weights=null,{bad}", "--set", "train.seed=0,1", "--weights", "backbone"]
    with detzoo(tmp_path / "s", "--devices", "cpu,cpu", "--epochs", "1", *grid) as process:
        out, err = process.communicate(timeout=500)
    assert process.returncode == 2, err
    assert err.splitlines()[-1] == "error: 2 of 4 runs failed; see the notes below the table"
    runs = json.loads((tmp_path / "s" / "sweep.json").read_text())["runs"]
    assert [entry["state"] for entry in runs] == ["done", "done", "failed", "failed"]
    assert bad in runs[2]["why"]
    best = max(runs[:2], key=lambda entry: entry["AP"])
    assert out.splitlines()[4].startswith(best["name"])


@pytest.mark.slow
def test_a_killed_sweep_loses_at_most_one_epoch_of_one_run(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    grid = ["--set", "train.seed=0,1", "--devices", "cpu", "--epochs", "3"]
    with detzoo(whole, *grid) as process:
        process.communicate(timeout=500)
    assert process.returncode == 0
    runs = [killed / "runs" / f"train.seed={seed}" for seed in (0, 1)]
    with detzoo(killed, *grid) as process:
        wait_for(lambda: len(read_curve(runs[1])) == 1, "the first epoch of the second run")
        process.kill()
    log = killed / "logs" / "train.seed=1.txt"
    wait_for_folder(runs[1])  # what the sweep has left behind is ending by itself
    before = [len(read_curve(run)) for run in runs]
    with detzoo(killed, *grid) as process:
        _, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert err.splitlines()[0] == f"2 runs in {killed}: 1 to train, 1 done before"
    resumed = int(log.read_text().rpartition("resuming after step ")[2].split()[0])  # a step is an epoch here
    assert before[0] == 3
    assert resumed >= before[1] - 1
    for name in ("train.seed=0", "train.seed=1"):
        assert (whole / "runs" / name / "curve.csv").read_text() == (killed / "runs" / name / "curve.csv").read_text()
    tables = [json.loads((folder / "sweep.json").read_text())["runs"] for folder in (whole, killed)]
    assert [run["AP"] for run in tables[0]] == [run["AP"] for run in tables[1]]


@pytest.mark.slow
def test_ctrl_c_with_a_real_run(tmp_path: Path) -> None:
    grid = ["--set", "train.seed=0", "--devices", "cpu", "--epochs", "2000"]
    run = tmp_path / "s" / "runs" / "train.seed=0"
    with detzoo(tmp_path / "s", *grid) as process:
        wait_for(lambda: len(read_curve(run)) >= 2, "two epochs")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "stopped; repeat the command to resume"
    assert "epochs so far" in out
    assert json.loads((tmp_path / "s" / "sweep.json").read_text())["runs"][0]["state"] == "stopped"
