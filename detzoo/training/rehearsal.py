"""A few steps of a training on a copy of its network, to know how long a step takes."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from detzoo.errors import TrainingError
from detzoo.interfaces import GradientStage, Stage
from detzoo.runtime.json_text import parse_json
from detzoo.training.detection_task import DetectionTask
from detzoo.training.log import LOG
from detzoo.training.options import TrainOptions
from detzoo.training.run import run_settings
from detzoo.training.time_budget import (
    FIRST_STEPS,
    MOST_IMAGES,
    Pace,
    check_fits,
    closer_look,
    pace_of,
    pace_words,
    steps_within,
)

if TYPE_CHECKING:
    from detzoo.training.summary import RunSummary
    from detzoo.training.task import TrainingTask

Train = Callable[["TrainingTask", Path, TrainOptions], "RunSummary"]


def planned_steps(task: TrainingTask, options: TrainOptions, train: Train) -> tuple[int, str]:
    """How many steps fill ``options.minutes``, the rehearsal among them.

    Args:
        task: what is to be trained; it stays as it is.
        options: of the training.
        train: trains a task in a folder.

    Returns:
        steps, and a line about them.

    Raises:
        TrainingError: the training has several stages, or the time is too short.
    """
    minutes = options.minutes
    assert minutes is not None
    began = time.monotonic()
    if not isinstance(task, DetectionTask):
        raise TrainingError("minutes are planned for detectors alone; give epochs or steps")
    stages = task.stages()
    if len(stages) != 1 or not is_as_long_as_the_run(stages[0]):
        names = ", ".join(stage.name for stage in stages)
        raise TrainingError(
            f"{task.name} is trained in stages ({names}), for which no time is planned; give --epochs or --steps"
        )
    usual = run_settings(task, dataclasses.replace(options, minutes=None), 1)
    rehearsed = _copied(task)
    pace = _rehearse(rehearsed, options, FIRST_STEPS, train)
    if closer := closer_look(60 * minutes, pace):
        rehearsed = _copied(task)  # the first may be compiled
        pace = _rehearse(rehearsed, options, closer, train)
    pace = dataclasses.replace(pace, evaluation=_evaluation_seconds(task, rehearsed, options, usual.part))
    left = 60 * minutes - (time.monotonic() - began)
    steps = steps_within(left, pace, usual.steps_per_epoch, task.plan.eval_every)
    check_fits(minutes, steps, pace)
    return steps, pace_words(minutes, pace, steps, usual.steps_per_epoch)


def is_as_long_as_the_run(stage: Stage) -> bool:
    """Whether a stage is gradient descent without a length of its own."""
    return isinstance(stage, GradientStage) and not {"epochs", "steps"} & set(stage.settings)


def _copied(task: DetectionTask) -> DetectionTask:
    """The same training with a network of its own, without evaluation."""
    found = copy.copy(task)
    found.network, found.val = copy.deepcopy(task.network), None
    return found


def _rehearse(task: DetectionTask, options: TrainOptions, steps: int, train: Train) -> Pace:
    silent = dataclasses.replace(
        options, minutes=None, epochs=None, steps=steps, resume=False, progress=False, track=()
    )
    with tempfile.TemporaryDirectory(prefix="detzoo-rehearsal-") as folder:
        summary = train(task, Path(folder) / "run", silent)
        lines = (Path(folder) / "run" / LOG).read_text(encoding="utf-8").splitlines()
    settings = run_settings(task, silent, 1)
    times = [settings.batch / parse_json(line, LOG)["images_per_second"] for line in lines]
    return pace_of(times, summary.seconds, summary.epochs, 0.0)


def _evaluation_seconds(task: DetectionTask, rehearsed: DetectionTask, options: TrainOptions, batch: int) -> float:
    """Of the whole val split, from some of its images."""
    if task.val is None or not task.evaluates:
        return 0.0
    count = min(MOST_IMAGES, len(task.val))
    rehearsed.val = task.val.subset(range(count))
    began = time.monotonic()
    rehearsed.evaluate(batch=max(1, min(batch, 32)), precision=options.precision, workers=options.loading_processes)
    return (time.monotonic() - began) * len(task.val) / count
