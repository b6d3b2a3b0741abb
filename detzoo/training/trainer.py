"""``detzoo.train``: from a detector and a dataset to a run folder."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import GradientAccumulationPlugin, patch_environment

from detzoo.errors import TrainingError, WeightsError
from detzoo.interfaces import Detector
from detzoo.prediction.apply_switches import compile_parts
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.device import pick_device
from detzoo.runtime.environment import versions
from detzoo.runtime.folder_claim import contents, locked_folder
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.git_state import git_state
from detzoo.runtime.interrupts import Interrupts
from detzoo.training import rng
from detzoo.training.detection_task import DetectionTask
from detzoo.training.display import Display
from detzoo.training.keyword_options import TrainKeywords
from detzoo.training.log import CURVE, LOG, RunLog
from detzoo.training.options import TrainOptions
from detzoo.training.rehearsal import planned_steps
from detzoo.training.run import ALTERED, Run, RunState, check_same, run_settings, state_of
from detzoo.training.schedule import rates
from detzoo.training.stages import run_stages
from detzoo.training.step_failures import telling_failures
from detzoo.training.summary import RunSummary
from detzoo.training.task import TrainingTask
from detzoo.training.trackers import TRACKED, Trackers, check_trackers, flat
from detzoo.weights.checkpoint import INITIAL, LAST, Checkpoint, load_checkpoint
from detzoo.weights.detector import check_values
from detzoo.weights.values import key_problems

if TYPE_CHECKING:
    from detzoo.data.dataset import Dataset

RECIPE: Final = "recipe.yaml"


def train(
    detector: Detector,
    dataset: Dataset,
    out: str | Path,
    *,
    val: Dataset | None = None,
    **options: Unpack[TrainKeywords],
) -> RunSummary:
    """Train a detector by the plan of its recipe.

    Under torchrun every process trains its share of each batch. Killed at any moment and called again with ``resume``,
    a run ends with the same weights as one that was left alone (bit for bit on the CPU).

    Args:
        detector: built for the classes of ``dataset``; trained in place.
        dataset: what it learns from.
        out: run folder, made if need be. Without ``resume`` it must not hold a run.
        val: what it is evaluated on after each epoch; the best weights are kept by AP.
        options: those of ``TrainOptions``: ``epochs=3``, ``batch=16``, ``device="cuda:1"``, ``resume=True`` and so on.

    Raises:
        TrainingError: the run cannot start, go on or be resumed; the message says why.
        DataError: the classes of ``val`` are not the detector's; or another process trains in ``out``.
        ProposalsError: a file of proposals does not know the data.
        Interrupted: a KeyboardInterrupt: Ctrl-C or SIGTERM came; a checkpoint was written.
    """
    return train_task(DetectionTask(detector, dataset, val), Path(out), TrainOptions.of(options))


def train_task(task: TrainingTask, out: Path, options: TrainOptions) -> RunSummary:
    """Train whatever a task learns.

    Args:
        task: network, data, plan.
        out: run folder.
        options: how.

    Raises:
        DetzooError: as ``train``.
        Interrupted: as ``train``.
    """
    check_trackers(options.track)  # before anything is written
    accumulate = options.accumulate or task.plan.accumulate
    accelerator = _accelerator(options, accumulate)
    timed = options
    if options.minutes is not None:
        timed = _timed(task, out, options, accelerator.num_processes)
        accelerator = _accelerator(options, accumulate)  # the rehearsal had one of its own
    settings = run_settings(task, timed, accelerator.num_processes)
    settings = dataclasses.replace(settings, minutes=options.minutes)
    run = Run(task=task, out=out, settings=settings, options=options, accelerator=accelerator)
    with locked_folder(out, what="training") if run.main else nullcontext():  # one lock for all processes of a run
        return _train(run)


def _timed(task: TrainingTask, out: Path, options: TrainOptions, processes: int) -> TrainOptions:
    """The options with the steps that fill their minutes: those of the run that is there, else measured now.

    Raises:
        TrainingError: it cannot be measured here; or ``out`` holds something that would be overwritten.
        WeightsError: the run does not say how long it is: it was altered.
    """
    if processes > 1:
        raise TrainingError(f"minutes are measured in one process, here are {processes}; give --epochs or --steps")
    reject_existing(out, resume=options.resume)
    if options.resume and is_ordinary(out / LAST):
        match load_checkpoint(out / LAST, parts=()).run.get("settings"):
            case {"steps": int(steps)} if steps >= 1:
                pass
            case _:
                raise WeightsError(f"{out / LAST}: {ALTERED}: it does not say how many steps the run has")
    else:
        steps, words = planned_steps(task, options, train_task)
        Display(active=options.progress, total=0, done=0).say(words)
    return dataclasses.replace(options, minutes=None, steps=steps)


def _train(run: Run) -> RunSummary:
    out, task = run.out, run.task
    saved = _open_run(run)
    run.accelerator.wait_for_everyone()  # all have looked before the first file is written
    _place(run)
    state = _begin(run, saved)
    log = RunLog(
        out,
        active=run.main,
        trackers=_trackers(run, state),
        step=state.base_step + state.step,
        epoch=state.base_epoch + state.epoch,
        metrics=task.curve,
    )
    with Interrupts() as interrupts, log, telling_failures(run, interrupts):
        run_stages(run, state, log, interrupts, saved)
    return _summary(run, state)


def _trackers(run: Run, state: RunState) -> Trackers:
    """Started; none on the processes that only compute."""
    names = run.options.track if run.main else ()
    if not names:
        return Trackers(run.out, (), step=0, parameters={})
    facts = {
        "recipe": run.task.values,
        "run": run.settings.as_dict(),
        "versions": versions(),
        "git": git_state(Path.cwd()),
    }
    return Trackers(run.out, names, step=state.base_step + state.step, parameters=flat(facts))


def _accelerator(options: TrainOptions, accumulate: int) -> Accelerator:
    # accelerate keeps one state for the whole process: a second run with another precision would be rejected
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    GradientState._reset_state()
    place, precision = pick_device(options.device), options.precision
    with patch_environment(accelerate_torch_device=str(place)) if place.index is not None else nullcontext():
        return Accelerator(
            cpu=place.type == "cpu",
            mixed_precision="no" if precision == "fp32" else precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=accumulate, sync_with_dataloader=False),
        )


def reject_existing(out: Path, *, resume: bool) -> None:
    """A new run takes an empty folder, or one whose run stopped before its first step.

    Raises:
        TrainingError: ``out`` holds something that would be overwritten.
    """
    last = out / LAST
    if resume:
        return
    if not is_ordinary(last):
        if contents(out):
            raise TrainingError(f"{out}: exists and is no run of detzoo; choose another --out (nothing was changed)")
        return
    state = state_of(load_checkpoint(last, parts=()), last)  # the header alone: no tensors are read
    if (done := state.base_step + state.step) or state.stage:
        raise TrainingError(
            f"{out}: already holds a run, at step {done}; add --resume to continue, or choose another --out "
            "(nothing was changed)"
        )


def _open_run(run: Run) -> Checkpoint | None:
    """The checkpoint to go on from, or None for a new run; an existing run is never overwritten."""
    out, last = run.out, run.out / LAST
    reject_existing(out, resume=run.options.resume)
    if not is_ordinary(last):
        return None
    if not run.options.resume:  # it stopped before its first step, and makes way
        for name in (LAST, INITIAL, RECIPE, LOG, CURVE, TRACKED):
            (out / name).unlink(missing_ok=True)
        return None
    saved = load_checkpoint(last)
    check_same(saved, run)
    return saved


def _place(run: Run) -> None:
    network = run.task.network.to(run.device)
    if run.options.channels_last:
        network.to(memory_format=torch.channels_last)
    if run.options.compile:
        if not isinstance(network, Detector):
            raise TrainingError("--compile: only detectors are compiled")
        compile_parts(network)


def _begin(run: Run, saved: Checkpoint | None) -> RunState:
    """Set weights and generators to where the run stands, and say so."""
    if saved is None:
        state = RunState()
        rng.seed_everything(run.settings.seed + run.accelerator.process_index)  # processes must sample differently
        if run.main:
            run.out.mkdir(parents=True, exist_ok=True)
            text = run.task.recipe_text()
            if text is not None:
                write_text(run.out / RECIPE, text)
    else:
        state = state_of(saved, run.out / LAST)
        wrong = key_problems(run.task.network.state_dict(), saved.model)
        if wrong:
            raise WeightsError(f"{run.out / LAST}: the run cannot go on from it, its weights were altered: {wrong}")
        check_values(run.task.network, saved.model, run.out / LAST)
        run.task.network.load_state_dict(saved.model)
    show = Display(active=run.shown, total=0, done=0)
    if saved is None and run.options.resume:
        show.say(f"{run.out} holds no run to resume: a new one begins there")
    for line in describe(run, state, resuming=saved is not None):
        show.say(line)
    return state


def describe(run: Run, state: RunState, *, resuming: bool) -> list[str]:
    """What is about to happen, for somebody who has to judge it."""
    task, plan, settings = run.task, run.task.plan, run.settings
    scaled = plan.optimizer.lr * settings.batch / plan.batch
    count = f"{settings.data['images']} images, {len(settings.data['classes'])} classes"
    parts = f", {settings.accumulate} parts" if settings.accumulate > 1 else ""
    shares = f", {settings.processes} processes" if settings.processes > 1 else ""
    warmup = rates(plan, steps_per_epoch=settings.steps_per_epoch, total=settings.steps).warmup
    warm = f", {warmup} steps of warm-up" if warmup else ""
    lines = [
        f"{task.name} on {settings.data['name']} {settings.data['split']} ({count}) -> {run.out}",
        *task.opening_lines(),
        f"learning rate {plan.optimizer.lr:g} for {plan.batch} images per step -> {scaled:g} for {settings.batch} "
        f"({plan.schedule.name}{warm})",
        f"{settings.steps} steps, {settings.steps_per_epoch} per epoch, {settings.epochs} epochs at most; "
        f"{run.device}, {settings.precision}{shares}{parts}",
    ]
    if state.complete:
        lines.append("this run is complete; nothing left to do")
    elif resuming:
        lines.append(f"resuming after step {state.base_step + state.step}")
    else:
        lines[1:1] = task.starting_lines()
    return lines


def _summary(run: Run, state: RunState) -> RunSummary:
    return RunSummary(
        out=run.out,
        steps=state.base_step + state.step,
        epochs=state.base_epoch + state.epoch,
        best=state.best,
        best_epoch=state.best_epoch,
        metric=run.task.metric,
        metrics=state.metrics,
        seconds=state.seconds,
        broken=tuple(dict.fromkeys(state.broken)),
        stopped_early=state.stopped_early,
    )
