"""Under which protocol each number of a comparison was measured, and which numbers must not be read side by side.

The protocol that most rows share needs no mark. Every other one has a letter, at each of its numbers, and a note that
says in what it differs. A detector's own settings (input size, thresholds) are part of the detector: they
stand in its row of the table of protocols.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from detzoo.runtime.text_table import Column, Table

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry

Protocol = dict[str, str]

ACCURACY: Final = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"),
    *("mask_AP", "mask_AP50", "voc07_AP50", "voc10_AP50"),
)
SPEED: Final = (
    *("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_spread", "best_images_per_s", "best_batch"),
    *("proposals_p50_ms", "without_proposals_p50_ms", "pre_p50_ms", "forward_p50_ms", "post_p50_ms"),
    "peak_memory_mib",
)
UNKNOWN: Final = "not recorded"
SWITCHES: Final = ("compile", "channels_last", "fold")
VERSIONS: Final = ("detzoo", "torch", "torchvision")


def accuracy_protocol(results: Mapping[str, Any]) -> Protocol:
    """What decides an AP in addition to detector and images; not the engine: they agree to the last digit."""
    protocol = results.get("protocol", {})
    coco, voc = protocol.get("coco", {}), protocol.get("voc", {})
    usual = (
        f"at most {coco.get('max_detections')} detections per image, difficult {coco.get('difficult')}, "
        f"VOC at IoU {voc.get('iou')}"
    )
    return {
        "counting": str(protocol.get("counting", usual)),
        "device": device_words(results.get("device"), threads=False),
        "precision": str(protocol.get("precision", UNKNOWN)),
        "switches": switch_words(protocol) if "precision" in protocol else UNKNOWN,
        "versions": version_words(results.get("versions")),
    }


def speed_protocol(benchmark: Mapping[str, Any]) -> Protocol | None:
    """What decides a time in addition to the detector; None where nothing was timed."""
    if not benchmark:
        return None
    p = benchmark["protocol"]
    sizes = list(p.get("image_sizes", ()))
    return {
        "device": device_words(p.get("device")),
        "precision": str(p.get("precision", UNKNOWN)),
        "switches": switch_words(p),
        "batch": str(p.get("batch", UNKNOWN)),
        "images": ", ".join(sizes[:3]) + (" ..." if len(sizes) > 3 else "") + f" ({p.get('images', UNKNOWN)})",
        "warm-up": f"{p.get('warmup')} rounds",
        "versions": version_words(p.get("versions")),
    }


def device_words(device: Mapping[str, Any] | None, *, threads: bool = True) -> str:
    """``cpu AMD EPYC, 2 threads``; how many there are decides times, and no AP."""
    if not device:
        return UNKNOWN
    count = device.get("threads") if threads else None
    counted = "" if count is None else f", {count} thread{'s' if count != 1 else ''}"
    return f"{device.get('type', '')} {device.get('name', '')}".strip() + counted


def switch_words(protocol: Mapping[str, Any]) -> str:
    """Those that were on."""
    return ", ".join(name for name in SWITCHES if protocol.get(name)) or "none"


def version_words(versions: Mapping[str, Any] | None) -> str:
    """Of what computes."""
    return ", ".join(f"{name} {versions[name]}" for name in VERSIONS if name in versions) if versions else UNKNOWN


def marked(protocols: Sequence[Protocol | None], letters: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """A letter for each row whose protocol is not the most common one.

    Args:
        protocols: of each row, None for rows without numbers.
        letters: that are still free.

    Returns:
        the letter of each row, or nothing; and (letter, in what it differs) for each letter.
    """
    keys = [None if protocol is None else tuple(sorted(protocol.items())) for protocol in protocols]
    counts = Counter(key for key in keys if key is not None)
    if len(counts) < 2:
        return [""] * len(keys), []
    usual = max(counts, key=lambda key: counts[key])
    letter_of = dict(zip((key for key in counts if key != usual), letters, strict=False))
    differences = []
    for key, letter in letter_of.items():
        there, here = dict(key), dict(usual)
        words = [f"{name} {there[name]} (the others: {here.get(name)})" for name in there if there[name] != here[name]]
        differences.append((letter, "; ".join(words)))
    return ["" if key is None or key == usual else letter_of[key] for key in keys], differences


def marks_of(entries: Sequence[ComparisonEntry]) -> tuple[list[dict[str, str]], list[str]]:
    """For each row the mark of each column; and the notes that explain the marks."""
    free = list(string.ascii_lowercase.replace("q", "")) + [f"{a}{b}" for a in "abcdef" for b in "abcdefghij"]
    accuracy, differences = marked([accuracy_protocol(entry.results) for entry in entries], free)
    speed, others = marked([speed_protocol(entry.benchmark) for entry in entries], free[len(differences) :])
    marks = [{**dict.fromkeys(ACCURACY, a), **dict.fromkeys(SPEED, s)} for a, s in zip(accuracy, speed, strict=True)]
    notes = [f"{letter}: accuracy under another protocol: {words}" for letter, words in differences]
    notes += [f"{letter}: times under another protocol: {words}" for letter, words in others]
    return marks, notes


PROTOCOL_COLUMNS: Final = tuple(
    Column(key, title, None)
    for key, title in (
        ("name", "detector"),
        ("source", "from"),
        ("input", "input px"),
        ("score_threshold", "score ≥"),
        ("nms_iou", "NMS IoU"),
        ("keep", "kept"),
        ("batch", "eval batch"),
        ("precision", "precision"),
        ("switches", "switches"),
        ("device", "device"),
        ("versions", "versions"),
        ("timed_batch", "timed batch"),
        ("timed_images", "timed images"),
        ("timed_rounds", "rounds"),
        ("timed_device", "timed on"),
        ("timed_versions", "timed with"),
    )
)


def protocol_table(entries: Sequence[ComparisonEntry]) -> Table:
    """One row per detector: how its accuracy and its times were measured."""
    return Table("Protocol of each row", PROTOCOL_COLUMNS, [protocol_row(entry) for entry in entries])


def protocol_row(entry: ComparisonEntry) -> dict[str, Any]:
    """Of one detector; thresholds are its own."""
    recorded = entry.results.get("protocol", {})
    accuracy, speed = accuracy_protocol(entry.results), speed_protocol(entry.benchmark) or {}
    thresholds = {key: text(recorded.get(key)) for key in ("score_threshold", "nms_iou", "keep", "batch")}
    return {
        "name": entry.name,
        "source": entry.source,
        "input": entry.facts.size,
        **thresholds,
        **{key: accuracy[key] for key in ("precision", "switches", "device", "versions")},
        "timed_batch": speed.get("batch"),
        "timed_images": speed.get("images"),
        "timed_rounds": text(entry.benchmark["protocol"].get("rounds")) if speed else None,
        "timed_device": speed.get("device"),
        "timed_versions": speed.get("versions"),
    }


def text(value: Any) -> str:
    """A setting as it is written in a recipe."""
    return UNKNOWN if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)
