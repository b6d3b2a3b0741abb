"""One run: its settings, its state, and how both reach the disk and come back."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from detzoo.errors import TrainingError
from detzoo.interfaces import Detector, Stage
from detzoo.runtime.differences import differences
from detzoo.runtime.interrupts import Interrupts
from detzoo.training import rng
from detzoo.training.display import Display
from detzoo.training.ema import Ema
from detzoo.training.log import RunLog
from detzoo.training.optimizer import optimizer_tensors, restore_optimizer
from detzoo.training.plan import TrainPlan
from detzoo.weights.checkpoint import INITIAL, LAST, Checkpoint, load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from detzoo.data.dataset import Dataset
    from detzoo.runtime.switches import Precision


class Interrupted(KeyboardInterrupt):
    """A signal ended the run; what is done is on the disk and the message says how to go on."""


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
        data: name, split, images and classes of the training data.
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
        best: best AP so far, None before the first evaluation.
        best_epoch: epoch of ``best``, over all stages.
        worse: evaluations in a row without a better AP.
        sums: summed loss terms of the current epoch, for the curve.
        broken: images that could not be read, by path.
        seconds: spent training, over all resumes.
        complete: True once the last stage has ended.
        stopped_early: whether patience ended it.
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


@dataclass
class Run:
    """Everything that the stages of a run share.

    Args:
        detector: what is trained.
        dataset: what it is trained on.
        val: what it is evaluated on, or None.
        out: the run folder.
        plan: the recipe's training plan.
        settings: what this run makes of it.
        accelerator: devices, precision, processes.
        workers: processes that load images.
        show: whether progress is shown.
        channels_last: memory format of images and weights.
        checkpoint_steps: steps between checkpoints within an epoch, or None.
        checkpoint_seconds: seconds between checkpoints within an epoch.
        stage: the one that runs.
    """

    detector: Detector
    dataset: Dataset
    val: Dataset | None
    out: Path
    plan: TrainPlan
    settings: RunSettings
    accelerator: Accelerator
    workers: int = 0
    show: bool = True
    channels_last: bool = False
    checkpoint_steps: int | None = None
    checkpoint_seconds: float = 300.0
    stage: Stage = field(default_factory=lambda: Stage(name="train"))
    state: RunState = field(default_factory=RunState)
    restored: Checkpoint | None = None
    recorded: dict[str, Any] = field(init=False)
    log: RunLog = field(init=False)
    display: Display = field(init=False)
    optimizer: torch.optim.Optimizer | None = None
    ema: Ema | None = None
    interrupts: Interrupts | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    resumed_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        # A stage may have a length of its own; what a resume is checked against is the whole run's
        self.recorded = dataclasses.asdict(self.settings)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks."""
        return bool(self.accelerator.is_main_process)

    def say(self, text: str) -> None:
        """A line for whoever watches, from a stage that is not gradient descent."""
        Display(active=self.show and self.main, total=0, done=0).say(text)

    def stop_if_wanted(self) -> None:
        """Called between two pieces of work of such a stage.

        Raises:
            Interrupted: a signal came.
        """
        if self.interrupts is not None and self.interrupts.wanted:
            raise Interrupted(f"stopped in stage {self.stage.name}; to go on, repeat the command with --resume")

    def save(self, name: str = LAST) -> None:
        """Write a checkpoint. Every process calls it: each one's generators are in the file."""
        states = self._rng_of_all()
        if not self.main:
            return
        now = time.monotonic()
        self.state.seconds += now - self.resumed_at
        self.resumed_at = now
        optim = optimizer_tensors(self.optimizer) if self.optimizer is not None else {}
        ema = self.ema.average if self.ema is not None else {}
        described = {"settings": self.recorded, "state": dataclasses.asdict(self.state)}
        scaler = self.accelerator.scaler
        if scaler is not None:
            described["scaler"] = scaler.state_dict()
        save_checkpoint(self.out / name, self._checkpoint(ema=ema, optim=optim, rng=states, run=described))

    def save_weights(self, name: str) -> None:
        """Write the weights alone, with the average where there is one."""
        if self.main:
            ema = self.ema.average if self.ema is not None else {}
            save_checkpoint(self.out / name, self._checkpoint(ema=ema, run={"state": dataclasses.asdict(self.state)}))

    def save_initial(self) -> None:
        """Keep the weights that a later stage starts from again."""
        if self.main and not (self.out / INITIAL).exists():
            save_checkpoint(self.out / INITIAL, self._checkpoint())
        self.accelerator.wait_for_everyone()

    def load_initial(self) -> None:
        """Go back to the weights with which the run began."""
        self.detector.load_state_dict(load_checkpoint(self.out / INITIAL, parts=("model",)).model)

    def restore(self) -> None:
        """Continue a stage where its checkpoint was written: optimiser, average, scaler, generators."""
        saved, self.restored = self.restored, None
        if saved is None:
            return
        if self.optimizer is not None:
            restore_optimizer(self.optimizer, saved.optim)
        if self.ema is not None:
            self.ema.load(saved.ema)
        if self.accelerator.scaler is not None and "scaler" in saved.run:
            self.accelerator.scaler.load_state_dict(saved.run["scaler"])
        prefix = f"{self.accelerator.process_index}."
        own = {k.removeprefix(prefix): v for k, v in saved.rng.items() if k.startswith(prefix)}
        rng.restore(own, self.device)

    def agree(self, value: float) -> float:
        """The main process's ``value`` on every process."""
        if self.accelerator.num_processes == 1:
            return value
        return float(broadcast(torch.tensor([value], dtype=torch.float32, device=self.device)).item())

    def _checkpoint(self, **parts: Any) -> Checkpoint:
        recipe = {"name": self.detector.recipe.name, "values": self.detector.recipe.values}
        return Checkpoint(recipe, tuple(self.detector.classes), self.detector.state_dict(), **parts)

    def _rng_of_all(self) -> dict[str, Tensor]:
        own = rng.capture(self.device)
        if self.accelerator.num_processes == 1:
            return {f"0.{name}": value for name, value in own.items()}
        found = {}
        for name, value in own.items():
            stacked = self.accelerator.gather(value[None].to(self.device)).cpu()
            found.update({f"{rank}.{name}": row for rank, row in enumerate(stacked)})
        return found


def check_same(saved: Checkpoint, detector: Detector, settings: RunSettings, out: Path) -> None:
    """Refuse to resume what would not end as it began.

    Raises:
        TrainingError: recipe, classes or settings differ; every difference is listed.
    """
    old = {"recipe": saved.recipe["values"], "classes": list(saved.classes), "run": saved.run["settings"]}
    new = {
        "recipe": detector.recipe.values,
        "classes": list(detector.classes),
        "run": dataclasses.asdict(settings),
    }
    found = [f"  {path}: {was!r} in the run, {now!r} now" for path, was, now in differences(old, new)]
    if found:
        raise TrainingError(
            f"{out}: cannot resume, this is another training:\n" + "\n".join(found) + "\n"
            "Repeat the command with the same values, or start a new run with another --out."
        )
