"""Detection as the trainer sees it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import torch

from detzoo.components.proposals.precomputed import Precomputed
from detzoo.data.checking.statistics import opening_lines, reject_without_boxes
from detzoo.data.content_digest import content_digest
from detzoo.data.formats.split_names import role_of
from detzoo.errors import DataError, TrainingError
from detzoo.evaluation import evaluate
from detzoo.evaluation.classes import map_classes
from detzoo.interfaces import Detector, Stage
from detzoo.prediction.image_proposals import propose
from detzoo.recipes.full_names import stored_values
from detzoo.training.plan import TrainPlan
from detzoo.training.task import Evaluated, Loading, TrainingTask
from detzoo.types import ImageBatch, Targets
from detzoo.weights.starting_point import starting_lines

if TYPE_CHECKING:
    from detzoo.data.dataset import Dataset
    from detzoo.runtime.drawing import ImageArray
    from detzoo.runtime.switches import Precision


DRAWN: Final = 4
"""Images of ``val`` that trackers show after each evaluation."""
DRAWN_FROM: Final = 0.3
"""Score from which on detections are drawn, as by ``detzoo predict``."""


class DetectionTask(TrainingTask):
    """A detector, what it learns from, and what it is evaluated on.

    Args:
        detector: built for the classes of ``dataset``.
        dataset: to learn from.
        val: to evaluate on, or None.

    Raises:
        TrainingError: the detector has other classes than the data.
        DataError: ``val`` has other classes; or there is no box to learn from, or to evaluate on.
        ProposalsError: a file of proposals does not know the data.
    """

    metric: ClassVar[str] = "AP"
    curve: ClassVar[tuple[str, ...]] = ("AP", "AP50")
    extra_curve: ClassVar[tuple[str, ...]] = ("mask_AP", "mask_AP50")
    network: Detector

    def __init__(self, detector: Detector, dataset: Dataset, val: Dataset | None) -> None:
        self.network, self.dataset, self.val = detector, dataset, val
        self.name, self.values = detector.recipe.name, stored_values(detector.recipe.values)
        self.classes, self.plan = tuple(detector.classes), detector.train_plan
        _check_classes(detector, dataset)
        _check_boxes(self.plan, dataset, val)
        if val is not None:
            map_classes(detector.classes, val.classes, val.category_ids)  # fails now where evaluation would fail later
        for data in (dataset, val):
            _check_proposals(detector, data)

    @property
    def data_facts(self) -> dict[str, Any]:
        """Name, split, images, classes and annotations of the training data."""
        dataset = self.dataset
        part = {} if dataset.part is None else {"part": dataclasses.asdict(dataset.part)}
        return {
            "name": dataset.name,
            "split": dataset.split,
            "images": self._images(),
            "classes": list(dataset.classes),
            "annotations": content_digest(dataset)[:16],
            **part,
        }

    @property
    def selection(self) -> dict[str, Any] | None:
        """Split, number of images and metric by which the best epoch is chosen."""
        if self.val is None or not self.evaluates:
            return None
        return {"data": self.val.name, "split": self.val.split, "images": len(self.val), "metric": self.metric}

    def opening_lines(self) -> list[str]:
        """Images and boxes of each class, what selects the best epoch, and what the classes' names made of it."""
        lines = opening_lines(self.dataset, use="learned from")
        if (part := self.dataset.part) is not None:
            lines.append(f"these are {part.fraction:g} of {part.of} images (choice {part.seed})")
        if self.val is None or not self.evaluates:
            return [*lines, "no split selects the best epoch: the weights of the last one are the result"]
        use = f"selects the best epoch by {self.metric}"
        if shared := _shared_images(self.dataset, self.val):
            use += f", but {shared} of its images are learned from too: its numbers say little about others"
        elif role_of(self.val.split) == "test":
            use += ", so its numbers are no test of the result"
        matched = map_classes(self.network.classes, self.val.classes, self.val.category_ids)
        return [*lines, *opening_lines(self.val, use=use), *matched.warnings]

    def _images(self) -> int:
        if self.plan.empty_images == "keep":
            return len(self.dataset)
        # images with objects, from the index
        return int(np.count_nonzero(np.diff(self.dataset.annotations().ends, prepend=0)))

    @property
    def evaluates(self) -> bool:
        """Whether there are images to evaluate on."""
        return self.val is not None and len(self.val) > 0

    def stages(self) -> list[Stage]:
        """The detector's."""
        return self.network.stages()

    def batches(self, plan: TrainPlan, loading: Loading) -> DetectionBatches:
        """Training images with their targets."""
        return DetectionBatches(self, plan, loading)

    def evaluate(self, *, batch: int, precision: Precision, workers: int) -> Evaluated:
        """COCO's metrics on ``val``."""
        assert self.val is not None
        found = evaluate(
            self.network,
            self.val,
            batch=batch,
            precision=precision,
            workers=max(1, workers),
            progress=False,
        )
        return dataclasses.replace(found, facts=found.facts | {"selection": self.selection})

    def keep(self, out: Path, found: Evaluated | None) -> None:
        """Results and detections."""
        if found is not None:
            found.write(out)

    def drawn_predictions(self) -> dict[str, ImageArray]:
        """What is found with a score of 0.3 and more in the first images of ``val``."""
        assert self.val is not None
        images: list[ImageArray] = []
        for position in range(min(DRAWN, len(self.val))):
            with contextlib.suppress(DataError):  # the evaluation has told it
                images.append(self.val.sample(position, masks=False).image)
        found = self.network.predict(images, channels="rgb")
        return {
            f"predictions/{at}": one.draw(image, min_score=DRAWN_FROM, channels="rgb")
            for at, (image, one) in enumerate(zip(images, found, strict=True))
        }

    def starting_lines(self) -> list[str]:
        """What is pretrained and what starts from scratch."""
        return starting_lines(self.network.start)

    def recipe_text(self) -> str:
        """The resolved recipe."""
        return dataclasses.replace(self.network.recipe, values=self.values).to_yaml()


