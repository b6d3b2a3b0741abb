"""The stages of a training plan, in order; each is checkpointed, and a resumed run begins with the one it was in."""

from __future__ import annotations

import dataclasses
from typing import Any

from detzoo.errors import TrainingError
from detzoo.interfaces import FittingStage, GradientStage, Stage
from detzoo.runtime.interrupts import Interrupts
from detzoo.training.display import Display
from detzoo.training.loop import GradientDescent
from detzoo.training.plan import TrainPlan
from detzoo.training.run import Run, RunSettings
from detzoo.training.stage_context import RunContext
from detzoo.training.validation import end_fitting, should_stop
from detzoo.weights.checkpoint import stage_file


def run_stages(run: Run, interrupts: Interrupts) -> None:
    """Take a run from where its state says it is to its end."""
    stages = run.detector.stages()
    _check_names(stages)
    run.interrupts = interrupts
    if any(stage.start_from == "weights" for stage in stages[1:]):
        run.save_initial()
    plan, settings = run.plan, run.settings
    while not run.state.complete:
        stage = run.stage = stages[run.state.stage]
        run.plan = plan_of(plan, stage)
        epochs, steps = length_of(plan, settings, stage)
        run.settings = dataclasses.replace(settings, epochs=epochs, steps=steps)
        if len(stages) > 1:
            _announce(run, stages)
        last = run.state.stage == len(stages) - 1
        _run_stage(run, stage, interrupts)
        if last and isinstance(stage, FittingStage) and stage.evaluate:
            end_fitting(run)
        _finish_stage(run, stage, last=last)
    run.plan, run.settings = plan, settings


def plan_of(plan: TrainPlan, stage: Stage) -> TrainPlan:
    """The plan of one stage: the recipe's, with the stage's own settings.

    Raises:
        TrainingError: a setting is no field of the plan.
    """
    own: TrainPlan = _replaced(plan, _settings_of(stage), stage.name)
    return own


def _settings_of(stage: Stage) -> dict[str, Any]:
    return stage.settings if isinstance(stage, GradientStage) else {}


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


def length_of(plan: TrainPlan, settings: RunSettings, stage: Stage) -> tuple[int, int]:
    """(epochs, steps) of a stage.

    One that sets no length of its own is as long as the run. One that does keeps its proportion to the recipe's plan
    where the run is made longer or shorter, and counts steps of the reference batch, as the plan does.

    Args:
        plan: the recipe's.
        settings: what the run makes of it.
        stage: with settings of its own, or without.
    """
    if not {"epochs", "steps"} & set(_settings_of(stage)):
        return settings.epochs, settings.steps
    own, usual = _steps(plan_of(plan, stage), settings), _steps(plan, settings)
    steps = own if usual == settings.steps else max(1, round(own * settings.steps / usual))
    return -(-steps // settings.steps_per_epoch), steps


def _steps(plan: TrainPlan, settings: RunSettings) -> int:
    """Steps that a plan makes of this data and batch."""
    if plan.steps is None:
        assert plan.epochs is not None
        return plan.epochs * settings.steps_per_epoch
    return max(1, round(plan.steps * plan.batch / settings.batch))


def _run_stage(run: Run, stage: Stage, interrupts: Interrupts) -> None:
    state = run.state
    fresh = state.step == 0 and state.epoch == 0
    if fresh and state.stage > 0 and stage.start_from == "weights":
        run.load_initial()
    if isinstance(stage, FittingStage):
        run.restore()
        stage.fit(RunContext(run))
    else:
        assert isinstance(stage, GradientStage)
        GradientDescent(run, stage).train(interrupts)


def _finish_stage(run: Run, stage: Stage, *, last: bool) -> None:
    """Move the state to the next stage and write it, so that a finished stage is never run twice."""
    state = run.state
    if not last:
        if run.ema is not None:
            # what was evaluated is what the next stage gets; the parts that it freezes would else never be averaged
            run.detector.load_state_dict(run.ema.average)
            run.ema = None
        run.save_weights(stage_file(stage.name))
    state.stopped_early = last and isinstance(stage, GradientStage) and should_stop(run)
    state.base_step, state.base_epoch = state.base_step + state.step, state.base_epoch + state.epoch
    state.step = state.epoch = state.position = state.worse = 0
    state.stage, state.complete = state.stage + 1, last
    run.optimizer = None
    if not last:
        run.accelerator.free_memory()
    run.save()


def _announce(run: Run, stages: list[Stage]) -> None:
    state, settings = run.state, run.settings
    what = "" if isinstance(run.stage, FittingStage) else f", {settings.steps} steps, {settings.epochs} epochs at most"
    show = Display(active=run.show and run.main, total=0, done=0)
    show.say(f"stage {state.stage + 1} of {len(stages)}: {run.stage.name}{what}")


def _check_names(stages: list[Stage]) -> None:
    names = [stage.name for stage in stages]
    if not stages or len(set(names)) != len(names):
        raise TrainingError(f"a training plan needs stages of different names, found {names}")
