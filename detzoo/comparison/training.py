"""The trainings of ``compare --train``: those that are missing, given to the same workers as a sweep's runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detzoo.comparison.entry import NUMBERS, data_facts, finished
from detzoo.comparison.measuring import fingerprint
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
    from detzoo.comparison.candidates import Candidate
    from detzoo.comparison.plan import ComparisonPlan
    from detzoo.data import Dataset

LOGS: Final = "logs"
STOPPED: Final = "its training was stopped from outside; repeat the command to resume"


def train_missing(
    plan: ComparisonPlan, candidates: Sequence[Candidate], dataset: Dataset, say: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, str]]:
    """Train what is not evaluated yet, several at a time where there are several devices.

    Args:
        plan: of the comparison.
        candidates: rows of the comparison.
        dataset: that will be evaluated on; nothing is chosen by it while training.
        say: progress callback, one message per call.

    Returns:
        name -> key of the numbers of what is trained here, taken before the training: a recipe file that is changed
        meanwhile does not pass for the one that was trained. And name -> why it could not be trained.

    Raises:
        DetzooError: there is no such device or cluster.
        Interrupted: a KeyboardInterrupt: a signal came; checkpoints were written.
    """
    jobs, keys, failed = missing(plan, candidates, dataset)
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
    plan: ComparisonPlan, candidates: Sequence[Candidate], dataset: Dataset
) -> tuple[list[Job], dict[str, str], dict[str, str]]:
    """The trainings whose detectors have no numbers yet, keys of all numbers, and why some cannot be built, by name."""
    jobs: list[Job] = []
    keys: dict[str, str] = {}
    failed: dict[str, str] = {}
    splits = [plan.train_split, *selecting_split(plan, dataset)]
    trained_here = [candidate for candidate in candidates if candidate.training is not None]
    learned_from = [data_facts(open_dataset(plan.data, split)) for split in splits] if trained_here else []
    for candidate in trained_here:
        name, target = candidate.name, candidate.target
        try:
            load_recipe(target, list(plan.overrides))
            folder = plan.out / "detectors" / name
            keys[name] = fingerprint(plan, target, dataset, [*training_facts(plan, candidate), *learned_from])
            if finished(folder / NUMBERS, keys[name]) is None:
                jobs.append(job_of(plan, candidate, folder / "run", dataset))
        except (RecipeError, PluginError) as error:
            failed[name] = str(error)
    return jobs, keys, failed


def training_facts(plan: ComparisonPlan, candidate: Candidate) -> list[Any]:
    """What decides how a detector is trained, in addition to its recipe and the data."""
    options = candidate.training or plan.training
    part = [] if candidate.fraction == 1 else [candidate.fraction, plan.subset_seed, plan.fraction_budget]
    minutes = [] if options.minutes is None else ["minutes", options.minutes]
    seed = [] if options.seed is None else [options.seed]
    return [plan.train_split, options.epochs, options.steps, *seed, *part, *minutes]


def job_of(plan: ComparisonPlan, candidate: Candidate, run: Path, dataset: Dataset) -> Job:
    """The training of one row."""
    assert candidate.training is not None
    selects = selecting_split(plan, dataset)
    command = TrainCommand(
        target=candidate.target,
        data=plan.data,
        out=run.absolute(),  # it may be trained elsewhere
        overrides=tuple(plan.overrides),
        train_split=plan.train_split,
        val_split=selects[0] if selects else "none",
        fraction=None if candidate.fraction == 1 else candidate.fraction,
        subset_seed=plan.subset_seed,
        fraction_budget=plan.fraction_budget,
        **vars(candidate.training),
    )
    return Job(name=candidate.name, command=command)


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
