"""One stage of a run under way: its plan, length and optimiser, and how they reach the disk and come back."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from detzoo.errors import TrainingError, WeightsError
from detzoo.interfaces import Stage
from detzoo.runtime.foreign_files import is_there
from detzoo.runtime.interrupts import Interrupted, Interrupts
from detzoo.runtime.machine_failures import machine_failure
from detzoo.training import rng
from detzoo.training.display import Display
from detzoo.training.ema import Ema
from detzoo.training.log import RunLog
from detzoo.training.optimizer import optimizer_tensors, restore_optimizer
from detzoo.training.plan import TrainPlan
from detzoo.training.run import Run, RunSettings, RunState
from detzoo.training.task import Batches, Loading
from detzoo.weights.checkpoint import INITIAL, LAST, Checkpoint, load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(kw_only=True)
class StageRun:
    """A stage under way.

    Args:
        run: it belongs to.
        stage: what the detector says of it.
        plan: the run's, with the stage's own settings.
        settings: the run's, with the stage's own length.
        state: where the run is; it outlives the stage.
        log: of the run.
        interrupts: notes signals.
        restored: checkpoint that the stage goes on from, or None.
        optimizer: of gradient descent.
        ema: average of the weights, where the plan wants one.
    """

    run: Run
    stage: Stage
    plan: TrainPlan
    settings: RunSettings
    state: RunState
    log: RunLog
    interrupts: Interrupts
    restored: Checkpoint | None = None
    optimizer: torch.optim.Optimizer | None = None
    ema: Ema | None = None
    _counted: float = field(default_factory=time.monotonic)

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        return self.run.task.network

    @property
    def accelerator(self) -> Accelerator:
        """Devices, precision, processes."""
        return self.run.accelerator

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.run.device

    def batches(self, *, whole: bool = False) -> Batches:
        """The plan's batches: this process's share, or every image on every process."""
        run = self.run
        loading = Loading(
            batch=self.settings.part,
            seed=self.settings.seed,
            workers=run.options.loading_processes,
            timeout=run.options.worker_timeout,
            rank=run.accelerator.process_index,
            world=self.settings.processes,
            channels_last=run.options.channels_last,
            pin_memory=run.device.type == "cuda",
            whole=whole,
        )
        return run.task.batches(self.plan, loading)

    def say(self, text: str) -> None:
        """Show a line, where no bar is up."""
        Display(active=self.run.shown, total=0, done=0).say(text)

    def stop_if_wanted(self) -> None:
        """Called between two pieces of work of a fitting stage.

        Raises:
            Interrupted: a signal came.
        """
        if self.interrupts.wanted:
            raise Interrupted(f"stopped in stage {self.stage.name}; repeat the command with --resume to continue")

    def save(self, name: str = LAST) -> None:
        """Write a checkpoint. Every process calls it: each one's generators are in the file."""
        states = self._rng_of_all()  # a collective: before any process may return
        if not self.run.main:
            return
        now = time.monotonic()
        self.state.seconds += now - self._counted  # sums over resumes
        self._counted = now
        optim = optimizer_tensors(self.optimizer) if self.optimizer is not None else {}
        # A stage may have a length of its own; what a resume is checked against is the whole run's
        described: dict[str, Any] = {
            "settings": self.run.settings.as_dict(),
            "state": self.state.as_dict(),
            "selection": self.run.task.selection,
        }
        scaler = self.accelerator.scaler
        if scaler is not None:
            described["scaler"] = scaler.state_dict()
        self._write(name, ema=self._average(), optim=optim, rng=states, run=described)  # whole or not at all

    def save_weights(self, name: str) -> None:
        """Write the weights alone, with the average where there is one."""
        if self.run.main:
            self._write(
                name, ema=self._average(), run={"state": self.state.as_dict(), "selection": self.run.task.selection}
            )

    def save_initial(self) -> None:
        """Keep the weights that a later stage starts from again."""
        if self.run.main and not is_there(self.run.out / INITIAL):  # a resume must not replace them
            self._write(INITIAL)
        self.accelerator.wait_for_everyone()

    def load_initial(self) -> None:
        """Go back to the weights with which the run began."""
        self.network.load_state_dict(load_checkpoint(self.run.out / INITIAL, parts=("model",)).model)

    def restore(self) -> None:
        """Continue where the checkpoint was written: optimiser, average, scaler, generators.

        Raises:
            WeightsError: what it holds of them was altered.
        """
        saved, self.restored = self.restored, None
        if saved is None:
            return
        try:
            self._restore(saved)
        except (TrainingError, LookupError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            if machine_failure(error) is not None:
                raise
            name = "" if isinstance(error, TrainingError) else f"{type(error).__name__}: "
            first = f"{name}{error}".splitlines()[0]
            raise WeightsError(
                f"{self.run.out / LAST}: the run cannot go on from it, it was altered: {first}"
            ) from None

    def _restore(self, saved: Checkpoint) -> None:
        if self.optimizer is not None:
            stepped = self.state.step > 0 and self.accelerator.scaler is None  # a scaler may skip all of them
            restore_optimizer(self.optimizer, saved.optim, stepped=stepped)
        if self.ema is not None and (saved.ema or self.state.step):  # written before the first step, there is none yet
            self.ema.load(saved.ema)
        if self.accelerator.scaler is not None and "scaler" in saved.run:
            self.accelerator.scaler.load_state_dict(saved.run["scaler"])
        prefix = f"{self.accelerator.process_index}."
        own = {k.removeprefix(prefix): v for k, v in saved.rng.items() if k.startswith(prefix)}
        rng.restore(own, self.device)  # last: random numbers taken before do not count

    def _average(self) -> dict[str, Tensor]:
        return self.ema.average if self.ema is not None else {}

    def _write(self, name: str, **parts: Any) -> None:
        task = self.run.task
        recipe = {"name": task.name, "values": task.values}
        save_checkpoint(self.run.out / name, Checkpoint(recipe, task.classes, task.network.state_dict(), **parts))

    def _rng_of_all(self) -> dict[str, Tensor]:
        own = rng.capture(self.device)
        if self.accelerator.num_processes == 1:
            return {f"0.{name}": value for name, value in own.items()}
        found = {}
        for name, value in own.items():
            stacked = self.accelerator.gather(value[None].to(self.device)).cpu()
            found.update({f"{rank}.{name}": row for rank, row in enumerate(stacked)})
        return found
