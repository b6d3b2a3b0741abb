"""The trainings of ``compare --train``: those that are missing, given to the same workers as a sweep's runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from detzoo.comparison.entry import NUMBERS, finished
from detzoo.comparison.measuring import fingerprint
from detzoo.comparison.recorded import is_trained_here
from detzoo.data import list_splits, open_dataset
from detzoo.data.formats.split_names import with_role
from detzoo.errors import DetzooError, PluginError, RecipeError
from detzoo.experiments.board import Board
from detzoo.experiments.dispatch import trained
from detzoo.experiments.job import Job, Outcome
from detzoo.recipes.recipe import load_recipe
from detzoo.runtime.interrupts import Interrupted
from detzoo.training.options import TrainCommand

if TYPE_CHECKING:
    from detzoo.comparison.plan import ComparisonPlan
    from detzoo.data import Dataset

LOGS: Final = "logs"
STOPPED: Final = "its training was stopped from outside; repeat the command to resume"


def train_missing(
    plan: ComparisonPlan, targets: Mapping[str, str], dataset: Dataset, say: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, str]]:
    """Train what is not evaluated yet, several at a time where there are several devices.

    Args:
        plan: of the comparison.
        targets: name in the table -> target.
        dataset: that will be evaluated on; nothing is chosen by it while training.
        say: progress callback, one message per call.

    Returns:
        name -> key of the numbers of what is trained here, taken before the training: a recipe file that is changed
        meanwhile does not pass for the one that was trained. And name -> why it could not be trained.

    Raises:
        DetzooError: there is no such device or cluster.
        Interrupted: a KeyboardInterrupt: a signal came; checkpoints were written.
    """
    jobs, keys, failed = missing(plan, targets, dataset)
    for name, why in failed.items():
        say(f"{name}: left out: {why}")
    if not jobs:
        return keys, failed
    say(f"{len(jobs)} to train on {plan.data} {plan.train_split}")
    board = Board(len(jobs), 0, say)
    outcomes: dict[str, Outcome] = {}

    def note(outcome: Outcome) -> None:
        outcomes[outcome.name] = outcome

    if trained(jobs, plan.training_places(), plan.out / LOGS, board, note):
        raise Interrupted("stopped; repeat the command to resume")
    ended = {name: outcome.why or STOPPED for name, outcome in outcomes.items() if outcome.state != "done"}
    return keys, failed | ended


def missing(
    plan: ComparisonPlan, targets: Mapping[str, str], dataset: Dataset
) -> tuple[list[Job], dict[str, str], dict[str, str]]:
    """The trainings whose detectors have no numbers yet, keys of all numbers, and why some cannot be built, by name."""
    jobs: list[Job] = []
    keys: dict[str, str] = {}
    failed: dict[str, str] = {}
    splits = [plan.train_split, *selecting_split(plan, dataset)]
    any_trained = any(map(is_trained_here, targets.values()))
    learned_from = [open_dataset(plan.data, split) for split in splits] if any_trained else []
    for name, target in targets.items():
        if not is_trained_here(target):
            continue
        try:
            load_recipe(target, list(plan.overrides))
            folder = plan.out / "detectors" / name
            keys[name] = fingerprint(plan, target, dataset, learned_from)
            if finished(folder / NUMBERS, keys[name]) is None:
                jobs.append(job_of(plan, target, name, folder / "run", dataset))
        except (RecipeError, PluginError) as error:
            failed[name] = str(error)
    return jobs, keys, failed


def job_of(plan: ComparisonPlan, target: str, name: str, run: Path, dataset: Dataset) -> Job:
    """The training of one detector."""
    selects = selecting_split(plan, dataset)
    command = TrainCommand(
        target=target,
        data=plan.data,
        out=run.absolute(),  # it may be trained elsewhere
        overrides=tuple(plan.overrides),
        train_split=plan.train_split,
        val_split=selects[0] if selects else "none",
        **vars(plan.training),
    )
    return Job(name=name, command=command)


def selecting_split(plan: ComparisonPlan, dataset: Dataset) -> list[str]:
    """The split that selects the best epochs, if there is one: it is neither learned from nor compared on."""
    taken = f"{dataset.split}+{plan.train_split}".split("+")
    return [split for split in with_role(list_splits(plan.data), "val") if split not in taken][:1]


def check_places(plan: ComparisonPlan) -> None:
    """Complain of places to train at where nothing is to be trained.

    Raises:
        DetzooError: there are such.
    """
    if not plan.train and (plan.devices is not None or plan.ray is not None):
        raise DetzooError("--devices and --ray choose where --train runs; add --train, or leave them out")
