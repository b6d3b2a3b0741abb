"""``detzoo compare``: many detectors, one dataset, one protocol; a table, a plot and a page.

Detectors that are to be trained are trained first. Then the numbers of each lie finished in its own folder before the
next begins, so that an interrupted comparison goes on where it stopped. A folder is reused only while everything that
decides its numbers is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from detzoo.comparison.candidates import Candidate, candidates_of, check_trainings
from detzoo.comparison.data_curve import DataCurves, data_curves, say_parts
from detzoo.comparison.data_curve_drawings import data_figure, data_section
from detzoo.comparison.entry import ComparisonEntry
from detzoo.comparison.measuring import Measuring, evaluate_detector, time_detectors
from detzoo.comparison.page import comparison_page, points_of
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.plots import save, speed_ap_figure
from detzoo.comparison.ranking import ranking_of
from detzoo.comparison.recorded import find_recorded, is_trained_here, take_recorded
from detzoo.comparison.seed_table import seed_table
from detzoo.comparison.table import comparison_table
from detzoo.comparison.training import check_places, train_missing
from detzoo.comparison.verdict import verdict
from detzoo.data import Dataset, open_dataset
from detzoo.data.formats.opening import evaluation_split
from detzoo.data.groups import regrouped
from detzoo.detector_loading import find_target
from detzoo.errors import DetzooError
from detzoo.foreign.target import is_foreign
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.folder_claim import claimed_folder
from detzoo.runtime.isolated import Failure, isolated
from detzoo.runtime.text_table import Table

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.comparison.html_page import Page
    from detzoo.runtime.text_table import Table

FORMAT: Final = "detzoo.compare/1"
MARKER: Final = "comparison.json"
SEEDS: Final = "seeds.json"
CURVES: Final = ("training_images.json", "training_images.png")


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` gives.

    Args:
        entries: detectors that could be measured, in the given order.
        failures: target, with its seed where it was trained with several -> why not.
        table: of the numbers.
        files: what was written, the page first.
        seeds: recipes by their mean over seeds; None where none was trained with two.
        curves: AP over the number of training images; None where no parts of them were trained on.
        verdict: what the numbers say, in words.
    """

    entries: list[ComparisonEntry]
    failures: dict[str, str]
    table: Table
    files: list[Path]
    seeds: Table | None = None
    curves: DataCurves | None = None
    verdict: str = ""


def compare(plan: ComparisonPlan, say: Callable[[str], None] = lambda _: None) -> Comparison:
    """Evaluate and benchmark detectors on one dataset; write table, plot and page.

    Args:
        plan: what and how.
        say: progress callback, one message per call.

    Raises:
        DetzooError: nothing could be compared, or ``out`` holds files of somebody else.
        Interrupted: a KeyboardInterrupt: a signal came while detectors were trained; checkpoints were written.
    """
    check_places(plan)
    check_trainings(plan)
    if not plan.targets:
        raise DetzooError("detzoo compare needs at least one detector: a name, a recipe file, a run or results")
    for target in filter(is_trained_here, plan.targets):
        find_target(target, set_=plan.overrides, weights="optional")  # before the others are trained for hours
    for target in filter(is_foreign, plan.targets):
        found = find_target(target)  # a file that is not there, a wrong option
        if found.foreign is None:
            raise DetzooError(
                f"{target} is a run of detzoo on the Hub, and compare does not take it by this name; it was fetched, "
                f"so give {found.name}"
            )
    with claimed_folder(plan.out, marker=MARKER, written=FORMAT, what="comparison"):
        return _compared(plan, say)


def _compared(plan: ComparisonPlan, say: Callable[[str], None]) -> Comparison:
    dataset = regrouped(open_dataset(plan.data, evaluation_split(plan.data, plan.split)), plan.groups)
    candidates = candidates_of(plan)
    say_parts(plan, say)
    keys, untrained = train_missing(plan, candidates, dataset, say) if plan.train else ({}, {})
    failures = dict(untrained)
    rows: dict[str, Measuring | ComparisonEntry] = {}
    for candidate in candidates:
        name = candidate.name
        if name in untrained:
            continue
        found = isolated(partial(evaluated, plan, candidate, dataset, say, keys.get(name)))
        if isinstance(found, Failure):
            failures[name] = found.message
            say(f"{name}: left out: {found.message}\n{found.trace}".rstrip())
        elif candidate.ranked:
            rows[name] = found
    time_detectors(plan, [row for row in rows.values() if isinstance(row, Measuring)], dataset, say)
    entries = [row.entry() if isinstance(row, Measuring) else row for row in rows.values()]
    failed = [one for one in candidates if one.name in failures]
    by_label = {one.label: failures[one.name] for one in failed}
    if not entries:
        raise DetzooError("\n".join(f"{label}: {why}" for label, why in by_label.items()))
    table = comparison_table(dataset, entries, {one.name: failures[one.name] for one in failed if one.ranked})
    title = f"{dataset.name} {dataset.split}"
    seeds = seed_table(title, entries)
    curves = data_curves(plan, [one for one in candidates if one.name not in failures], title)
    ranking = ranking_of(entries, table)
    words = verdict(ranking, title)
    page = comparison_page(
        dataset,
        entries,
        table,
        plan.examples,
        verdict=words,
        ranking=ranking,
        seeds=seeds,
        trainings=[] if curves is None else [data_section(curves)],
        command=plan.command,
    )
    files = write_files(plan.out, entries, page, curves)
    return Comparison(entries, by_label, table, files, seeds, curves, words)


def evaluated(
    plan: ComparisonPlan, candidate: Candidate, dataset: Dataset, say: Callable[[str], None], key: str | None = None
) -> Measuring | ComparisonEntry:
    """One row's accuracy, from its folder where it is still good; ``key`` where it was taken before a training."""
    folder = plan.out / "detectors" / candidate.name
    recorded = find_recorded(candidate.target)
    if recorded is not None:
        return take_recorded(plan, recorded, candidate.name, folder, dataset, say)
    return evaluate_detector(plan, candidate, folder, dataset, say, key)


def write_files(out: Path, entries: Sequence[ComparisonEntry], page: Page, curves: DataCurves | None) -> list[Path]:
    """Write everything; returns the paths, the page first."""
    table, seeds = page.table, page.seeds
    tables = [table, seeds, None if curves is None else curves.table, page.protocols]
    words = f"{page.verdict}\n\n" if page.verdict else ""
    write_text(out / "index.html", page.html())
    write_text(out / "table.md", words + "\n".join(one.markdown() for one in tables if one is not None))
    write_text(out / "table.csv", table.csv())
    write_text(out / "table.json", table.json())
    save(speed_ap_figure(points_of(entries, table), objects=table.counts.get("AP")), out / "speed_ap.png")
    for earlier in (SEEDS, *CURVES):
        (out / earlier).unlink(missing_ok=True)
    names = ["index.html", "table.md", "table.csv", "table.json", "speed_ap.png"]
    if seeds is not None:
        write_text(out / SEEDS, seeds.json())
        names.append(SEEDS)
    if curves is not None:
        write_text(out / CURVES[0], curves.json())
        save(data_figure(curves), out / CURVES[1])
        names += CURVES
    return [out / name for name in names]
