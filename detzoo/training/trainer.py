"""``detzoo.train``: from a detector and a dataset to a run folder."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import GradientAccumulationPlugin, patch_environment

from detzoo.components.proposals.precomputed import Precomputed
from detzoo.errors import DataError, TrainingError
from detzoo.evaluation.classes import map_classes
from detzoo.interfaces import Detector
from detzoo.prediction.apply_switches import compile_parts
from detzoo.prediction.image_proposals import propose
from detzoo.runtime.atomic_files import write_text_durably
from detzoo.runtime.device import pick_device
from detzoo.runtime.interrupts import Interrupts
from detzoo.runtime.parallel import cores
from detzoo.runtime.switches import Precision
from detzoo.training import rng
from detzoo.training.batches import count_images
from detzoo.training.display import Display
from detzoo.training.log import CURVE, LOG, RunLog, check_board
from detzoo.training.plan import TrainPlan
from detzoo.training.run import Run, RunSettings, RunState, check_same
from detzoo.training.schedule import rates
from detzoo.training.stages import run_stages
from detzoo.training.summary import RunSummary
from detzoo.weights.checkpoint import INITIAL, LAST, Checkpoint, load_checkpoint

if TYPE_CHECKING:
    from detzoo.data.dataset import Dataset

RECIPE: Final = "recipe.yaml"


def train(
    detector: Detector,
    dataset: Dataset,
    out: str | Path,
    *,
    val: Dataset | None = None,
    device: str | None = None,
    resume: bool = False,
    epochs: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    accumulate: int | None = None,
    precision: Precision = "fp32",
    workers: int | None = None,
    seed: int | None = None,
    compile: bool = False,
    channels_last: bool = False,
    tensorboard: bool = False,
    checkpoint_steps: int | None = None,
    checkpoint_seconds: float = 300.0,
    progress: bool = True,
) -> RunSummary:
    """Train a detector by the plan of its recipe.

    Under torchrun every process trains its share of each batch. Killed at any moment and called again with ``resume``,
    a run ends with the same weights as one that was left alone (bit for bit on the CPU).

    Args:
        detector: built for the classes of ``dataset``; trained in place.
        dataset: what it learns from.
        val: what it is evaluated on after each epoch; the best weights are kept by AP.
        out: run folder, made if need be. Without ``resume`` it must not hold a run.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; by default the fastest there is.
        resume: go on from the last checkpoint in ``out``; starts anew where there is none yet.
        epochs: instead of the recipe's length. Milestones of the schedule move along.
        steps: the same, in optimiser steps.
        batch: images of one step over all processes and parts, instead of the recipe's reference batch. The learning
            rate is scaled in proportion.
        accumulate: parts into which each process cuts its share of a step, instead of the recipe's.
        precision: of the network; box coding, losses and suppression stay in float32.
        workers: processes that load images; by default two fewer than there are processor cores, eight at most.
        seed: instead of the recipe's.
        compile: compile the network with torch.compile.
        channels_last: memory format of weights and images; faster convolutions on most GPUs.
        tensorboard: write losses, rates and histograms of the parameters to ``out/tensorboard``.
        checkpoint_steps: write a checkpoint after every so many steps, beside the one of each epoch.
        checkpoint_seconds: write one when the last is older than this.
        progress: show progress on stderr.

    Raises:
        TrainingError: the run cannot start, go on or be resumed; the message says why.
        DataError: the classes of ``val`` are not the detector's.
        ProposalsError: a file of regions does not know the data.
        Interrupted: a KeyboardInterrupt: Ctrl-C or SIGTERM came; a checkpoint was written.
    """
    out = Path(out)
    plan = detector.train_plan
    _check_classes(detector, dataset)
    if val is not None:
        map_classes(detector.classes, val.classes, val.category_ids)  # refuses now what evaluation would refuse later
    for data in (dataset, val):
        _check_regions(detector, data)
    if tensorboard:
        check_board()
    accelerator = _accelerator(device, precision, accumulate or plan.accumulate)
    settings = run_settings(
        plan,
        dataset,
        epochs=epochs,
        steps=steps,
        batch=batch,
        accumulate=accumulate or plan.accumulate,
        processes=accelerator.num_processes,
        precision=precision,
        seed=plan.seed if seed is None else seed,
    )
    saved = _open_run(out, detector, settings, resume=resume)
    accelerator.wait_for_everyone()
    run = Run(
        detector=detector,
        dataset=dataset,
        val=val,
        out=out,
        plan=plan,
        settings=settings,
        accelerator=accelerator,
        workers=_workers(workers),
        show=progress,
        channels_last=channels_last,
        checkpoint_steps=checkpoint_steps,
        checkpoint_seconds=checkpoint_seconds,
    )
    _place(run, compile=compile)
    _begin(run, saved)
    counted = run.state.base_step + run.state.step, run.state.base_epoch + run.state.epoch
    log = RunLog(out, active=run.main, board=tensorboard, step=counted[0], epoch=counted[1])
    with Interrupts() as interrupts, log as run.log:
        run_stages(run, interrupts)
    return _summary(run)


def run_settings(
    plan: TrainPlan,
    dataset: Dataset,
    *,
    epochs: int | None,
    steps: int | None,
    batch: int | None,
    accumulate: int,
    processes: int,
    precision: Precision,
    seed: int,
) -> RunSettings:
    """What a run makes of a plan.

    Raises:
        TrainingError: no images, or a batch that cannot be shared out.
    """
    images = count_images(dataset, plan)
    if images == 0:
        raise TrainingError(f"{dataset.name} {dataset.split}: no images to train on")
    if epochs is not None and steps is not None:
        raise TrainingError("give either --epochs or --steps, not both")
    shares = accumulate * processes
    batch = min(batch or plan.batch, images // shares * shares)
    if batch < shares or batch % shares:
        raise TrainingError(
            f"a batch of {batch or images} images cannot be shared out evenly: {processes} processes x {accumulate} "
            f"parts; choose a --batch that is a multiple of {shares}"
        )
    per_epoch = images // batch
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
        precision=precision,
        seed=seed,
        data={
            "name": dataset.name,
            "split": dataset.split,
            "images": images,
            "classes": list(dataset.classes),
        },
    )


def _check_classes(detector: Detector, dataset: Dataset) -> None:
    names = list(detector.classes)
    same_count = len(names) == len(dataset.classes)
    if not same_count or any(a is not None and a != b for a, b in zip(names, dataset.classes, strict=True)):
        raise TrainingError(
            f"the detector has {len(names)} classes ({_some(names)}), {dataset.name} has {len(dataset.classes)} "
            f"({_some(list(dataset.classes))}); build it with classes=dataset.classes"
        )


def _check_regions(detector: Detector, dataset: Dataset | None) -> None:
    """Ask a file of regions for a first image now: training can take hours before the first evaluation would."""
    if (
        dataset is None
        or not len(dataset)
        or not (isinstance(detector.proposer, Precomputed) and detector.proposer.path)
    ):
        return
    try:
        first = dataset.sample(0, masks=False)
    except DataError:
        return  # whoever loads the data counts it
    propose(detector.proposer, first.image, first.path)


def _some(names: list[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:5])
    return f"{shown}, ..." if len(names) > 5 else shown


def _accelerator(device: str | None, precision: Precision, accumulate: int) -> Accelerator:
    # accelerate keeps one state for the whole process: a second run with another precision would be refused
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    GradientState._reset_state()
    place = pick_device(device)
    with patch_environment(accelerate_torch_device=str(place)) if place.index is not None else nullcontext():
        return Accelerator(
            cpu=place.type == "cpu",
            mixed_precision="no" if precision == "fp32" else precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=accumulate, sync_with_dataloader=False),
        )


def _workers(asked: int | None) -> int:
    if asked is not None:
        return asked
    available = cores()
    return max(1, min(8, available - 2))


def _open_run(out: Path, detector: Detector, settings: RunSettings, *, resume: bool) -> Checkpoint | None:
    """The checkpoint to go on from, or None for a new run; an existing run is never written over.

    One that stopped before its first step holds nothing, and makes way.
    """
    last = out / LAST
    if not last.is_file():
        if not resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise TrainingError(f"{out}: exists and is no run of detzoo; choose another --out (nothing was changed)")
        return None
    if not resume:
        state = load_checkpoint(last, parts=()).run["state"]
        done = state["base_step"] + state["step"]
        if done == 0 and state["stage"] == 0:
            for name in (LAST, INITIAL, RECIPE, LOG, CURVE):
                (out / name).unlink(missing_ok=True)
            return None
        raise TrainingError(
            f"{out}: already holds a run, at step {done}; add --resume to go on, or choose another --out "
            "(nothing was changed)"
        )
    saved = load_checkpoint(last)
    check_same(saved, detector, settings, out)
    return saved


def _place(run: Run, *, compile: bool) -> None:
    detector = run.detector
    detector.to(run.device)
    if run.channels_last:
        detector.to(memory_format=torch.channels_last)
    if compile:
        compile_parts(detector)


def _begin(run: Run, saved: Checkpoint | None) -> None:
    """Set weights, state and generators to where the run stands, and say so."""
    show = Display(active=run.show and run.main, total=0, done=0)
    if saved is None:
        rng.seed_everything(run.settings.seed + run.accelerator.process_index)
        if run.main:
            run.out.mkdir(parents=True, exist_ok=True)
            write_text_durably(run.out / RECIPE, run.detector.recipe.to_yaml())
        run.save()
    else:
        run.detector.load_state_dict(saved.model)
        run.state = RunState(**saved.run["state"])
        run.restored = saved
    for line in describe(run):
        show.say(line)


def describe(run: Run) -> list[str]:
    """What is about to happen, in the words of somebody who has to judge it."""
    plan, settings, state = run.plan, run.settings, run.state
    scaled = plan.optimizer.lr * settings.batch / plan.batch
    count = f"{settings.data['images']} images, {len(settings.data['classes'])} classes"
    parts = f", {settings.accumulate} parts" if settings.accumulate > 1 else ""
    shares = f", {settings.processes} processes" if settings.processes > 1 else ""
    warmup = rates(plan, steps_per_epoch=settings.steps_per_epoch, total=settings.steps).warmup
    warm = f", {warmup} steps of warm-up" if warmup else ""
    lines = [
        f"{run.detector.recipe.name} on {settings.data['name']} {settings.data['split']} ({count}) -> {run.out}",
        f"learning rate {plan.optimizer.lr:g} for {plan.batch} images a step -> {scaled:g} for {settings.batch} "
        f"({plan.schedule.name}{warm})",
        f"{settings.steps} steps, {settings.steps_per_epoch} an epoch, {settings.epochs} epochs at most; {run.device}, "
        f"{settings.precision}{shares}{parts}",
    ]
    if state.complete:
        lines.append("this run is complete; nothing left to do")
    elif run.restored is not None:
        lines.append(f"resuming after step {state.base_step + state.step}")
    return lines


def _summary(run: Run) -> RunSummary:
    state = run.state
    return RunSummary(
        out=run.out,
        steps=state.base_step + state.step,
        epochs=state.base_epoch + state.epoch,
        best=state.best,
        best_epoch=state.best_epoch,
        metrics=run.metrics,
        seconds=state.seconds,
        broken=tuple(dict.fromkeys(state.broken)),
        stopped_early=state.stopped_early,
    )
