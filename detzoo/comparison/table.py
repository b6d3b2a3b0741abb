"""The table of a comparison: measured columns, then reported ones; marks, and the notes that explain them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from detzoo.benchmark.other_load import busy_warning
from detzoo.comparison.protocol import ACCURACY, SPEED, accuracy_protocol, marks_of, speed_protocol
from detzoo.comparison.ties import COLUMNS, ties_of
from detzoo.comparison.trained import trained_facts
from detzoo.comparison.weights_facts import weights_words
from detzoo.evaluation.object_counts import metric_objects
from detzoo.runtime.text_table import FEW, MEASURED, Column, Table, protocol_note, reported_columns, reported_notes

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.data import Dataset

ABOUT: Final = (
    Column("gives", "gives", None),
    Column("architecture", "architecture", None, only_in_files=True),
    Column("backbone", "backbone", None, only_in_files=True),
    Column("input", "input", None),
)
FROM_DETECTIONS: Final = (
    Column("f1", "F1", 2, 1.0, "high"),
    Column("f1_threshold", "at score", 2),
    Column("d_ece", "D-ECE %", 1, 100.0, "low"),
    Column("olrp", "oLRP %", 1, 100.0, "low"),
)
TRAINING: Final = (
    Column("epochs", "epochs", 0, always=True),
    Column("train_minutes", "training min", 1, always=True),
)
EXPORT: Final = (Column("onnx", "ONNX", None), Column("program", "torch program", None))
FOR_FILES: Final = (
    Column("source", "from", None, only_in_files=True),
    Column("accuracy_protocol", "accuracy protocol", None, only_in_files=True),
    Column("speed_protocol", "speed protocol", None, only_in_files=True),
)
NO_SPEED: Final = "not timed"
"""In place of a speed that no result file recorded."""
FAILED: Final = "failed"
"""In place of what could not be measured; a note says why."""
NOT_RECORDED: Final = "not recorded"
NO_DETECTIONS: Final = "no detections"
"""In place of what only detections tell."""
COST: Final = ("params_m", "gflops", "weights_mib")


def comparison_table(
    dataset: Dataset, entries: Sequence[ComparisonEntry], failures: Mapping[str, str] | None = None
) -> Table:
    """All rows; a number measured under another protocol than most carries a letter.

    Args:
        dataset: that all were evaluated on.
        entries: the rows with numbers.
        failures: name of each row without any -> why.
    """
    left_out = failures or {}
    reported, cells = reported_columns([entry.reported for entry in entries])
    marks, explained = marks_of(entries)
    trained = [trained_facts(entry.run) for entry in entries]
    training = [{"epochs": t.epochs, "train_minutes": t.minutes} for t in trained]
    ties = ties_of(entries)
    rows = [table_row(e) | t | tie | c for e, t, tie, c in zip(entries, training, ties.cells, cells, strict=True)]
    rows += [{"name": name} for name in left_out]
    counts = entries[0].results["counts"]
    notes = [
        f"accuracy: {dataset.name} {dataset.split}, {counts['images']} images, {counts['annotations']} boxes, "
        f"pycocotools' protocol; VOC at IoU 0.5; difficult and crowd boxes ignored"
    ]
    notes += ties.notes
    usual = [e.benchmark for e, m in zip(entries, marks, strict=True) if e.benchmark and not m["latency_p50_ms"]]
    notes += dict.fromkeys(map(protocol_note, same_rounds([benchmark["protocol"] for benchmark in usual])))
    if any(entry.throughput for entry in entries):
        notes.append("img/s: batches of 1, 2, 4, ... as long as that pays; `at batch` says which was best")
    if any(entry.benchmark.get("spread") is not None for entry in entries):
        notes.append("± %: half the range of the median latencies of turns at different moments, in percent of p50")
    notes += explained
    objects = column_objects(dataset)
    notes.append(
        "n: objects that count in a column, difficult and crowd ones left out; where they are fewer than "
        f"{FEW}, nothing is marked as the best"
    )
    notes += [f"{entry.name}: {t.note}" for entry, t in zip(entries, trained, strict=True) if t.note]
    notes += export_notes(entries)
    notes += [
        f"{entry.name}: {NO_SPEED}: no speed was recorded ({entry.source})"
        for entry in entries
        if not entry.benchmark and not entry.failed
    ]
    notes += [f"{entry.name}: {key} {FAILED}: {why}" for entry in entries for key, why in entry.failed.items()]
    notes += [f"{name} {FAILED}: {why}" for name, why in left_out.items()]
    notes += [
        warning for entry in entries if (warning := busy_warning(entry.name, entry.benchmark.get("busy"))) is not None
    ]
    notes += reported_notes([entry.name for entry in entries], [entry.reported for entry in entries])
    weights = [(entry.name, entry.results.get("model", {}).get("weights")) for entry in entries]
    notes += [f"{name}: weights: {weights_words(facts)}" for name, facts in weights if facts]
    notes += [f"{entry.name}: {warning}" for entry in entries for warning in entry.results["warnings"]]
    first, ap, *others = MEASURED
    measured = [ap, *COLUMNS, *others]
    absent = [absent_words(entry) | why for entry, why in zip(entries, ties.absent, strict=True)]
    return Table(
        f"{dataset.name} {dataset.split}",
        [first, *ABOUT, *measured, *FROM_DETECTIONS, *TRAINING, *EXPORT, *FOR_FILES, *reported],
        rows,
        notes,
        marks=[*marks, *({} for _ in left_out)],
        absent=[*absent, *(dict.fromkeys((c.key for c in measured), FAILED) for _ in left_out)],
        counts=objects,
        remarks=[*map(remarks_of, entries), *(dict.fromkeys((c.key for c in measured), w) for w in left_out.values())],
        leading={} if ties.leading is None else {"AP": ties.leading},
    )


def column_objects(dataset: Dataset) -> dict[str, int]:
    """Column -> objects that count in it."""
    return metric_objects(dataset.coco_ground_truth(), (*ACCURACY, "f1"))


def export_notes(entries: Sequence[ComparisonEntry]) -> list[str]:
    """What the words in the columns of export mean, and why something cannot be exported."""
    known = [entry for entry in entries if entry.export]
    if not known:
        return []
    notes = [
        "ONNX, torch program: what the parts of a detector declare, nothing was exported; "
        "raw head: without --postprocess alone; detections: with it alone"
    ]
    facts = ((entry.name, fact) for entry in known for key, fact in entry.export.items() if key == "onnx")
    return notes + [f"{name}: ONNX {fact['can']}: {fact['why']}" for name, fact in facts if fact["can"] != "yes"]


def remarks_of(entry: ComparisonEntry) -> dict[str, str]:
    """What has to be known of single cells."""
    return {key: fact["why"] for key, fact in entry.export.items()} | entry.failed


def same_rounds(protocols: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One sentence for detectors timed for more rounds and for fewer: the table of protocols has each row's number."""
    rounds = sorted({protocol["rounds"] for protocol in protocols})
    words = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else "".join(map(str, rounds))
    return [protocol | {"rounds": words} for protocol in protocols]


