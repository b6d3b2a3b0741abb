"""``detzoo sweep``: a grid of overrides as named runs, trained where they are missing, ranked at the end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detzoo.errors import DetzooError, PluginError, RecipeError, TrainingError
from detzoo.experiments.board import Board, sweep_table
from detzoo.experiments.dispatch import trained
from detzoo.experiments.grid import Point, grid
from detzoo.experiments.job import Job, Outcome
from detzoo.experiments.ledger import SWEEP, Ledger, LedgerEntry, open_ledger, recipe_digest
from detzoo.experiments.sweep_plan import SweepPlan
from detzoo.recipes.recipe import load_recipe
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.folder_claim import claimed_folder
from detzoo.runtime.foreign_files import is_there
from detzoo.training.options import TrainCommand
from detzoo.training.train_command import open_splits

if TYPE_CHECKING:
    from detzoo.data import Dataset
    from detzoo.runtime.text_table import Table

RUNS: Final = "runs"
LOGS: Final = "logs"


@dataclass(frozen=True)
class SweepResult:
    """What ``sweep`` gives.

    Args:
        entries: all runs of the folder, in the order in which they were added.
        table: of them, best first.
        files: what was written.
        stopped: whether a signal ended it before all was done.
    """

    entries: list[LedgerEntry]
    table: Table
    files: list[Path]
    stopped: bool


def sweep(plan: SweepPlan, say: Callable[[str], None] = lambda _: None) -> SweepResult:
    """Train the runs of a grid that are missing in ``out``, and rank all that are there.

    Killed at any moment and called again, it goes on from each run's last checkpoint. A larger grid adds runs.

    Args:
        plan: what and how.
        say: progress callback, one message per call.

    Raises:
        DetzooError: nothing can be trained, or ``out`` belongs to something else.
    """
    recipe = load_recipe(plan.target)
    points = grid(plan.overrides, recipe.values)
    settings = shared_settings(plan)
    with claimed_folder(plan.out, marker=SWEEP, what="sweep"):
        ledger = open_ledger(plan.out, settings)
        wanted = [added(ledger, plan, point) for point in points]
        if all(entry.digest == "" for entry in wanted):
            raise RecipeError("\n".join(dict.fromkeys(entry.outcome.why for entry in wanted)))
        ledger.save()
        todo = [entry for entry in wanted if entry.digest and entry.outcome.state != "done"]
        kept = len(wanted) - len(todo)
        say(opening_words(plan, wanted))
        stopped = False
        if todo:
            jobs = [job_of(plan, entry) for entry in todo]
            stopped = trained(jobs, plan, plan.out / LOGS, Board(len(wanted), kept, say), ledger.note)
        entries = list(ledger.entries.values())
        table = sweep_table(title(plan, settings), entries, plan.out)
        write_text(plan.out / "table.md", table.markdown())
    return SweepResult(entries, table, [plan.out / "sweep.json", plan.out / "table.md"], stopped)


def opening_words(plan: SweepPlan, wanted: Sequence[LedgerEntry]) -> str:
    """What is about to happen."""
    impossible = sum(entry.digest == "" for entry in wanted)
    done = sum(entry.outcome.state == "done" for entry in wanted)
    parts = [f"{len(wanted) - done - impossible} to train"]
    parts += [f"{done} done before"] * bool(done)
    parts += [f"{impossible} that cannot be built"] * bool(impossible)
    return f"{len(wanted)} runs in {plan.out}: {', '.join(parts)}"


def shared_settings(plan: SweepPlan) -> dict[str, Any]:
    """What all runs of a sweep have in common; the data is opened, so that what is wrong with it comes first.

    Raises:
        TrainingError: nothing is there to rank the runs by.
    """
    train, val = open_splits(plan.data, plan.train_split, plan.val_split)
    if val is None:
        raise TrainingError(
            f"{plan.data}: a sweep ranks its runs on images that they are not trained on, and there is no split called "
            "val, valid, validation or dev, and too few images to hold some out; name a split with --val-split"
        )
    names = ["weights", "seed", "epochs", "steps", "batch", "accumulate", "precision"]
    names += [] if plan.minutes is None else ["minutes"]
    names += [] if plan.fraction is None else ["fraction", "subset_seed", "fraction_budget"]
    return {
        "target": from_everywhere(plan.target),
        "data": from_everywhere(plan.data),
        "train": data_facts(train),
        "val": data_facts(val),
    } | {name: getattr(plan, name) for name in names}


def from_everywhere(target: str) -> str:
    """A name, or a path (with the recipe behind ``#``) that means the same in every folder."""
    path, mark, recipe = target.partition("#")
    return f"{Path(path).resolve()}{mark}{recipe}" if is_there(Path(path)) else target


def data_facts(dataset: Dataset) -> dict[str, Any]:
    """By which a dataset is known again."""
    facts = {"split": dataset.split, "images": len(dataset), "classes": list(dataset.classes)}
    return json.loads(json.dumps(facts))  # type: ignore[no-any-return]  # as it comes back from the file


def title(plan: SweepPlan, settings: dict[str, Any]) -> str:
    """What the table is about, with the data that its numbers come from."""
    val = settings["val"]
    return f"{plan.target} on {plan.data}, AP on {val['split']}, {val['images']} images"


def added(ledger: Ledger, plan: SweepPlan, point: Point) -> LedgerEntry:
    """The ledger's run for one point of the grid: there already, or new.

    Raises:
        TrainingError: the folder has another training under the same name.
    """
    try:
        digest, why = recipe_digest(load_recipe(plan.target, list(point.overrides)).values), ""
    except (RecipeError, PluginError) as error:
        digest, why = "", str(error)
    same = next((entry for entry in ledger.entries.values() if digest and entry.digest == digest), None)
    if same is not None:  # perhaps written in another way, such as 1e-2 for 0.01
        return same
    there = ledger.entries.get(point.name)
    if there is not None and there.digest and there.outcome.state != "waiting":
        raise TrainingError(
            f"{plan.out}: run {point.name} was trained by a recipe that has changed since "
            f"(see `detzoo diff {plan.target} {plan.out / RUNS / point.name}`); choose another --out, or move "
            f"{plan.out / RUNS / point.name} away and take its entry out of {plan.out / 'sweep.json'}"
        )
    state: Any = "waiting" if digest else "failed"
    entry = LedgerEntry(point.name, point.overrides, digest, Outcome(name=point.name, state=state, why=why))
    ledger.entries[point.name] = entry
    return entry


def job_of(plan: SweepPlan, entry: LedgerEntry) -> Job:
    """The training of a run, with whole paths, for it may run elsewhere."""
    run = (plan.out / RUNS / entry.name).absolute()
    given = {one.name: getattr(plan, one.name) for one in dataclasses.fields(TrainCommand)}
    return Job(name=entry.name, command=TrainCommand(**given | {"out": run, "overrides": entry.overrides}))


def check_all_done(result: SweepResult) -> None:
    """Complain of runs that failed, for the exit code.

    Raises:
        DetzooError: some did.
    """
    failed = sum(entry.outcome.state == "failed" for entry in result.entries)
    if failed:
        raise DetzooError(f"{failed} of {len(result.entries)} runs failed; see the notes below the table")
