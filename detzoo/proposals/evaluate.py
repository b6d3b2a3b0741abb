"""``detzoo proposals eval``: proposal methods side by side on one dataset, as Hosang et al. compared them.

The numbers of each method lie finished in a folder of its own before the next begins, so that an interrupted evaluation
goes on where it stopped. They are reused only while everything that decides them is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detzoo.comparison.entry import finished
from detzoo.components.proposals.precomputed import Precomputed
from detzoo.data.dataset import Dataset
from detzoo.data.formats.opening import evaluation_split, open_dataset
from detzoo.detector_loading import load_detector
from detzoo.errors import DataError, DetzooError
from detzoo.evaluation import evaluate
from detzoo.evaluation.results import plain
from detzoo.prediction.proposal_file import ProposalFile, Regions
from detzoo.proposals.making import make_proposals
from detzoo.proposals.recall import average_recall, best_overlaps, recall
from detzoo.proposals.repeatability import LEVELS, RepeatJob, scores
from detzoo.proposals.report import write_report
from detzoo.proposals.sources import Source, Truth, check_holds, find_sources, read_truth
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.device import pick_device
from detzoo.runtime.folder_claim import claimed_folder
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.json_text import load_json
from detzoo.runtime.parallel import cores, in_parallel
from detzoo.runtime.progress import progress_bar
from detzoo.weights.checkpoint import checkpoint_of

if TYPE_CHECKING:
    from detzoo.interfaces import Detector

FORMAT: Final = "detzoo.proposals.results/1"
MARKER: Final = "proposals.json"
NUMBERS: Final = "numbers.json"
COUNTS: Final = (10, 20, 50, 100, 200, 300, 500, 1000, 2000)
IOUS: Final = tuple(round(0.5 + 0.05 * step, 2) for step in range(11))


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated, and how.

    Args:
        targets: methods (``uniform``, ``uniform:count=500``) and files.
        data: as ``open_dataset`` takes it.
        out: folder of the evaluation.
        split: ``test``, else ``val``, where it is None.
        counts: numbers of proposals.
        repeat: images on which repeatability is measured, from the first; 0 for none.
        detector: run of a detector that is fed by each method; None for none.
        device: that the detector runs on; None takes the best there is.
        batch: images at once in the detector.
        workers: processes; one for each core where it is None.
    """

    targets: Sequence[str]
    data: str
    out: Path
    split: str | None = None
    counts: Sequence[int] = COUNTS
    repeat: int = 20
    detector: str | None = None
    device: str | None = None
    batch: int = 8
    workers: int | None = None


