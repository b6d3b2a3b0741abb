"""The sections of the page that can be filtered by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from detzoo.comparison import figures, score_figures
from detzoo.comparison.class_differences import MOST_DETECTORS, difference_figures
from detzoo.comparison.figures import ALL
from detzoo.comparison.html_page import CLASS, Menu, Plot, Section
from detzoo.evaluation.calibration import SCORED_FROM
from detzoo.evaluation.classes import class_names
from detzoo.evaluation.intervals import LEVEL
from detzoo.evaluation.object_counts import object_counts, of_all_classes

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.data import Dataset


def class_sections(entries: Sequence[ComparisonEntry], dataset: Dataset) -> list[Section]:
    """What can be filtered by class: AP, sizes, precision over recall, F1 over the score, errors."""
    names = [entry.name for entry in entries]
    classes = list(dict.fromkeys(c for entry in entries for c in entry.results["per_class"]))
    objects = objects_by_class(dataset)
    shown = {which: f"{which} (n={objects[which]['AP']})" for which in [ALL, *classes] if which in objects}
    menu = [Menu(CLASS, "class", [ALL, *classes], shown)]
    by_class = {c: {e.name: percent(per_class(e, c).get("AP")) for e in entries} for c in classes}
    sizes = {
        which: {e.name: [percent(numbers(e, which).get(key)) for key in ("APs", "APm", "APl")] for e in entries}
        for which in [ALL, *classes]
    }
    bars = figures.class_bars(by_class, names, objects)
    size_note = (
        "Small: up to 32² px, large: from 96² px on; n: objects that count. What few objects stand behind says little."
    )
    return [
        Section("AP of each class", [Plot("classes", "AP of each class", bars, (CLASS,))], menu),
        Section(
            "AP by size of the objects",
            [Plot("sizes", "AP by size", figures.size_bars(sizes, objects), (CLASS,))],
            menu,
            size_note,
        ),
        difference_section(entries),
        *detection_sections(entries, menu, [ALL, *classes]),
    ]


def difference_section(entries: Sequence[ComparisonEntry]) -> Section:
    """Two detectors, class by class."""
    names, drawings = difference_figures(entries)
    menus = [Menu("less", "AP of", names), Menu("from", "less AP of", [*names[1:], *names[:1]])]
    note = (
        f"Bars: {100 * LEVEL:g} % confidence interval of the difference, over the same resamples of the test images; "
        "each class stands for itself: of twenty classes without any difference, one is told apart by chance. "
        f"The {MOST_DETECTORS} detectors of the best AP can be chosen."
    )
    plot = Plot("differences", "difference of two detectors in each class", drawings, ("less", "from"))
    return Section("Differences of two detectors in each class", [plot], menus, note)


def detection_sections(
    entries: Sequence[ComparisonEntry], menu: Sequence[Menu], choices: Sequence[str]
) -> list[Section]:
    """What only detections tell: precision, F1, errors."""
    index = {entry.name: n for n, entry in enumerate(entries)}
    analysed = {e.name: e.analysis for e in entries if e.analysis}
    errors = {
        which: {name: gains for name, a in analysed.items() if (gains := gains_of(a, which))} for which in choices
    }
    precision = figures.precision_curves({name: a["precision"] for name, a in analysed.items()}, index)
    f1 = figures.f1_lines({name: f1_of(a) for name, a in analysed.items()}, index)
    without = lacking(entries, lambda entry: bool(entry.analysis), "detections")
    return [
        Section(
            "Precision over recall",
            [Plot("precision", "precision over recall", precision, (CLASS,))],
            menu,
            "Solid at IoU .50, dashed at .75." + without,
        ),
        Section(
            "F1 against confidence",
            [Plot("f1", "F1 against the least score", f1, (CLASS,))],
            menu,
            "Detections below a score are dropped; a detection is right from IoU 0.5 on. The mark is the highest F1 of "
            "this split: a threshold for use is better taken from a split that decides nothing else." + without,
        ),
        *score_sections(analysed, index, menu, choices, without),
        Section(
            "Errors by kind",
            [Plot("errors", "what each kind of error costs", figures.error_bars(errors, index), (CLASS,))],
            menu,
            "AP50 that would be won if one kind of error were mended alone (TIDE, Bolya et al. 2020; a detection is on "
            "a box from IoU 0.5 and beside it from 0.1)." + without,
        ),
    ]


def score_sections(
    analysed: Mapping[str, Mapping[str, Any]],
    index: Mapping[str, int],
    menu: Sequence[Menu],
    choices: Sequence[str],
    without: str,
) -> list[Section]:
    """Whether scores can be believed, and the error at the best of them."""
    records = {name: a["calibration"] for name, a in analysed.items()}
    diagrams = {name: {ALL: record} | record["per_class"] for name, record in records.items()}
    errors = {
        which: {name: record["per_class"][which] for name, record in records.items() if which in record["per_class"]}
        for which in choices
        if which != ALL
    }
    return [
        Section(
            "Calibration",
            [Plot("calibration", "precision over score", score_figures.reliability_lines(diagrams, index), (CLASS,))],
            menu,
            f"Detections of score {SCORED_FROM:g} and more in bins of their score, right from IoU 0.5 on: below the "
            "diagonal a detector is less often right than its score says, above it more often. D-ECE is the mean gap "
            "(Küppers et al. 2020)." + without,
        ),
        Section(
            "Localisation, recall and precision in one error",
            [Plot("lrp", "oLRP of each class", score_figures.lrp_bars(errors, index), (CLASS,))],
            menu,
            "oLRP (Oksuz et al. 2018): 0 is perfect, 100 as bad as no detection, at the score of each class that makes "
            "it least; point at a bar to read that score. It is chosen on this split: `detzoo eval --thresholds lrp` "
            "chooses on another one." + without,
        ),
    ]


def objects_by_class(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Class, or ALL -> metric -> objects that count."""
    truth = dataset.coco_ground_truth()
    counts, names = object_counts(truth), class_names(truth)
    return {ALL: of_all_classes(counts)} | {names[category]: of_class for category, of_class in counts.items()}


def f1_of(analysis: Mapping[str, Any]) -> dict[str, Any]:
    """Class, or ALL -> curve; empty where no object counts."""
    f1 = analysis["f1"]
    return {} if f1["mean"] is None else {ALL: f1["mean"]} | f1["per_class"]


def per_class(entry: ComparisonEntry, name: str) -> Mapping[str, Any]:
    """Numbers of one class, empty where the entry does not have it."""
    values: Mapping[str, Any] = entry.results["per_class"].get(name, {})
    return values


def numbers(entry: ComparisonEntry, which: str) -> Mapping[str, Any]:
    """Numbers of one class, or of all."""
    metrics: Mapping[str, Any] = entry.results["metrics"]
    return metrics if which == ALL else per_class(entry, which)


def gains_of(analysis: Mapping[str, Any], which: str) -> dict[str, float]:
    """Gains of one class, or of all; empty where there is no AP."""
    errors = analysis["errors"]
    gains: dict[str, float | None] = errors["gains"] if which == ALL else errors["per_class"].get(which, {})
    return {kind: value for kind, value in gains.items() if value is not None}


def percent(value: float | None) -> float | None:
    """0..1 -> percent; no value stays none."""
    return None if value is None else round(100 * value, 3)


def lacking(entries: Sequence[ComparisonEntry], has: Callable[[ComparisonEntry], bool], what: str) -> str:
    """Who is not in a drawing, and why."""
    names = [entry.name for entry in entries if not has(entry)]
    return f" No {what} recorded: {', '.join(names)}." if names else ""
