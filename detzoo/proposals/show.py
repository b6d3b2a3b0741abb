"""``detzoo proposals show``: images of what a method proposes, without its options."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_args

import numpy as np

from detzoo.comparison.row_names import unique_names
from detzoo.components.proposals.precomputed import Precomputed
from detzoo.data.formats.opening import list_splits, open_dataset
from detzoo.errors import DataError, DetzooError, RecipeError
from detzoo.interfaces import Segmenter
from detzoo.prediction.image_proposals import propose
from detzoo.prediction.proposal_file import ProposalFile
from detzoo.proposals.drawing import Colours, covers, draw_best, draw_covers, draw_segments, side_by_side
from detzoo.proposals.method import find_method
from detzoo.proposals.sources import is_file
from detzoo.runtime.drawing import ImageArray
from detzoo.runtime.folder_claim import locked_folder
from detzoo.runtime.images import read_image
from detzoo.runtime.own_drawings import write_drawing
from detzoo.schema.describing import unknown
from detzoo.types import Sample

if TYPE_CHECKING:
    from detzoo.data.dataset import Dataset
    from detzoo.interfaces import Proposer

WITHOUT_IMAGES: Final = 4
"""Images of a dataset that are drawn where none is named."""


@dataclass(frozen=True)
class View:
    """What is to be drawn.

    Args:
        target: method or file.
        images: paths; with ``data`` also names of its files.
        out: folder.
        top: best boxes that are drawn and held against the objects.
        set_: ``key=value`` of the method.
        data: whose objects are drawn; None for none.
        split: of the data; the first that there is.
        ks: scales of the segments; none where it is empty.
        colours: of the segments.
    """

    target: str
    images: Sequence[str]
    out: Path
    top: int = 20
    set_: Sequence[str] = ()
    data: str | None = None
    split: str | None = None
    ks: Sequence[float] = ()
    colours: Colours = "mean"


def scales_of(text: str) -> tuple[float, ...]:
    """``50,200`` -> (50.0, 200.0).

    Raises:
        DetzooError: something else is written.
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < value < math.inf for value in found):
        raise DetzooError(f"--k {text}: write numbers above 0, such as 50,200")
    return found


def check_colours(text: str) -> Colours:
    """The colours of the segments.

    Raises:
        DetzooError: there are no such ones.
    """
    if text not in get_args(Colours):
        raise DetzooError(unknown("--colours", text, get_args(Colours)))
    return cast("Colours", text)


def show_proposals(view: View) -> Iterator[tuple[Path, str]]:
    """Draw; gives the path of each image that was written, and what it shows.

    Raises:
        DetzooError: a wrong method, file or image, or segments of a method that has none.
    """
    proposer, name = _proposer(view)
    if view.ks and not isinstance(proposer, Segmenter):
        raise DetzooError(f"--k draws segments, but {name} does not segment images")
    samples = list(_samples(view))
    with locked_folder(view.out, what="proposals show"):
        yield from _drawn(view, proposer, name, samples)


def _drawn(
    view: View, proposer: Proposer, name: str, samples: Sequence[tuple[str, Sample | None, ImageArray]]
) -> Iterator[tuple[Path, str]]:
    unique = unique_names([Path(where).stem for where, _, _ in samples])
    for number, (where, sample, image) in enumerate(samples):
        boxes = propose(proposer, image, where)
        stem = view.out / f"{unique[number]}_{name}"
        best = boxes[: view.top]
        yield _written(stem, "boxes", draw_best(image, best)), f"the best {len(best)} of {len(boxes)} boxes"
        if sample is not None:
            found = covers(boxes, sample)
            share = sum(each.iou >= 0.5 for each in found)
            text = f"{share} of {len(found)} objects covered with an IoU of 0.5 or more by {len(boxes)} boxes"
            yield _written(stem, "objects", draw_covers(image, found)), text
        if view.ks and isinstance(proposer, Segmenter):
            yield _segments(view, proposer, image, stem)


def _proposer(view: View) -> tuple[Proposer, str]:
    """What proposes, and a name for files."""
    if not is_file(view.target):
        method = find_method(view.target, view.set_)
        return method.build(), method.name
    if view.set_:
        raise RecipeError(f"--set changes a method; {view.target} is a file, whose proposals are made: leave --set out")
    ProposalFile(Path(view.target))  # rejected now, not at the first image
    return Precomputed(path=view.target), Path(view.target).stem


def _samples(view: View) -> Iterator[tuple[str, Sample | None, ImageArray]]:
    if view.data is None:
        if not view.images:
            raise DetzooError("name the images to draw, or a dataset with --data")
        yield from ((image, None, read_image(image)) for image in view.images)
        return
    data = open_dataset(view.data, view.split or list_splits(view.data)[0])
    positions = [_position(data, image) for image in view.images] or range(min(WITHOUT_IMAGES, len(data)))
    for position in positions:
        sample = data.sample(position, masks=False)
        yield sample.path, sample, sample.image


def _position(data: Dataset, image: str) -> int:
    paths = data.paths
    wanted = Path(image).resolve()
    same = [n for n, path in enumerate(paths) if Path(path).resolve() == wanted]
    same = same or [n for n, path in enumerate(paths) if image in (Path(path).name, Path(path).stem)]
    if not same:
        raise DataError(
            f"{image} is no image of {data.name} {data.split} ({len(paths)} images, the first: "
            f"{Path(paths[0]).name if paths else 'none'}); leave --data out to draw it without objects"
        )
    return same[0]


def _segments(view: View, proposer: Segmenter, image: ImageArray, stem: Path) -> tuple[Path, str]:
    columns: list[tuple[str, ImageArray]] = [("image", image)]
    counts = []
    for k in view.ks:
        labels: Any = proposer.segments(image, k)
        counts.append(len(np.unique(labels)))
        columns.append((f"k = {k:g}: {counts[-1]} segments", draw_segments(image, labels, view.colours)))
    told = ", ".join(f"{count} at k = {k:g}" for k, count in zip(view.ks, counts, strict=True))
    return _written(stem, "segments", side_by_side(columns)), f"segments: {told}"


def _written(stem: Path, what: str, image: ImageArray) -> Path:
    path = stem.with_name(f"{stem.name}_{what}.png")
    write_drawing(path, image, by="proposals show")
    return path
