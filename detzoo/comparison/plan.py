"""What a comparison is to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from detzoo.experiments.places import Places
from detzoo.runtime.switches import Switches
from detzoo.training.options import TrainOptions


@dataclass(frozen=True)
class ComparisonPlan(Places):
    """What is to be compared, and how; the rest, which is for training alone, as ``Places``.

    Args:
        targets: names, recipe files, runs, foreign detectors, and results: folders of ``detzoo eval`` or of an earlier
            comparison, or files of COCO detections.
        data: as ``open_dataset`` takes it.
        out: folder of the comparison.
        split: that is evaluated; ``test``, else ``val``, where it is None.
        train: train names on the dataset's ``train`` split first.
        train_split: which split that is.
        training: how names are trained.
        seeds: with how many seeds each name is trained, counted up from the first, or with which; None: with one.
        fractions: parts of the training images that each name is trained on; the largest is ranked, all make a curve.
        subset_seed: of the choice of those parts.
        fraction_budget: what trainings on a part keep of one on all images: ``steps`` or ``epochs``.
        overrides: ``key=value`` of every name's recipe.
        device: that is evaluated and timed on, and trained on where ``devices`` is None; None takes the best there is.
        batch: images at once in evaluation.
        bench_batch: images at once while latency is timed.
        largest_batch: up to which the best batch is looked for.
        iterations: most rounds of timing.
        workers: threads that read images.
        engine: that counts.
        groups: of images that intervals resample as a whole, see ``detzoo.data.groups``; None: the data.yaml's.
        examples: images on the page, the worst first.
        switches: how the detectors run.
        command: as it was typed, for the page; empty from Python.
    """

    targets: Sequence[str]
    data: str
    out: Path
    split: str | None = None
    train: bool = False
    train_split: str = "train"
    training: TrainOptions = field(default_factory=TrainOptions)
    seeds: int | Sequence[int] | None = None
    fractions: Sequence[float] = ()
    subset_seed: int = 0
    fraction_budget: Literal["steps", "epochs"] = "steps"
    overrides: Sequence[str] = ()
    device: str | None = None
    batch: int = 8
    bench_batch: int = 1
    largest_batch: int = 64
    iterations: int = 50
    workers: int = 2
    engine: Any = "pycocotools"
    groups: str | None = None
    examples: int = 8
    switches: Switches = field(default_factory=Switches)
    command: str = ""

    def training_places(self) -> Places:
        """Where names are trained."""
        devices = self.device if self.devices is None else self.devices
        return Places(devices=devices, ray=self.ray, ray_cpus=self.ray_cpus, ray_gpus=self.ray_gpus)
