"""The stages after fine-tuning: vectors of all windows to the disk, SVMs, box regression.

Letters: P regions of an image, n windows (regions that are real, ground truth among them), M ground truths, K classes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detzoo.components.proposals.image_level import ImageLevel
from detzoo.components.proposals.precomputed import Precomputed
from detzoo.interfaces import FittingStage, Proposals, Stage, StageContext
from detzoo.ops.boxes import iou_matrix
from detzoo.ops.ignored_truth import overlaps_ignored
from detzoo.ops.regions import append_ground_truth
from detzoo.prediction.proposal_file import ProposalFile
from detzoo.types import Candidates, ImageBatch, Targets
from detzoo_rcnn.interfaces import RegionClassifier, RegionRegressor
from detzoo_rcnn.window_store import Kept, Windows, WindowStore

if TYPE_CHECKING:
    from detzoo_rcnn.region_svm import RegionSvm

EXTRACTION: Final = "features"
"""Name of the stage, and of its folder in the run."""
UNBOUNDED: Final = (
    "how much room the features need is not known beforehand: nothing bounds the regions of an image "
    "(proposals.training_top_k)"
)
SVM: Final = "svm"
BOXES: Final = "boxes"

Vectors = dict[str, NDArray[np.float32]]


def fitting_stages(detector: RegionSvm) -> list[Stage]:
    """Extraction, SVMs and boxes: those that the detector's switches leave."""
    fits: list[Stage] = []
    if detector.classify_by == "svm":
        passes = detector.classifier.passes
        fits.append(FittingStage(name=SVM, fit=lambda context: fit(context, detector, detector.classifier, passes)))
    if detector.correct_boxes:
        fits.append(FittingStage(name=BOXES, fit=lambda context: fit(context, detector, detector.regressor, 1)))
    return [FittingStage(name=EXTRACTION, fit=lambda context: extract(context, detector)), *fits] if fits else []


def extract(context: StageContext, detector: RegionSvm) -> None:
    """Vectors of every window of the training data, ground truth included, to ``RUN/features``.

    Killed at any moment and called again it goes on with the next image. One process does it, the others wait.

    Raises:
        TrainingError: the disk has too little room, or the features there are of something else.
    """
    from detzoo.prediction.predict import inference

    if context.main:
        store, count = open_store(context, detector), len(context.dataset)
        most = windows_at_most(context.dataset.annotations().ends, detector.proposals)
        context.say(UNBOUNDED if most is None else store.check_room(store.bytes_at_most(count, most)))
        with (
            inference(detector, precision=context.precision),
            context.progress("extracting", count) as advance,
        ):
            advance(len(store))
            for batch, targets in context.images(1 + max(store.indices, default=-1)):
                index = int(batch.index[0])
                store.append(index, *seen(detector, batch.to(context.device), targets.to(context.device)))
                advance(1)
        context.say(f"{store.count} windows of {len(store)} images are in {store.folder}, {store.size_in_words}")
    context.share()


def fit(context: StageContext, detector: RegionSvm, part: RegionClassifier | RegionRegressor, passes: int) -> None:
    """Fit SVMs or box regression on the extracted vectors; every process ends with the same."""
    if context.main:
        store = open_store(context, detector)
        with context.progress("fitting", passes * len(store)) as advance:
            numbers = part.fit(store, advance)
        context.say("fitted: " + ", ".join(f"{name} {value:g}" for name, value in numbers.items()))
    context.share(part)


def open_store(context: StageContext, detector: RegionSvm) -> WindowStore:
    """The run's features, new or as they are; features of other weights, data or regions are rejected."""
    origin = {
        "network": fingerprint(detector.backbone, detector.head),
        "data": context.data_facts,
        "input": detector.recipe.values["input"],
        "proposals": detector.recipe.values["proposals"],
        "proposals file": described(detector.proposer),
    }
    return WindowStore(
        context.out / EXTRACTION,
        origin=origin,
        vectors=kept(detector),
        num_classes=len(detector.classes),
        precision=detector.store,
    )