def table_row(entry: ComparisonEntry) -> dict[str, Any]:
    """The numbers of one detector, with its protocols as text for files."""
    parameters = entry.results.get("model", {}).get("parameters")
    speed = speed_protocol(entry.benchmark)
    return {
        "name": entry.name,
        "gives": entry.facts.gives,
        "architecture": entry.facts.architecture,
        "backbone": entry.facts.backbone,
        "input": entry.facts.size,
        **entry.results["metrics"],
        "params_m": None if parameters is None else parameters / 1e6,
        **{key: value for key, value in entry.benchmark.get("row", {}).items() if key != "images_per_s"},
        **{key: entry.throughput[key] for key in ("best_images_per_s", "best_batch") if key in entry.throughput},
        **best_f1(entry),
        **calibration_cells(entry),
        **{key: fact["can"] for key, fact in entry.export.items()},
        "source": entry.source,
        "accuracy_protocol": words(accuracy_protocol(entry.results)),
        "speed_protocol": None if speed is None else words(speed),
    }


def best_f1(entry: ComparisonEntry) -> dict[str, float]:
    """The highest mean F1 of the classes, and the score from which detections are kept for it."""
    mean = entry.analysis.get("f1", {}).get("mean")
    return {} if mean is None else {"f1": mean["best"], "f1_threshold": mean["threshold"]}


def calibration_cells(entry: ComparisonEntry) -> dict[str, float | None]:
    """How far scores are from precision, and the least error of boxes, false positives and misses together."""
    record = entry.analysis.get("calibration", {})
    return {key: record[key] for key in ("d_ece", "olrp") if key in record}


def words(protocol: dict[str, str]) -> str:
    """For a cell of a file."""
    return "; ".join(f"{name}: {value}" for name, value in protocol.items())


def absent_words(entry: ComparisonEntry) -> dict[str, str]:
    """Why cells of a result file are empty."""
    gaps = dict.fromkeys(("input", "gives", "epochs", "train_minutes", "onnx", "program"), NOT_RECORDED)
    if not entry.analysis:
        gaps |= dict.fromkeys(("f1", "f1_threshold", "d_ece", "olrp", *(c.key for c in COLUMNS)), NO_DETECTIONS)
    if not entry.benchmark:
        phases_of_some = ("proposals_p50_ms", "without_proposals_p50_ms")
        gaps |= {key: NO_SPEED for key in SPEED if key not in phases_of_some} | dict.fromkeys(COST, NOT_RECORDED)
    return gaps | dict.fromkeys(entry.failed, FAILED)
