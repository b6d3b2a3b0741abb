"""``detzoo demo``: the main job with no download: train, evaluate, benchmark, compare, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detzoo.builder import build
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import Comparison, compare
from detzoo.data import open_dataset
from detzoo.runtime.folder_claim import claimed_folder
from detzoo.schema.yaml_source import read
from detzoo.training import train

RECIPES: Final = Path(__file__).with_name("demo.yaml")
DETECTORS: Final = ("ssd_resnet18_fpn", "ssd_resnet18")
DATA: Final = "shapes:size=128"
MARKER: Final = "demo.json"
FORMAT: Final = "detzoo.demo/1"
_ITERATIONS: Final = 20  # rounds of timing
_LARGEST_BATCH: Final = 16


@dataclass(frozen=True)
class Demonstration:
    """What the demo made.

    Args:
        comparison: the table and its files.
        runs: run folders, in the order of the table.
    """

    comparison: Comparison
    runs: tuple[Path, ...]


def demonstrate(
    out: Path,
    *,
    steps: int | None = None,
    device: str | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Demonstration:
    """Train the two detectors of ``demo.yaml`` on generated images and compare them.

    Called again with the same folder, what is finished is kept.

    Args:
        out: folder; ``runs/`` and ``report/`` are made in it.
        steps: of training each, instead of the recipes'.
        device: None takes the best there is.
        progress: show bars on stderr.
        say: progress callback, one message per call.

    Raises:
        DetzooError: ``out`` holds something else.
    """
    with claimed_folder(out, marker=MARKER, written=FORMAT, what="demo"):
        return _demonstrated(out, steps, device, progress, say)


def _demonstrated(
    out: Path, steps: int | None, device: str | None, progress: bool, say: Callable[[str], None]
) -> Demonstration:
    runs = []
    for number, name in enumerate(DETECTORS, start=1):
        run = out / "runs" / name
        say(f"[{number}/{len(DETECTORS) + 1}] {name}: training on generated images")
        _train(name, run, steps=steps, device=device, progress=progress)
        runs.append(run)
    say(f"[{len(DETECTORS) + 1}/{len(DETECTORS) + 1}] evaluating, timing and comparing")
    plan = ComparisonPlan(
        targets=[str(run) for run in runs],
        data=DATA,
        split="test",
        out=out / "report",
        device=device,
        iterations=_ITERATIONS,
        largest_batch=_LARGEST_BATCH,
    )
    return Demonstration(compare(plan, say), tuple(runs))


def closing_words(done: Demonstration) -> str:
    """Where to look, and what to try next."""
    page = next((path for path in done.comparison.files if path.suffix == ".html"), done.comparison.files[0])
    run = done.runs[0]
    recipe = read(RECIPES).value["detectors"][DETECTORS[0]]["extends"]  # of the registry: what the demo made smaller
    return "\n".join(
        [
            "Where to look",
            f"  {page}    the table, the speed/AP plot and example images, in one file for a browser",
            f"  {run}    a run: recipe, weights, log and curve",
            "",
            "What to try next",
            "  detzoo list    every detector and what it reported",
            f"  detzoo show {recipe}    a whole recipe, every value in it",
            f"  detzoo show {recipe} --priors priors.png    what its matcher sees",
            f"  detzoo predict {run} IMAGE --out found",
            f"  detzoo train {recipe} --data YOUR_DATA --out runs/mine    COCO, VOC or YOLO format",
            f"  detzoo compare {' '.join(str(path) for path in done.runs)} --data {DATA} --out compared",
        ]
    )


def _train(name: str, run: Path, *, steps: int | None, device: str | None, progress: bool) -> None:
    dataset = open_dataset(DATA, "train")
    detector = build(f"{RECIPES}#{name}", classes=dataset.classes, weights=None)
    train(detector, dataset, run, steps=steps, device=device, resume=True, progress=progress)
