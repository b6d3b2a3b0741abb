"""One run of ``detzoo pretrain``: its state, its steps, and how both reach the disk and come back."""

from __future__ import annotations

import dataclasses
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from detzoo.data.class_folders import ClassFolders
from detzoo.errors import TrainingError
from detzoo.interfaces import Normalisation
from detzoo.runtime.interrupts import Interrupts
from detzoo.training import rng
from detzoo.training.class_batches import Batch, ClassBatches, normalised
from detzoo.training.classifier import Classifier, save_backbone
from detzoo.training.display import Display
from detzoo.training.log import RunLog
from detzoo.training.optimizer import (
    build_optimizer,
    optimizer_tensors,
    parameter_groups,
    restore_optimizer,
    set_rates,
    trainable,
)
from detzoo.training.pretrain_plan import PretrainPlan
from detzoo.training.run import Interrupted
from detzoo.training.schedule import rates
from detzoo.weights.checkpoint import LAST, Checkpoint, save_checkpoint

WEIGHTS: Final = "backbone.safetensors"


@dataclass
class State:
    """Where a run is.

    Args:
        step: optimiser steps taken.
        epoch: epochs completed, validation included.
        position: steps taken in the current epoch.
        loss: sum over the steps of the current epoch.
        best: best top-1 so far; None before the first validation.
        best_epoch: when.
        broken: why each image that cannot be read cannot.
        seconds: spent, over all resumes.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    loss: float = 0.0
    best: float | None = None
    best_epoch: int | None = None
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Run:
    """Everything that the steps of a run share.

    Args:
        classifier: what is trained, on its device.
        plan: how.
        values: the plan and the backbone's configuration as plain values.
        folders: the data.
        settings: what this run makes of the plan; a resumed run must have the same.
        out: the run folder.
        workers: processes that read images.
        normalisation: of the pixels.
        checkpoint_seconds: between checkpoints within an epoch.
        show: whether progress is shown.
        state: where the run is.
    """

    classifier: Classifier
    plan: PretrainPlan
    values: dict[str, Any]
    folders: ClassFolders
    settings: dict[str, Any]
    out: Path
    workers: int
    normalisation: Normalisation
    checkpoint_seconds: float
    show: bool
    state: State = field(default_factory=State)

    def begin(self, saved: Checkpoint | None) -> None:
        """Batches, optimiser and schedule; weights, state and generators where the run stands."""
        batch = self.settings["batch"]
        self.learnt = ClassBatches(self.folders.train, self.plan, batch, self.workers)
        self.checked = ClassBatches(self.folders.val, self.plan, batch, self.workers)
        names, lr = trainable(self.classifier, ["*"]), self.plan.optimizer.lr * batch / self.plan.batch
        groups = parameter_groups(self.classifier, self.plan.optimizer, names, lr=lr)
        self.optimizer = build_optimizer(groups, self.plan.optimizer)
        steps = self.plan.epochs * self.learnt.steps
        self.rates = rates(self.plan.as_train_plan(), steps_per_epoch=self.learnt.steps, total=steps)
        self.device = next(self.classifier.parameters()).device
        self.started = self.written = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        if saved is None:
            self.save()
            return
        self.classifier.load_state_dict(saved.model)
        self.state = State(**saved.run["state"])
        restore_optimizer(self.optimizer, saved.optim)
        rng.restore({name.removeprefix("0."): value for name, value in saved.rng.items()}, self.device)

    def train(self) -> None:
        """To the last epoch."""
        state, steps = self.state, self.plan.epochs * self.learnt.steps
        log = RunLog(self.out, active=True, board=False, step=state.step, epoch=state.epoch)
        with log, Interrupts() as interrupts, Display(active=self.show, total=steps, done=state.step) as display:
            display.say(self._about(steps))
            while state.epoch < self.plan.epochs:
                for batch in self.learnt.training(state.epoch, state.position):
                    self._step(batch, log, display)
                    if interrupts.wanted:
                        self.save()
                        raise Interrupted(
                            f"stopped after step {state.step} of {steps}; the checkpoint is written: add --resume to "
                            "go on"
                        )
                    if time.monotonic() - self.written > self.checkpoint_seconds:
                        self.save()
                self._end_of_epoch(log, display)

    def _about(self, steps: int) -> str:
        folders = self.folders
        begin = f"going on after step {self.state.step}" if self.state.step else "from the beginning"
        learnt, checked = f"{len(folders.train)} images to learn from", f"{len(folders.val)} to validate on"
        counts = f"{len(folders.classes)} classes, {learnt}, {checked}"
        how = f"{steps} steps of {self.settings['batch']} images of {self.plan.size} px, {self.device}"
        return f"{self.values['backbone']['type']} on {folders.name}: {counts}; {how}, {begin}"

    def _step(self, batch: Batch, log: RunLog, display: Display) -> None:
        state, start = self.state, time.monotonic()
        state.broken += [why for why in batch.broken if why not in state.broken]
        if not len(batch.labels):
            raise TrainingError(
                f"none of the {len(batch.broken)} images of this step can be read (the first: {batch.broken[0]}): "
                "are they images?"
            )
        factor = self.rates.factor(state.step)
        set_rates(self.optimizer, factor)
        self.classifier.train()
        logits = self._logits(batch.pixels)
        loss = functional.cross_entropy(logits, batch.labels.to(self.device), label_smoothing=self.plan.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"step {state.step + 1}: the loss is not finite; lower the rate: --set optimizer.lr=")
        state.step, state.position, state.loss = state.step + 1, state.position + 1, state.loss + value
        rate = self.optimizer.param_groups[0]["lr"]
        record = {"step": state.step, "epoch": state.epoch + 1, "loss": value, "terms": {}, "lr": rate, "rates": [rate]}
        log.step(record)
        display.step(state.step, state.epoch + 1, value, rate, len(batch.labels) / (time.monotonic() - start))

    def _logits(self, pixels: Tensor) -> Tensor:
        x = normalised(pixels.to(self.device, non_blocking=True), self.normalisation)
        autocast = (
            torch.autocast(self.device.type, torch.bfloat16) if self.settings["precision"] == "bf16" else nullcontext()
        )
        with autocast:
            logits: Tensor = self.classifier(x)
        return logits.float()

    def _end_of_epoch(self, log: RunLog, display: Display) -> None:
        state = self.state
        with rng.untouched(self.device):
            top1, top5 = self._validate()
        row = {"epoch": state.epoch + 1, "step": state.step, "loss": state.loss / max(1, state.position)}
        log.epoch(row | {"top1": top1, "top5": top5}, self.classifier)
        told = "" if top1 is None else f", top-1 {100 * top1:.1f} %, top-5 {100 * (top5 or 0):.1f} %"
        display.say(f"epoch {state.epoch + 1}: loss {row['loss']:.4f}{told}")
        state.epoch, state.position, state.loss = state.epoch + 1, 0, 0.0
        if top1 is None or state.best is None or top1 > state.best:
            state.best, state.best_epoch = top1, state.epoch
            about = {"settings": self.values, "classes": list(self.folders.classes), "top1": top1, "epoch": state.epoch}
            save_backbone(self.out / WEIGHTS, self.classifier, about, self.normalisation)
        self.save()

    def _validate(self) -> tuple[float | None, float | None]:
        """Shares of the validation images whose class is the first, and among the first five; None without any."""
        right, near, count = 0, 0, 0
        self.classifier.eval()
        with torch.inference_mode():
            for batch in self.checked.validation():
                self.state.broken += [why for why in batch.broken if why not in self.state.broken]
                if not len(batch.labels):
                    continue
                best = self._logits(batch.pixels).topk(min(5, len(self.folders.classes))).indices.cpu()
                hits = best == batch.labels[:, None]
                right, near = right + int(hits[:, 0].sum()), near + int(hits.any(dim=1).sum())
                count += len(batch.labels)
        return (right / count, near / count) if count else (None, None)

    def save(self) -> None:
        """Write a checkpoint."""
        now = time.monotonic()
        self.state.seconds += now - self.started
        self.started = self.written = now
        save_checkpoint(
            self.out / LAST,
            Checkpoint(
                recipe={"name": f"pretrain {self.values['backbone']['type']}", "values": self.values},
                classes=self.folders.classes,
                model=self.classifier.state_dict(),
                optim=optimizer_tensors(self.optimizer),
                rng={f"0.{name}": value for name, value in rng.capture(self.device).items()},
                run={"pretrain": self.settings, "state": dataclasses.asdict(self.state)},
            ),
        )