def kept(detector: RegionSvm) -> dict[str, Kept]:
    """The vectors that the SVMs and the box regression read."""
    widths = {name: spec.channels for name, spec in detector.head.out.items()}
    found: dict[str, Kept] = {}
    if detector.correct_boxes:
        found[detector.regressor.feature] = Kept(widths[detector.regressor.feature], "near")
    if detector.classify_by == "svm":
        found[detector.classifier.feature] = Kept(widths[detector.classifier.feature], "all")
    return found


def windows_at_most(ends: NDArray[np.int64], proposals: Proposals) -> int | None:
    """Windows of an image at most: its regions and its ground truth; None where nothing bounds the regions.

    Args:
        ends: where the ground truth of each image ends among that of all.
        proposals: of the detector.
    """
    if not isinstance(proposals, ImageLevel) or proposals.training_top_k is None:
        return None
    truths = int(np.diff(ends, prepend=0).max(initial=0))
    return truths + proposals.training_top_k


def described(proposer: Any) -> dict[str, Any] | None:
    """What a file of proposals says of itself: its path alone does not tell whether it is still the same file."""
    if not (isinstance(proposer, Precomputed) and proposer.path):
        return None
    file = ProposalFile(Path(proposer.path).expanduser())
    return {"method": file.method, "parameters": file.parameters, "images": len(file)}


def fingerprint(*modules: nn.Module) -> str:
    """A hash of weights and buffers."""
    digest = hashlib.blake2b(digest_size=16)
    for module in modules:
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def seen(detector: RegionSvm, batch: ImageBatch, targets: Targets) -> tuple[Windows, Vectors]:
    """Windows of one image, its ground truth among them, and the vectors that are kept of them."""
    proposed, _ = detector.proposals.losses({}, batch, targets)
    rois = append_ground_truth(proposed, targets)
    regressor = detector.regressor
    windows = describe(
        rois,
        targets,
        proposed.boxes.shape[1],
        len(detector.classes),
        regressor.min_overlap,
        ground_truth=regressor.ground_truth,
    )
    near = torch.from_numpy(windows.near)
    wanted = kept(detector)
    found: dict[str, list[Tensor]] = {name: [torch.zeros(0, one.width)] for name, one in wanted.items()}
    done = 0
    for place, maps in detector.windows(batch, rois):
        vectors, _ = detector.head(maps)
        for name, one in wanted.items():
            rows = vectors[name][: len(place)].float().cpu()
            found[name].append(rows if one.of == "all" else rows[near[done : done + len(place)]])
        done += len(place)
    return windows, {name: torch.cat(parts).numpy() for name, parts in found.items()}


def describe(
    rois: Candidates,
    targets: Targets,
    proposed: int,
    num_classes: int,
    min_overlap: float,
    *,
    ground_truth: bool = False,
) -> Windows:
    """What there is to say about the windows of one image.

    Args:
        rois: regions [1,P] of the image, then its ground truth.
        targets: its ground truth.
        proposed: number of regions before the ground truth.
        num_classes: K.
        min_overlap: IoU that a window must exceed to be near.
        ground_truth: whether ground truth is near itself; else it has nothing to teach about being next to it.
    """
    real = rois.valid[0]
    boxes, usable = rois.boxes[0][real], targets.usable[0]
    truth, labels = targets.boxes[0][usable], targets.labels[0][usable]
    overlaps = iou_matrix(boxes, truth)  # [n,M]
    by_class = boxes.new_zeros(len(boxes), num_classes)
    if len(truth):
        by_class.scatter_reduce_(1, labels.expand(len(boxes), -1), overlaps, "amax")
    best, row = overlaps.max(dim=1) if len(truth) else (by_class.new_zeros(len(boxes)), None)
    touched = best > 0
    ignored = overlaps_ignored(rois, targets, by="area", threshold=0.5)[0][real]
    answer = boxes if row is None else torch.where(touched[:, None], truth[row], boxes)
    label = torch.full_like(touched, -1, dtype=torch.int64) if row is None else torch.where(touched, labels[row], -1)
    given = torch.arange(len(real), device=real.device)[real] >= proposed
    near = best > min_overlap
    near = near if ground_truth else near & ~given
    columns = (boxes, answer, label, best, by_class, given, ignored, near)
    return Windows(*(column.cpu().numpy() for column in columns))
