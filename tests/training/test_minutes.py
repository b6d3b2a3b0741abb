"""``--minutes``: the number of steps that fills a time is planned once, and is the run's from there on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import detzoo
from detzoo.errors import TrainingError
from detzoo.interfaces import GradientStage, Stage
from detzoo.training.detection_task import DetectionTask
from detzoo.training.options import TrainOptions
from detzoo.training.rehearsal import planned_steps
from detzoo.training.time_budget import (
    Pace,
    check_fits,
    closer_look,
    duration,
    pace_of,
    pace_words,
    steps_within,
)
from detzoo.training.train_command import train_target
from detzoo.training.trainer import train_task
from detzoo.weights.checkpoint import LAST, load_checkpoint
from tests.training.test_fraction import command
from tests.training.training_toy import ToyDataset, ToyDetector, read_log, toy

QUIET: dict[str, Any] = {"device": "cpu", "workers": 0, "progress": False}


def test_the_duration_of_a_training() -> None:
    """Ten steps of 2 s in epochs of four: three epochs, 1 s each at the end; evaluations of 5 s after the 2nd and 3rd,
    and the first steps take 3 s longer.
    """
    pace = Pace(step=2, epoch=1, evaluation=5, steps=4, start=3)
    assert duration(10, pace, 4, 2) == 3 + 20 + 3 + 10
    assert duration(8, pace, 4, 2) == 3 + 16 + 2 + 5
    assert steps_within(36, pace, 4, 2) == 10
    assert steps_within(35.9, pace, 4, 2) == 9
    assert steps_within(29, pace, 4, 2) == 8  # a ninth step would bring another evaluation
    assert steps_within(10, pace, 4, 2) == 0  # one step takes 11 s
    assert steps_within(-1, pace, 4, 2) == 0


def test_the_pace_of_a_rehearsal() -> None:
    """The first two steps do not count; what is left of 20 s is that of two epochs' ends."""
    assert pace_of([5, 3, 1, 1, 2, 2], 20, 2, 7) == Pace(step=1.5, epoch=3, evaluation=7, steps=4, start=5)
    assert pace_of([4], 4, 1, 0) == Pace(step=4, epoch=0, evaluation=0, steps=1)


def test_a_closer_look_where_there_is_time() -> None:
    assert closer_look(600, Pace(1, 0, 0, 4)) == 24
    assert closer_look(60, Pace(1, 0, 0, 4)) == 0
    assert closer_look(36000, Pace(0.1, 0, 0, 4)) == 200


def test_words() -> None:
    assert pace_words(10, Pace(0.25, 0, 3, 24), 2000, 500) == (
        "10 minutes: 0.25 s per step over 24 steps, 3 s per evaluation, so 2000 steps (4 epochs), with the schedule at "
        "its end"
    )
    with pytest.raises(TrainingError, match=r"^0\.1 minutes are too short: after measuring, .* 1 minutes more"):
        check_fits(0.1, 0, Pace(20, 10, 30, 4))


def train(out: Path, detector: ToyDetector | None = None, **options: Any) -> Any:
    return detzoo.train(detector or toy(), ToyDataset(), out, **QUIET | options)


def test_the_run_is_that_of_its_number_of_steps(tmp_path: Path) -> None:
    done = train(tmp_path / "timed", minutes=0.015)
    saved = load_checkpoint(tmp_path / "timed" / LAST)
    settings = saved.run["settings"]
    assert settings["minutes"] == 0.015
    assert settings["steps"] == done.steps == len(read_log(tmp_path / "timed"))
    other = train(tmp_path / "counted", steps=done.steps)
    same = load_checkpoint(tmp_path / "counted" / LAST)
    assert other.steps == done.steps
    assert "minutes" not in same.run["settings"]  # as in runs that are older than the option
    assert all(torch.equal(same.model[name], value) for name, value in saved.model.items())
    assert [row["lr"] for row in read_log(tmp_path / "timed")] == [row["lr"] for row in read_log(tmp_path / "counted")]
    with pytest.raises(TrainingError, match=r"run\.minutes: 0\.015 in the run, 0\.02 now"):
        train(tmp_path / "timed", minutes=0.02, resume=True)
    with pytest.raises(TrainingError, match=r"run\.minutes: 0\.015 in the run"):
        train(tmp_path / "timed", steps=done.steps, resume=True)
    with pytest.raises(TrainingError, match="already holds a run"):
        train(tmp_path / "timed", minutes=0.015)


def test_a_run_that_stopped_is_not_planned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detzoo.training.trainer.planned_steps", lambda *_: (7, "seven"))
    whole = train(tmp_path / "whole", minutes=1)
    broken = toy()
    broken.poison = 5  # its fifth step fails
    with pytest.raises(TrainingError, match="not finite at step 5"):
        train(tmp_path / "stopped", broken, minutes=1, checkpoint_steps=1)
    monkeypatch.setattr("detzoo.training.trainer.planned_steps", lambda *_: pytest.fail("planned again"))
    again = train(tmp_path / "stopped", minutes=1, resume=True, checkpoint_steps=1)
    assert (whole.steps, again.steps) == (7, 7)
    one, other = (load_checkpoint(tmp_path / name / LAST).model for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], value) for name, value in other.items())


def test_the_rehearsal_leaves_no_trace(tmp_path: Path) -> None:
    detector = toy()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    task = DetectionTask(detector, ToyDataset(), None)
    options = TrainOptions(minutes=0.02, **QUIET)
    steps, words = planned_steps(task, options, train_task)
    assert steps >= 1
    assert f"so {steps} steps" in words
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())
    assert task.network is detector
    assert detector.calls == 0


def test_what_has_no_time(tmp_path: Path) -> None:
    class Staged(ToyDetector):
        def stages(self) -> list[Stage]:
            return [
                GradientStage(name="first", losses=self.losses),
                GradientStage(name="second", losses=self.losses),
            ]

    detector = Staged()
    detector.train_plan = toy().train_plan
    with pytest.raises(TrainingError, match=r"toy is trained in stages \(first, second\), for which no time"):
        train(tmp_path / "run", detector, minutes=1)
    with pytest.raises(TrainingError, match=r"0\.0001 minutes are too short"):
        train(tmp_path / "run", minutes=0.0001)
    assert not (tmp_path / "run" / LAST).exists()


@pytest.mark.slow
def test_it_ends_near_its_time(tmp_path: Path) -> None:
    """A detector with evaluations; the machine may be busy with something else, so that the bounds are wide."""
    done = train_target(command(tmp_path / "run", minutes=0.5, data="shapes:size=64,train=16,val=8", val_split="val"))
    assert done.steps > 5
    assert 10 <= done.seconds <= 50