class DetectionBatches:
    """The plan's batches of a detector's training data.

    Args:
        task: detector and data.
        plan: transforms, sizes, and what becomes of difficult boxes, crowds and empty images.
        loading: this process's share.
    """

    def __init__(self, task: DetectionTask, plan: TrainPlan, loading: Loading) -> None:
        detector, self._dataset = task.network, task.dataset
        self._loader = task.dataset.loader(
            plan.transforms,
            detector.input,
            loading.batch,
            workers=loading.workers,
            timeout=loading.timeout,
            seed=loading.seed,
            difficult=plan.difficult,
            crowd=plan.crowd,
            empty_images=plan.empty_images,
            drop_last=not loading.whole,  # a smaller last step would change the learning rate's meaning
            rank=0 if loading.whole else loading.rank,  # whole: every process reads all, as a fit needs
            world=1 if loading.whole else loading.world,
            channels_last=loading.channels_last,
            sizes=plan.multi_scale,
            pin_memory=loading.pin_memory,
            masks=detector.needs_masks,
            proposer=detector.proposer,
        )
        self.broken_images = self._loader.broken_images

    def batches(
        self, epoch: int, start: int, *, before: int = 0, total: int | None = None
    ) -> Iterator[tuple[ImageBatch, Targets]]:
        """Batches ``start`` and on of an epoch."""
        return self._loader.batches(epoch, start, before=before, total=total)

    def at(self, targets: Targets, share: float) -> Targets:
        """The targets with how far training is."""
        # a tensor: a number would be a constant to the compiler
        return dataclasses.replace(targets, progress=torch.tensor(share))

    def paths(self, inputs: ImageBatch) -> list[str]:
        """Files of the images of a batch."""
        return self._dataset.paths_of(inputs.index.tolist())


def _check_classes(detector: Detector, dataset: Dataset) -> None:
    names = list(detector.classes)
    same_count = len(names) == len(dataset.classes)
    if not same_count or any(a is not None and a != b for a, b in zip(names, dataset.classes, strict=True)):
        raise TrainingError(
            f"the detector has {len(names)} classes ({_some(names)}), {dataset.name} has {len(dataset.classes)} "
            f"({_some(list(dataset.classes))}); build it with classes=dataset.classes"
        )


def _check_boxes(plan: TrainPlan, dataset: Dataset, val: Dataset | None) -> None:
    """Training on nothing, and choosing by nothing, would go to the end without a word."""
    index = dataset.annotations()
    unused = np.zeros(len(index.labels), np.bool_)
    for treatment, flags in ((plan.difficult, index.difficult), (plan.crowd, index.crowd)):
        if treatment != "train":
            unused |= flags
    why = "all difficult or crowd, which train.difficult and train.crowd leave out"
    reject_without_boxes(dataset, unused, why=why, next_step="learn from")
    if val is not None and len(val):
        index = val.annotations()
        ignored = index.difficult | index.crowd
        step = "select the best epoch by; choose another --val-split, or none"
        reject_without_boxes(val, ignored, why="all difficult or crowd, which count neither way", next_step=step)


def _some(names: list[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:5])
    return f"{shown}, ..." if len(names) > 5 else shown


def _check_proposals(detector: Detector, dataset: Dataset | None) -> None:
    """Ask a file of proposals for a first image now: training can take hours before the first evaluation would."""
    if (
        dataset is None
        or not len(dataset)
        or not (isinstance(detector.proposer, Precomputed) and detector.proposer.path)
    ):
        return
    try:
        first = dataset.sample(0, masks=False)
    except DataError:
        return  # whoever loads the data counts it
    propose(detector.proposer, first.image, first.path)


def _shared_images(one: Dataset, other: Dataset) -> int:
    """Number of files that stand in both."""
    if not (one.on_disk and other.on_disk):
        return 0
    indexes = [dataset.annotations() for dataset in (one, other)]
    paths = [{index.path(image) for image in range(len(index))} for index in indexes]
    return len(paths[0] & paths[1])
