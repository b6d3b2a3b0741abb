"""A detector over a dataset: images read ahead, batches of one prepared size, COCO result rows out.

The path is that of ``predict`` (prepare, detect, split), so that both give the same boxes and scores.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.errors import DataError, DetzooError
from detzoo.ops.mask_encoding import run_lengths
from detzoo.prediction.detections import Detections
from detzoo.prediction.foreign_detector import ForeignDetector
from detzoo.prediction.image_proposals import propose
from detzoo.prediction.predict import detect_images, inference
from detzoo.prediction.prepare import resized_size
from detzoo.prediction.untrained import tell_untrained
from detzoo.runtime.progress import progress_bar
from detzoo.types import DetectionSettings

if TYPE_CHECKING:
    from detzoo.interfaces import Proposer
    from detzoo.interfaces.any_detector import AnyDetector
    from detzoo.runtime.switches import Precision
    from detzoo.types import Sample


class EvaluationSet(Protocol):
    """What the evaluator asks of a dataset."""

    @property
    def name(self) -> str:
        """For messages and tables."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by label."""

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The dataset's own id of each label."""

    @property
    def image_ids(self) -> Sequence[Any]:
        """The dataset's own id of each image."""

    @property
    def groups(self) -> Sequence[str] | None:
        """The group of each image, by position; None where each stands for itself."""

    def __len__(self) -> int: ...

    def sample(self, position: int, /, *, masks: bool = True) -> Sample:
        """One image with its annotations; DataError where it cannot be read."""

    def coco_ground_truth(self) -> dict[str, Any]:
        """Ground truth in COCO form."""


@dataclass
class Collected:
    """What a detector found in (a share of) a dataset.

    Args:
        found: position in the dataset -> COCO result rows, in the model's order.
        broken: position -> why the image could not be read.
        left_out: detections of classes that the dataset does not have.
    """

    found: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)
    left_out: int = 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows in the order of the dataset, whatever the batches and processes were."""
        return [row for position in sorted(self.found) for row in self.found[position]]

    def merged(self, others: Sequence[Collected]) -> Collected:
        """The shares of several processes as one."""
        shares = [self, *others]
        return Collected(
            found={k: v for share in shares for k, v in share.found.items()},
            broken={k: v for share in shares for k, v in share.broken.items()},
            left_out=sum(share.left_out for share in shares),
        )


def collect(
    detector: AnyDetector,
    dataset: EvaluationSet,
    category_of: Sequence[int | None],
    *,
    batch: int = 8,
    workers: int = 2,
    settings: DetectionSettings | None = None,
    precision: Precision = "fp32",
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> Collected:
    """Run a detector over a dataset, or over every ``shard[1]``-th image of it.

    Args:
        detector: on the device to use.
        dataset: images.
        category_of: category id by model label, None to leave out.
        batch: images that go through the network together; those of one batch have the same prepared size.
        workers: threads that read images ahead.
        settings: of post-processing, in place of the recipe's.
        precision: of the network.
        shard: (rank, number of shares).
        progress: a bar on stderr.
    """
    if batch < 1:
        raise DetzooError(f"batch is {batch}; it must be 1 or more")
    rank, world = shard
    if rank == 0:
        tell_untrained(detector)
    # interleaved: sorted sizes spread evenly
    positions, image_ids = range(rank, len(dataset), world), dataset.image_ids
    done = Collected()
    with (
        inference(detector, precision=precision),
        progress_bar("evaluating", len(positions), shown=progress and rank == 0) as advance,
    ):
        for group in batches(read_ahead(dataset, positions, workers, done, detector.proposer), detector, batch):
            regions = None if detector.proposer is None else [read.regions for read in group]
            results = detect_images(detector, [read.image for read in group], proposals=regions, settings=settings)
            for read, found in zip(group, results, strict=True):
                rows, left_out = coco_rows(found, image_ids[read.position], category_of)
                done.found[read.position] = rows
                done.left_out += left_out
            advance(len(group))
    return done


class Read(NamedTuple):
    """An image that was read, and its image-level regions where the detector looks at such."""

    position: int
    image: NDArray[np.uint8]
    regions: NDArray[np.float32] | None = None


def read_ahead(
    dataset: EvaluationSet,
    positions: Sequence[int],
    workers: int,
    done: Collected,
    proposer: Proposer | None = None,
) -> Iterator[Read]:
    """Images in order, decoded by threads a little ahead of the network; broken ones are noted and skipped.

    The proposer runs in the same threads, so that it computes while the network does.
    """

    def image(position: int) -> Read:
        # ground truth comes from coco_ground_truth; decoding masks is slow
        sample = dataset.sample(position, masks=False)
        regions = None if proposer is None else propose(proposer, sample.image, sample.path)
        return Read(position, sample.image, regions)

    waiting: deque[tuple[int, Future[Read]]] = deque()
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        ahead = iter(positions)
        for position in ahead:
            waiting.append((position, pool.submit(image, position)))
            if len(waiting) <= 4 * max(1, workers):  # bounded: decoded images would fill the memory
                continue
            yield from _next(waiting, done)
        while waiting:
            yield from _next(waiting, done)


def _next(waiting: deque[tuple[int, Future[Read]]], done: Collected) -> Iterator[Read]:
    position, future = waiting.popleft()
    try:
        yield future.result()
    except DataError as error:
        done.broken[position] = str(error)  # noted, not raised: hours of work stay


def batches(images: Iterator[Read], detector: AnyDetector, batch: int) -> Iterator[list[Read]]:
    """Groups of one prepared size: padding to a larger neighbour would change what an image's borders see."""
    waiting: dict[tuple[int, int], list[Read]] = {}
    for read in images:
        if isinstance(detector, ForeignDetector):  # it prepares images itself: any may share a batch
            size = (0, 0)
        else:
            size = resized_size(read.image.shape[0], read.image.shape[1], detector.input)
        group = waiting.setdefault(size, [])
        group.append(read)
        if len(group) == batch:
            yield waiting.pop(size)
        elif sum(map(len, waiting.values())) >= 8 * batch:
            # Rare sizes must not pile up in memory.
            yield waiting.pop(max(waiting, key=lambda s: len(waiting[s])))
    yield from waiting.values()


def coco_rows(found: Detections, image_id: Any, category_of: Sequence[int | None]) -> tuple[list[dict[str, Any]], int]:
    """Detections of one image as COCO result rows, and how many had no category.

    Coordinates keep 4 decimals and scores 8, here and not on writing, so that the file gives the same numbers again.
    """
    boxes = found.boxes.double()
    xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1).numpy().round(4).tolist()
    scores = found.scores.double().numpy().round(8).tolist()
    outlines = None if found.masks is None else run_lengths(found.masks.numpy())
    rows = []
    for n, (box, score, label) in enumerate(zip(xywh, scores, found.labels.tolist(), strict=True)):
        category = category_of[label]
        if category is None:
            continue
        row = {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
        if outlines is not None:
            row["segmentation"] = outlines[n]
        rows.append(row)
    return rows, len(scores) - len(rows)


def share_of_this_process() -> tuple[int, int]:
    """(rank, processes) under torchrun; (0, 1) alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def gathered(own: Collected) -> Collected:
    """The shares of all processes, the same in each of them."""
    _, world = share_of_this_process()
    if world == 1:
        return own
    shares: list[Any] = [None] * world
    torch.distributed.all_gather_object(shares, own)  # every process must return the same numbers
    return Collected().merged(shares)
