"""The stages of a training plan, in order; each is checkpointed, and a resumed run begins with the one it was in."""

from __future__ import annotations

import dataclasses
from typing import Any

from detzoo.errors import TrainingError, WeightsError
from detzoo.interfaces import FittingStage, GradientStage, Stage
from detzoo.runtime.interrupts import Interrupts
from detzoo.training.log import RunLog
from detzoo.training.loop import GradientDescent
from detzoo.training.plan import TrainPlan
from detzoo.training.run import ALTERED, Run, RunSettings, RunState
from detzoo.training.stage_context import RunContext
from detzoo.training.stage_run import StageRun
from detzoo.training.validation import end_fitting, should_stop
from detzoo.weights.checkpoint import LAST, Checkpoint, stage_file


def run_stages(run: Run, state: RunState, log: RunLog, interrupts: Interrupts, restored: Checkpoint | None) -> None:
    """Take a run from where its state says it is to its end.

    Args:
        run: that is to be taken on.
        state: where it is; changed.
        log: of the run, open.
        interrupts: notes signals.
        restored: checkpoint that ``state`` is from; None for a new run, whose first checkpoint is written at once.
    """
    stages = run.task.stages()
    _check_names(stages)  # names are file names of the stages' weights
    while not state.complete:
        if state.stage >= len(stages):
            raise WeightsError(f"{run.out / LAST}: {ALTERED}: stage is {state.stage!r:.20} of {len(stages)}")
        stage = stages[state.stage]
        epochs, steps = length_of(run.task.plan, run.settings, stage)
        running = StageRun(
            run=run,
            stage=stage,
            plan=plan_of(run.task.plan, stage),
            settings=dataclasses.replace(run.settings, epochs=epochs, steps=steps),
            state=state,
            log=log,
            interrupts=interrupts,
            restored=restored,
        )
        if restored is None and state.stage == 0:  # a run killed in its first step can be resumed too
            running.save()
        restored = None
        if any(stage.start_from == "weights" for stage in stages[1:]):
            running.save_initial()  # only writes before the first step
        if len(stages) > 1:
            _announce(running, stages)
        last = state.stage == len(stages) - 1
        _run_stage(running, stage)
        if last and isinstance(stage, FittingStage) and stage.evaluate:
            end_fitting(running)
        _finish_stage(running, last=last)


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


def _run_stage(running: StageRun, stage: Stage) -> None:
    state = running.state
    fresh = state.step == 0 and state.epoch == 0
    if fresh and state.stage > 0 and stage.start_from == "weights":
        running.load_initial()
    if isinstance(stage, FittingStage):
        running.restore()
        stage.fit(RunContext(running))
    else:
        assert isinstance(stage, GradientStage)
        GradientDescent(running, stage).train()


def _finish_stage(running: StageRun, *, last: bool) -> None:
    """Move the state to the next stage and write it, so that a finished stage is never run twice."""
    state, stage = running.state, running.stage
    if not last:
        if running.ema is not None:
            # what was evaluated is what the next stage gets; the parts that it freezes would else never be averaged
            running.network.load_state_dict(running.ema.average)
            running.ema = None
        running.save_weights(stage_file(stage.name))
    state.stopped_early = last and isinstance(stage, GradientStage) and should_stop(running)
    state.base_step, state.base_epoch = state.base_step + state.step, state.base_epoch + state.epoch
    state.step = state.epoch = state.position = state.worse = 0
    state.stage, state.complete = state.stage + 1, last
    running.optimizer = None
    if not last:
        running.accelerator.free_memory()
    running.save()  # the new stage's start: a kill from here on does not repeat the old one


def _announce(running: StageRun, stages: list[Stage]) -> None:
    settings = running.settings
    fitting = isinstance(running.stage, FittingStage)
    length = "" if fitting else f", {settings.steps} steps, {settings.epochs} epochs at most"
    running.say(f"stage {running.state.stage + 1} of {len(stages)}: {running.stage.name}{length}")


def _check_names(stages: list[Stage]) -> None:
    names = [stage.name for stage in stages]
    if not stages or len(set(names)) != len(names):
        raise TrainingError(f"a training plan needs stages of different names, found {names}")
