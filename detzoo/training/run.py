"""What a run is: decided before it starts, the same for all its stages. And where it is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from accelerate import Accelerator

from detzoo.errors import TrainingError, WeightsError
from detzoo.recipes.full_names import PROVIDERS
from detzoo.runtime.differences import differences
from detzoo.training.options import TrainOptions
from detzoo.training.task import TrainingTask
from detzoo.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from detzoo.runtime.switches import Precision

_MOST: Final = 2**53
"""Steps, epochs and images of a run; more digits than Python prints would end in its own error."""
ALTERED: Final = "the run cannot go on from it, its metadata were altered"


@dataclass(frozen=True)
class RunSettings:
    """What decides the weights a run ends with; a resumed run must have the same.

    Args:
        epochs: passes over the data, the last one perhaps cut short.
        steps: optimiser steps.
        steps_per_epoch: optimiser steps of one pass.
        batch: images of one step, over all processes and accumulated parts.
        accumulate: parts of a step on each process.
        processes: how many.
        precision: ``no``, ``bf16`` or ``fp16``.
        seed: of everything random.
        data: name, split, images, classes and annotations of the training data.
        minutes: that ``steps`` were planned for; None where they were given.
    """

    epochs: int
    steps: int
    steps_per_epoch: int
    batch: int
    accumulate: int
    processes: int
    precision: Precision
    seed: int
    data: dict[str, Any]
    minutes: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint; without minutes where none were given, as in runs that are older than they are."""
        values = dataclasses.asdict(self)
        return values if self.minutes is not None else {k: v for k, v in values.items() if k != "minutes"}

    @property
    def part(self) -> int:
        """Images in one forward pass of one process."""
        return self.batch // (self.accumulate * self.processes)


@dataclass
class RunState:
    """Where a run is. ``step``, ``epoch`` and ``position`` count within the stage.

    Args:
        stage: index of the stage.
        base_step: steps of the stages before.
        base_epoch: epochs of the stages before.
        step: optimiser steps taken.
        epoch: epochs completed, evaluation included.
        position: steps taken in the current epoch.
        best: best value of the task's metric so far, None before the first evaluation.
        best_epoch: epoch of ``best``, over all stages.
        worse: evaluations in a row without a better one.
        sums: summed loss terms of the current epoch, for the curve.
        broken: images that could not be read, by path.
        seconds: spent training, over all resumes.
        complete: True once the last stage has ended.
        stopped_early: whether patience ended it.
        metrics: of the last evaluation; not in checkpoints, results.json has them.
    """

    stage: int = 0
    base_step: int = 0
    base_epoch: int = 0
    step: int = 0
    epoch: int = 0
    position: int = 0
    best: float | None = None
    best_epoch: int | None = None
    worse: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0
    complete: bool = False
    stopped_early: bool = False
    metrics: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "metrics"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run. Nothing of it changes while it runs.

    Args:
        task: what is learnt.
        out: the run folder.
        settings: what this run makes of the task's plan.
        options: how it was started.
        accelerator: devices, precision, processes.
    """

    task: TrainingTask
    out: Path
    settings: RunSettings
    options: TrainOptions
    accelerator: Accelerator

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return bool(self.accelerator.is_main_process)

    @property
    def shown(self) -> bool:
        """Whether this process shows progress."""
        return self.options.progress and self.main


def run_settings(task: TrainingTask, options: TrainOptions, processes: int) -> RunSettings:
    """What a run makes of a task's plan.

    Raises:
        TrainingError: no images, or a batch that cannot be shared out.
    """
    plan, data = task.plan, task.data_facts
    images, accumulate = data["images"], options.accumulate or plan.accumulate
    if images == 0:
        raise TrainingError(f"{data['name']} {data['split']}: no images to train on")
    shares = accumulate * processes
    batch = min(options.batch or plan.batch, images // shares * shares)  # tiny data: one step is all of it
    if batch < shares or batch % shares:
        raise TrainingError(
            f"a batch of {batch or images} images cannot be shared out evenly: {processes} processes x {accumulate} "
            f"parts; choose a --batch that is a multiple of {shares}"
        )
    per_epoch = images // batch  # the rest of an epoch is dropped: every step has the same batch
    epochs, steps = options.epochs, options.steps
    if epochs is None and steps is None:
        epochs = plan.epochs
        # The recipe counts steps of its reference batch: the number of images seen is what stays.
        steps = None if plan.steps is None else max(1, round(plan.steps * plan.batch / batch))
    if steps is None:
        assert epochs is not None
        steps = epochs * per_epoch
    return RunSettings(
        epochs=-(-steps // per_epoch),
        steps=steps,
        steps_per_epoch=per_epoch,
        batch=batch,
        accumulate=accumulate,
        processes=processes,
        precision=options.precision,
        seed=plan.seed if options.seed is None else options.seed,
        data=data,
    )


def state_of(saved: Checkpoint, path: Path) -> RunState:
    """Where the run of a checkpoint stands; ``path`` is for messages.

    Raises:
        WeightsError: the file says nothing of it, or nothing that can be: it was altered.
    """
    try:
        written = saved.run["state"]
        state = RunState(**written)
    except (KeyError, TypeError):
        raise WeightsError(f"{path}: {ALTERED}: no state of a training in it") from None
    usual = vars(RunState())
    wrong = [f"{name} is {value!r}" for name, value in written.items() if not _is_like(value, usual[name])]
    if wrong:
        raise WeightsError(f"{path}: {ALTERED}: {', '.join(wrong)}")
    return state


def _is_like(value: Any, usual: Any) -> bool:
    """Whether a value of a state is of the kind of the usual one; None stands for a number that is not there yet."""
    if usual is None:
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    if isinstance(usual, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(usual) and not (isinstance(value, int) and not 0 <= value < _MOST)


def check_same(saved: Checkpoint, run: Run) -> None:
    """Reject to resume what would not end as it began.

    Raises:
        TrainingError: recipe, classes or settings differ; every difference is listed.
    """
    recipes = [  # another version of a plugin is no other training
        {key: value for key, value in values.items() if key != PROVIDERS}
        for values in (saved.recipe["values"], run.task.values)
    ]
    settings = run.settings.as_dict()
    match saved.run.get("settings"):
        case {"data": {**known}} if "annotations" not in known:  # of a run that is older than this fact
            settings["data"].pop("annotations", None)
    old = {"recipe": recipes[0], "classes": list(saved.classes), "run": saved.run.get("settings")}
    new = {"recipe": recipes[1], "classes": list(run.task.classes), "run": settings}
    found = [f"  {path}: {was!r} in the run, {now!r} now" for path, was, now in differences(old, new)]
    if found:
        raise TrainingError(
            f"{run.out}: cannot resume, this is another training:\n" + "\n".join(found) + "\n"
            "Repeat the command with the same values, or start a new run with another --out."
        )
