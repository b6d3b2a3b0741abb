"""The stages of a training plan, in order; each is checkpointed, and a resumed run begins with the one it was in."""

from __future__ import annotations

import dataclasses
from typing import Any

from detzoo.errors import TrainingError
from detzoo.interfaces import Stage
from detzoo.training.interrupts import Interrupts
from detzoo.training.loop import GradientStage
from detzoo.training.plan import TrainPlan
from detzoo.training.run import Run, RunSettings
from detzoo.training.validation import should_stop


def run_stages(run: Run, interrupts: Interrupts) -> None:
    """Take a run from where its state says it is to its end."""
    stages = run.detector.stages()
    _check_names(stages)
    if any(stage.start_from == "weights" for stage in stages[1:]):
        run.save_initial()
    plan, settings = run.plan, run.settings
    while not run.state.complete:
        stage = stages[run.state.stage]
        run.plan = plan_of(plan, stage)
        epochs, steps = _length(run, settings, stage)
        run.settings = dataclasses.replace(settings, epochs=epochs, steps=steps)
        _run_stage(run, stage, interrupts)
        _finish_stage(run, stage, last=run.state.stage == len(stages) - 1)
    run.plan, run.settings = plan, settings


def plan_of(plan: TrainPlan, stage: Stage) -> TrainPlan:
    """The plan of one stage: the recipe's, with the stage's own settings.

    Raises:
        TrainingError: a setting is no field of the plan.
    """
    own: TrainPlan = _replaced(plan, stage.settings, stage.name)
    return own


def _replaced(settings: Any, changes: dict[str, Any], where: str) -> Any:
    names = {f.name for f in dataclasses.fields(settings)}
    unknown = sorted(set(changes) - names)
    if unknown:
        raise TrainingError(f"stage {where}: unknown setting {', '.join(unknown)}; allowed: {', '.join(sorted(names))}")
    nested = {
        name: _replaced(getattr(settings, name), value, f"{where}.{name}") if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return dataclasses.replace(settings, **nested)


def _length(run: Run, settings: RunSettings, stage: Stage) -> tuple[int, int]:
    """(epochs, steps) of a stage that sets its own; the run's otherwise."""
    if not {"epochs", "steps"} & set(stage.settings):
        return settings.epochs, settings.steps
    per_epoch = settings.steps_per_epoch
    if run.plan.epochs is not None:
        return run.plan.epochs, run.plan.epochs * per_epoch
    assert run.plan.steps is not None
    return -(-run.plan.steps // per_epoch), run.plan.steps


def _run_stage(run: Run, stage: Stage, interrupts: Interrupts) -> None:
    state = run.state
    fresh = state.step == 0 and state.epoch == 0
    if fresh and state.stage > 0 and stage.start_from == "weights":
        run.load_initial()
    if stage.run is not None:
        stage.run(run)
    else:
        GradientStage(run, stage).train(interrupts)


def _finish_stage(run: Run, stage: Stage, *, last: bool) -> None:
    """Move the state to the next stage and write it, so that a finished stage is never run twice."""
    state = run.state
    if not last:
        run.save_weights(f"stage-{stage.name}.safetensors")
    state.stopped_early = last and stage.run is None and should_stop(run)
    state.base_step, state.base_epoch = state.base_step + state.step, state.base_epoch + state.epoch
    state.step = state.epoch = state.position = state.worse = 0
    state.stage, state.complete = state.stage + 1, last
    run.optimizer = None
    if not last:
        run.ema = None
        run.accelerator.free_memory()
    run.save()


def _check_names(stages: list[Stage]) -> None:
    names = [stage.name for stage in stages]
    if not stages or len(set(names)) != len(names):
        raise TrainingError(f"a training plan needs stages of different names, found {names}")