def evaluate_proposals(plan: Plan, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Evaluate every method and file; write results.json, tables and plots.

    Args:
        plan: what and how.
        say: progress callback, one message per call.

    Returns:
        what results.json holds.

    Raises:
        DetzooError: a wrong method, file, parameter or detector, before anything is computed.
    """
    sources = find_sources(plan.targets)
    detector = None if plan.detector is None else _load(plan.detector)
    dataset = open_dataset(plan.data, evaluation_split(plan.data, plan.split))
    with claimed_folder(plan.out, marker=MARKER, written=FORMAT, what="evaluation of proposals"):
        results = _results(plan, sources, detector, dataset, say)
        write_text(plan.out / "results.json", json.dumps(plain(results), indent=1) + "\n")
        write_report(plan.out, results)
    return results


def _results(
    plan: Plan,
    sources: list[Source],
    detector: Detector | None,
    dataset: Dataset,
    say: Callable[[str], None],
) -> dict[str, Any]:
    truth, counts = read_truth(dataset), sorted(set(plan.counts))
    for source in sources:
        if source.file is not None:
            check_holds(ProposalFile(source.file), truth, dataset, plan.data)
    rows = [_numbers(plan, source, dataset, truth, counts, detector, say) for source in sources]
    return {
        "format": FORMAT,
        "data": {
            "name": dataset.name,
            "split": dataset.split,
            "images": len(truth.keys),
            "objects": truth.count,
            "broken": truth.broken,
        },
        "counts": counts,
        "ious": list(IOUS),
        "detector": plan.detector,
        "repeat_images": min(plan.repeat, len(dataset)),
        "workers": plan.workers or cores(),
        "methods": rows,
    }


def _numbers(
    plan: Plan,
    source: Source,
    dataset: Dataset,
    truth: Truth,
    counts: Sequence[int],
    detector: Detector | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """One method's numbers, from its folder where they are still good."""
    folder = plan.out / "methods" / source.folder
    key = _fingerprint(plan, source, truth, counts)
    known = finished(folder / NUMBERS, key)
    if known is not None:
        say(f"{source.name}: already done")
        return known | {"name": source.name}
    say(f"{source.name}: {len(truth.keys)} images of {dataset.name} {dataset.split}")
    folder.mkdir(parents=True, exist_ok=True)
    path, seconds = source.file, None
    if path is None:
        assert source.method is not None
        path = folder / "regions.safetensors"
        seconds = make_proposals([dataset], source.method, path, workers=plan.workers).seconds
        seconds = _remembered(folder / "seconds.json", seconds)
    file = ProposalFile(path)
    numbers: dict[str, Any] = {"key": key, "name": source.name, "method": source.recorded[0]}
    numbers |= {"parameters": source.recorded[1], "file": None if source.file is None else str(source.file)}
    numbers |= _recall_of(file, truth, counts) | {"seconds": seconds}
    numbers["repeatability"] = _repeatability(plan, source, dataset, say)
    if detector is not None:
        numbers |= _fed(plan, detector, path, dataset, folder)
    text = json.dumps(plain(numbers), indent=1)
    write_text(folder / NUMBERS, text + "\n")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _remembered(path: Path, seconds: float | None) -> float | None:
    """The time of an image, from an earlier call where this one found all of them made."""
    if seconds is None:
        return _seconds(path) if is_ordinary(path) else None
    write_text(path, json.dumps(seconds))
    return seconds


def _seconds(path: Path) -> float:
    found = load_json(path)
    if type(found) not in (int, float):
        raise DataError(f"{path}: {found!r:.80} is no time in seconds; delete the file and repeat the command")
    return float(found)


def _fingerprint(plan: Plan, source: Source, truth: Truth, counts: Sequence[int]) -> str:
    """Digest of everything that decides a method's numbers."""
    facts: dict[str, Any] = {
        "method": source.recorded,
        "images": hashlib.sha256(b"".join(truth.keys)).hexdigest(),
        "objects": hashlib.sha256(np.concatenate(truth.objects).tobytes()).hexdigest(),
        "counts": list(counts),
        "repeat": [plan.repeat, {kind: list(levels) for kind, levels in LEVELS.items()}],
    }
    if source.file is not None:
        stat = source.file.stat()
        facts["file"] = [str(source.file), stat.st_size, stat.st_mtime_ns]
    if plan.detector is not None:
        stat = checkpoint_of(Path(plan.detector)).stat()
        facts["detector"] = [plan.detector, stat.st_size, stat.st_mtime_ns]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _recall_of(file: ProposalFile, truth: Truth, counts: Sequence[int]) -> dict[str, Any]:
    parts, boxes = [], 0
    kept = np.zeros(len(counts))
    for key, objects in zip(truth.keys, truth.objects, strict=True):
        regions: Regions = file[key]
        boxes += len(regions[0])
        kept += np.minimum(counts, len(regions[0]))
        parts.append(best_overlaps(regions[0][: counts[-1]], objects, counts))
    overlaps = np.concatenate(parts, axis=1)  # [C,n]
    return {
        "boxes": boxes / len(truth.keys),
        "mean_counts": (kept / len(truth.keys)).tolist(),
        "recall_50": recall(overlaps, 0.5).tolist(),
        "recall_70": recall(overlaps, 0.7).tolist(),
        "average_recall": average_recall(overlaps).tolist(),
        "recall_by_iou": [[float(value) for value in recall(overlaps, iou)] for iou in IOUS],
    }


def _repeatability(
    plan: Plan, source: Source, dataset: Dataset, say: Callable[[str], None]
) -> dict[str, dict[str, float]] | None:
    if plan.repeat < 1:
        return None
    if source.method is None:
        say(f"{source.name}: no repeatability: {source.recorded[0]}, which made the file, is not installed as it was")
        return None
    positions = range(min(plan.repeat, len(dataset)))
    job = RepeatJob(dataset, source.method, LEVELS)
    workers = cores() if plan.workers is None else plan.workers
    found: dict[int, Any] = {}
    with (
        closing(in_parallel(_Numbered(job), positions, min(workers, len(positions)))) as results,
        progress_bar(f"repeatability ({source.name})", len(positions)) as advance,
    ):
        for position, result in results:
            found[position] = result
            advance(1)
    return scores([found[p] for p in positions if found[p] is not None], LEVELS)


@dataclass(frozen=True)
class _Numbered:
    """Results come as they are done; sums must not depend on that."""

    job: RepeatJob

    def __call__(self, position: int) -> tuple[int, Any]:
        return position, self.job(position)


def _load(run: str) -> Detector:
    detector = load_detector(run)
    if detector.proposer is None:
        raise DetzooError(
            f"{run} finds its regions itself; --detector takes a run of a detector with regions from the image "
            "(proposals: {type: image_level, ...}), such as a Fast R-CNN"
        )
    return detector


def _fed(plan: Plan, detector: Detector, path: Path, dataset: Dataset, folder: Path) -> dict[str, float]:
    """AP of the detector with these proposals; its own evaluation lies in ``folder/detector``."""
    detector.proposer = Precomputed(path=str(path))
    evaluation = evaluate(detector, dataset, batch=plan.batch, device=pick_device(plan.device))
    evaluation.write(folder / "detector")
    return {name: evaluation.metrics[name] for name in ("AP", "AP50")}
