"""Gradient descent: one stage of a run, step by step.

Over P processes each computes its share of the batch; data-parallel training averages the gradients. Losses follow the
same convention (a divisor counted over the whole batch is divided by P, see ``components.normalisers``), so that the
mean over processes is the loss of the whole batch in one process. The logged terms are that mean.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from detzoo.errors import TrainingError
from detzoo.interfaces import GradientStage
from detzoo.interfaces.stages import Objective
from detzoo.plugins.registry import get_registry
from detzoo.runtime.interrupts import Interrupted
from detzoo.training.batches import Part, StepBatches
from detzoo.training.display import Display
from detzoo.training.ema import Ema
from detzoo.training.first_not_finite import first_not_finite
from detzoo.training.freezing import training_only, untrained
from detzoo.training.optimizer import build_optimizer, parameter_groups, set_rates, trainable
from detzoo.training.schedule import rates
from detzoo.training.stage_context import RunContext
from detzoo.training.stage_run import StageRun
from detzoo.training.validation import end_epoch, should_stop
from detzoo.types import ImageBatch, Targets


class StageModule(nn.Module):
    """What data-parallel and mixed-precision wrappers wrap: the network, entered through the stage's losses."""

    def __init__(self, network: nn.Module, losses: Objective | None) -> None:
        super().__init__()
        self.network = network
        self._losses: Objective = losses or cast("Objective", network)

    def forward(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        """Named, weighted terms."""
        return self._losses(batch, targets)


@dataclass
class _Pending:
    """A finished step whose numbers may still be on their way from the device."""

    record: dict[str, Any]
    norm: Tensor | None


class OnItsWay:
    """A small tensor that is copied to the host while the device works on."""

    def __init__(self, tensor: Tensor) -> None:
        self._event = torch.cuda.Event() if tensor.is_cuda else None  # type: ignore[no-untyped-call]
        # pinned: else the copy waits
        self._host = torch.empty_like(tensor, device="cpu", pin_memory=True) if tensor.is_cuda else tensor
        if self._event is not None:
            self._host.copy_(tensor, non_blocking=True)
            self._event.record()

    def values(self) -> list[float]:
        """The numbers, as soon as they are there."""
        if self._event is not None:
            self._event.synchronize()
        numbers: list[float] = self._host.tolist()
        return numbers


class GradientDescent:
    """One stage of gradient descent.

    Args:
        running: the stage, with its network on the device.
        stage: which parameters, and what is minimised.
    """

    def __init__(self, running: StageRun, stage: GradientStage) -> None:
        self.running = run = running
        names = trainable(run.network, stage.train)
        self.stage, self.names = stage, names
        plan, settings = run.plan, run.settings
        self._scaled = scaled = plan.optimizer.lr * settings.batch / plan.batch  # linear scaling: Goyal et al. 2017
        optimizer = build_optimizer(parameter_groups(run.network, plan.optimizer, names, lr=scaled), plan.optimizer)
        self.module = StageModule(
            run.network, stage.losses if stage.prepare is None else stage.prepare(RunContext(run))
        )
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.rates = rates(plan, steps_per_epoch=settings.steps_per_epoch, total=settings.steps)
        self.batches = StepBatches(run)
        run.optimizer = optimizer
        run.ema = Ema(run.network, plan.ema) if plan.ema is not None else None
        self.display = Display(active=False, total=0, done=0)
        self._pending: _Pending | None = None
        self._hooks = _step_hooks()
        self._looked = False  # for parameters without a gradient

    def train(self) -> None:
        """Run the stage to its end, from wherever the run's state says it stands.

        Raises:
            TrainingError: a loss is not finite.
            Interrupted: a signal came; the checkpoint is written.
        """
        run, state = self.running, self.running.state
        stored = run.plan.norm_stats == "stored"
        with training_only(run.network, self.names, self.stage.train, stored_norms=stored) as frozen:
            # a stage that leaves parts out may leave others without a gradient: a map that only the other half reads
            run.accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=bool(frozen))
            self.model = run.accelerator.prepare(self.module)
            self.stepper = run.accelerator.prepare(run.optimizer)
            run.restore()
            self._saved = time.monotonic()
            with Display(active=run.run.shown, total=run.settings.steps, done=state.step) as self.display:
                while state.epoch < run.settings.epochs and not should_stop(run):
                    self._epoch()

    def _epoch(self) -> None:
        run, state, settings = self.running, self.running.state, self.running.settings
        self._stepped = time.monotonic()
        # a resume may begin within an epoch
        left = min(settings.steps_per_epoch - state.position, settings.steps - state.step)
        for parts in self.batches.epoch(state.epoch, state.position, left):
            self._step(parts)
        self._flush()
        # A run resumed right here has taken no step since, so the rate is not the optimiser's to tell
        set_rates(cast("torch.optim.Optimizer", run.optimizer), self.rates.factor(max(0, state.step - 1)))
        self.display.say(end_epoch(run, state.position, self._rate))
        state.epoch, state.position, state.sums = state.epoch + 1, 0, {}
        self._save()

    def _step(self, parts: list[Part]) -> None:
        run, state = self.running, self.running.state
        set_rates(cast("torch.optim.Optimizer", run.optimizer), self.rates.factor(state.step))
        own: list[dict[str, Tensor]] = []
        for batch, targets in parts:
            with run.accelerator.accumulate(self.model):
                terms = self._forward(batch, targets)
                # float: the log's sums in half would round
                own.append({name: value.detach().float() for name, value in terms.items()})
                report = self._report(own) if run.accelerator.sync_gradients else None
                run.accelerator.backward(torch.stack(list(terms.values())).sum())  # terms are weighted already
                norm = self._clip()
                if report is not None:
                    values, stop, due = self._check(report, own, parts)
                    self._tell_untrained()
                self.stepper.step()
                self.stepper.zero_grad()
        state.step, state.position = state.step + 1, state.position + 1
        if run.ema is not None:
            run.ema.update(run.network, state.step)
        self._note(values, norm)
        if stop:
            self._save()
            raise Interrupted(
                f"stopped after step {state.base_step + state.step}; repeat the command with --resume to continue"
            )
        steps = run.run.options.checkpoint_steps
        if due or (steps is not None and state.step % steps == 0):
            self._save()

    def _tell_untrained(self) -> None:
        """Name what no gradient reaches, after the first step of this process: it would stay as it started."""
        if self._looked:
            return
        self._looked = True
        message = untrained(self.running.network)
        if message:
            self.display.say(message)

    def _forward(self, batch: Any, targets: Any) -> dict[str, Tensor]:
        device = self.running.device
        terms: dict[str, Tensor] = self.model(
            batch.to(device, non_blocking=True), targets.to(device, non_blocking=True)
        )
        return terms

    def _again(self, batch: Any, targets: Any) -> None:
        """The forward pass, in this process alone."""
        device = self.running.device
        with self.running.accelerator.autocast():
            self.module(batch.to(device), targets.to(device))

    def _clip(self) -> Tensor | None:
        limit, accelerator = self.running.plan.clip_norm, self.running.accelerator
        if limit is None or not accelerator.sync_gradients:  # clipped once for each step, not for each part
            return None
        norm = accelerator.clip_grad_norm_(self.parameters, limit)
        return norm if isinstance(norm, Tensor) else None

    def _report(self, own: list[dict[str, Tensor]]) -> OnItsWay:
        """The step's terms and this process's wishes, averaged over processes, on their way to the host.

        They leave before the backward pass is queued, so that waiting for them does not mean waiting for it.
        """
        run = self.running
        terms = torch.stack([torch.stack(list(part.values())) for part in own]).mean(0)
        due = run.run.main and time.monotonic() - self._saved > run.run.options.checkpoint_seconds
        vector = torch.cat([terms, terms.new_tensor([float(run.interrupts.wanted), float(due)])])
        if run.accelerator.num_processes > 1:  # all must stop at one step, or the others would wait for ever
            vector = run.accelerator.reduce(vector, reduction="mean")
        return OnItsWay(vector)

    def _check(
        self, report: OnItsWay, own: list[dict[str, Tensor]], parts: list[Part]
    ) -> tuple[dict[str, float], bool, bool]:
        """The step's terms, and whether to stop or to save after it, agreed by all processes.

        It stands before the optimiser's step, so that a loss that is not finite never reaches the weights.
        """
        *values, stop, due = report.values()
        if not all(math.isfinite(value) for value in values):
            self._flush()
            means = {name: float(torch.stack([part[name] for part in own]).mean()) for name in own[0]}
            raise TrainingError(self._not_finite(means, parts))
        return dict(zip(own[0], values, strict=True)), stop > 0, due > 0

    def _not_finite(self, own: dict[str, float], parts: list[Part]) -> str:
        run, state = self.running, self.running.state
        bad = [name for name, value in own.items() if not math.isfinite(value)]
        where = f"step {state.base_step + state.step + 1}, epoch {state.base_epoch + state.epoch + 1}"
        if not bad:
            return f"the loss is not finite at {where} in another process; its message names terms and images"
        terms = ", ".join(f"{name} = {value:g}" for name, value in own.items())
        files = "\n".join(f"  {path}" for batch, _ in parts for path in self.batches.paths(batch))
        half = ", or --precision fp32" if run.settings.precision != "fp32" else ""
        layers = [first_not_finite(run.network, partial(self._again, *part)) for part in parts]
        layer = next((f"It begins in {layer}.\n" for layer in layers if layer is not None), "")
        return (
            f"the loss is not finite at {where}: {terms}\n"
            f"Terms that are not finite: {', '.join(bad)}. Images of this batch:\n{files}\n{layer}"
            f"This step did not change the weights, and the last checkpoint in {run.run.out} is untouched. Look at the "
            f"boxes with `detzoo data check`; try a smaller train.optimizer.lr (now {self._rate:.3g}), a longer "
            f"warm-up, train.clip_norm{half}."
        )

    def _note(self, terms: dict[str, float], norm: Tensor | None) -> None:
        """Queue the step's line; reading the gradient's norm now would make the host wait for the device."""
        run, state = self.running, self.running.state
        self._flush()
        for name, value in terms.items():
            state.sums[name] = state.sums.get(name, 0.0) + value
        # sorted: the checkpoint's bytes do not depend on workers
        state.broken = sorted({*state.broken, *self.batches.broken()})
        now = time.monotonic()
        record = {
            "step": state.base_step + state.step,
            "epoch": state.base_epoch + state.epoch + 1,
            "loss": math.fsum(terms.values()),
            "terms": terms,
            "lr": self._rate,
            "rates": {group["label"]: group["lr"] for group in self._groups},
            "images_per_second": round(run.settings.batch / max(now - self._stepped, 1e-9), 2),
        }
        self._stepped = now
        self._pending = _Pending(record, norm)

    def _flush(self) -> None:
        """Write the line of the step before."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        record, run = pending.record, self.running
        if pending.norm is not None:
            norm = float(pending.norm)
            record["grad_norm"] = norm if math.isfinite(norm) else None  # fp16 scaling skips such a step
        run.log.step(record)
        step = record["step"] - run.state.base_step
        self.display.step(step, record["epoch"], record["loss"], record["lr"], record["images_per_second"])
        for call in self._hooks:
            call(step=record["step"], losses=record["terms"], rate=record["lr"])

    def _save(self) -> None:
        self._flush()
        state = self.running.state
        state.broken = sorted({*state.broken, *self.batches.broken()})
        self.running.save()
        self._saved = time.monotonic()

    @property
    def _rate(self) -> float:
        """The recipe's learning rate at this step; single groups may have a multiple of it."""
        return self._scaled * float(self._groups[0]["lr"]) / float(self._groups[0]["base_lr"])

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return cast("torch.optim.Optimizer", self.running.optimizer).param_groups


def _step_hooks() -> list[Callable[..., Any]]:
    """Calls of the plugins that watch steps; empty in nearly every run."""
    plugins = get_registry().plugins
    if not plugins.implementing("detzoo_train_step"):
        return []
    return [lambda **arguments: plugins.call("detzoo_train_step", **arguments)]
