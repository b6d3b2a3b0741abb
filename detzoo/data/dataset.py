"""Dataset: what the loader, the evaluator and the commands see, whatever the format on the disk."""

from __future__ import annotations

import copy
import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from detzoo.data.checking.problems import DataProblem
from detzoo.data.formats.index import Index, select_images
from detzoo.errors import DataError
from detzoo.ops.mask_encoding import NO_MASK, decode_mask, to_rle
from detzoo.runtime.images import decode_image, header_of, read_bytes
from detzoo.types import Sample

if TYPE_CHECKING:
    from detzoo.data.loading.loader import Loader
    from detzoo.data.nested_subsets import DatasetPart
    from detzoo.interfaces import Transform
    from detzoo.prediction.input_spec import InputSpec

_LOG = logging.getLogger("detzoo.data")
SIDE_TOLERANCE = 1.0  # px by which an annotated image size may differ from the real one
MIN_SIDE = 1e-3  # px; a box cut to less than this by the image's border is left out


class Dataset(ABC):
    """Images with boxes.

    Attributes:
        name: for tables.
        split: ``train``, ``val``, ...
        classes: name by label.
        category_ids: the dataset's own id by label, written to result files.
        problems: what was wrong with the annotation files; already left out or handled.
        image_ids: by position; the ids of ``coco_ground_truth``.
        paths: by position.
        groups: by position the name of the group that an image belongs to (frames of one video, tiles of one scene);
            None where each image stands for itself.
        part: which part of a larger dataset it is (``detzoo.data.nested_subsets``); None where it is whole.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    problems: tuple[DataProblem, ...] = ()
    groups: tuple[str, ...] | None = None
    part: DatasetPart | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, position: int) -> Sample:
        """``sample``, counted from the end where negative.

        Raises:
            IndexError: there is no such position.
            DataError: the image is missing or damaged.
        """
        if not -len(self) <= position < len(self):
            raise IndexError(f"image {position} of {len(self)}")
        return self.sample(position % len(self))

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(position) for position in range(len(self)))

    @property
    @abstractmethod
    def image_ids(self) -> list[int]:
        """Unique id of each image."""

    @property
    @abstractmethod
    def paths(self) -> list[str]:
        """File of each image, or a made-up name where there is none."""

    def paths_of(self, positions: Sequence[int]) -> list[str]:
        """File of the images at some positions, without a list of all."""
        return [self.annotations().path(position) for position in positions]

    @property
    def on_disk(self) -> bool:
        """Whether the paths are files."""
        return True

    @property
    @abstractmethod
    def has_masks(self) -> bool:
        """Whether samples carry masks."""

    @abstractmethod
    def sample(self, position: int, *, masks: bool = True) -> Sample:
        """Read one image with its annotations.

        Args:
            position: 0..len-1.
            masks: decode the masks, where there are any.

        Raises:
            DataError: the image is missing or damaged.
        """

    @abstractmethod
    def annotations(self) -> Index:
        """All annotations as arrays."""

    @abstractmethod
    def subset(self, positions: Sequence[int]) -> Dataset:
        """The same dataset with only the images at the given positions."""

    def grouped(self, groups: Sequence[str] | None) -> Self:
        """The same dataset with its images in other groups.

        Args:
            groups: name of the group by position; None: each image stands for itself.

        Raises:
            DataError: there are more or fewer names than images.
        """
        if groups is not None and len(groups) != len(self):
            raise DataError(f"{self.name} {self.split}: {len(groups)} groups for {len(self)} images; each needs one")
        found = copy.copy(self)
        found.groups = None if groups is None else tuple(groups)
        return found

    def coco_ground_truth(self) -> dict[str, Any]:
        """The annotations as COCO JSON: own category ids, annotation ids from 1, ``ignore`` 1 for difficult boxes.

        Federated data has LVIS's keys as well: ``neg_category_ids`` and ``not_exhaustive_category_ids`` of each image,
        ``frequency`` of each category where it is known.
        """
        return ground_truth(self)

    def loader(self, transforms: Sequence[Transform], spec: InputSpec, batch_size: int, **options: Any) -> Loader:
        """Batches for training or evaluation; ``options`` are those of ``detzoo.data.loading.loader.Loader``."""
        from detzoo.data.loading.loader import Loader

        return Loader(self, transforms, spec, batch_size, **options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.split!r}, {len(self)} images, {len(self.classes)} classes)"


class IndexedDataset(Dataset):
    """A dataset on the disk, read through its index.

    Args:
        name: for tables.
        split: name of the split.
        classes: name by label.
        category_ids: own id by label.
        index: the annotations.
        problems: what the reader found; errors are announced once, here.
        quiet: do not announce.
    """

    def __init__(
        self,
        *,
        name: str,
        split: str,
        classes: tuple[str, ...],
        category_ids: tuple[int, ...],
        index: Index,
        problems: Sequence[DataProblem] = (),
        quiet: bool = False,
    ) -> None:
        self.name, self.split = name, split
        self.classes, self.category_ids = classes, category_ids
        self.index = index
        self.problems = tuple(problems)
        if not quiet:
            announce(name, split, self.problems)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def image_ids(self) -> list[int]:
        """Unique id of each image."""
        return [int(value) for value in self.index.image_ids]

    @property
    def paths(self) -> list[str]:
        """File of each image."""
        return [self.index.path(position) for position in range(len(self.index))]

    @property
    def has_masks(self) -> bool:
        """Whether samples carry masks."""
        return self.index.has_masks

    def sample(self, position: int, *, masks: bool = True) -> Sample:
        """Read one image with its annotations; see ``Dataset.sample``."""
        index = self.index
        path = index.path(position)
        image = read_as_annotated(path, (int(index.sizes[position][0]), int(index.sizes[position][1])))
        rows = index.rows(position)
        height, width = image.shape[:2]
        boxes = np.clip(index.boxes[rows], 0, [width, height, width, height]).astype(np.float32)
        # a box entirely outside the image has no area left; readers that knew the size have dropped it before
        kept = np.flatnonzero(((boxes[:, 2:] - boxes[:, :2]) > MIN_SIDE).all(axis=1))
        decoded = None
        if masks and index.has_masks:
            decoded = np.zeros((len(kept), height, width), np.uint8)
            for row, box in enumerate(kept):
                decoded[row] = decode_mask(index.mask(rows.start + int(box)), (height, width))
        return Sample(
            image=image,
            boxes=boxes[kept],
            labels=index.labels[rows][kept],
            difficult=index.difficult[rows][kept],
            crowd=index.crowd[rows][kept],
            image_id=int(index.image_ids[position]),
            path=path,
            masks=decoded,
        )

    def annotations(self) -> Index:
        """All annotations as arrays."""
        return self.index

    def subset(self, positions: Sequence[int]) -> IndexedDataset:
        """The same dataset with only the images at the given positions."""
        return IndexedDataset(
            name=self.name,
            split=self.split,
            classes=self.classes,
            category_ids=self.category_ids,
            index=select_images(self.index, positions),
            problems=self.problems,
            quiet=True,
        ).grouped(groups_at(self.groups, positions))


def groups_at(groups: Sequence[str] | None, positions: Sequence[int]) -> list[str] | None:
    """The groups of some images."""
    return None if groups is None else [groups[position] for position in positions]


def announce(name: str, split: str, problems: Sequence[DataProblem]) -> None:
    """Say once what was guessed and what was left out; ``detzoo data check`` has the details."""
    from detzoo.data.checking.problems import Problems

    for problem in problems:
        if problem.code == "guess":
            _tell(f"{problem.path}: {problem.message}")
    summary = Problems(list(problems)).summary()
    if summary:
        _LOG.warning("%s %s: left out: %s (`detzoo data check` names each with file and line)", name, split, summary)


@functools.lru_cache(1000)
def _tell(guess: str) -> None:
    """Each guess once, however many splits are opened."""
    _LOG.warning("%s", guess)


def read_as_annotated(path: str, annotated: tuple[int, int]) -> NDArray[np.uint8]:
    """The image in the frame in which its boxes were drawn.

    Many annotation tools ignore EXIF orientation. When the annotated size fits the image only as it lies in the file,
    the boxes belong to that frame and the image is left as it lies; otherwise EXIF orientation is applied.

    Args:
        path: the image.
        annotated: (height, width) px that the annotation states; 0 where it states none.

    Raises:
        DataError: the image cannot be read, or has another size than the annotation states.
    """
    data = read_bytes(Path(path))
    image = decode_image(data, path)
    if not all(annotated) or _fits(image.shape[:2], annotated):
        return image
    if header_of(data, path).orientation >= 5 and _fits(image.shape[1::-1], annotated):
        return decode_image(data, path, upright=False)
    raise DataError(
        f"{path}: the image is {image.shape[1]} x {image.shape[0]} px, its annotation says "
        f"{annotated[1]} x {annotated[0]}: the boxes cannot be trusted"
    )


def _fits(size: tuple[int, ...], annotated: tuple[int, int]) -> bool:
    return abs(size[0] - annotated[0]) <= SIDE_TOLERANCE and abs(size[1] - annotated[1]) <= SIDE_TOLERANCE


def ground_truth(dataset: Dataset) -> dict[str, Any]:
    """COCO JSON of a dataset; see ``Dataset.coco_ground_truth``."""
    index = dataset.annotations()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for position, image_id in enumerate(dataset.image_ids):
        height, width = (int(side) for side in index.sizes[position])
        images.append({"id": image_id, "file_name": index.path(position), "height": height, "width": width})
        if index.federated is not None:
            images[-1] |= index.federated.image_keys(position, dataset.category_ids)
        rows = index.rows(position)
        for row in range(rows.start, rows.stop):
            x1, y1, x2, y2 = (float(value) for value in index.boxes[row])
            entry: dict[str, Any] = {
                "id": len(annotations) + 1,  # pycocotools takes id 0 for "unmatched"
                "image_id": image_id,
                "category_id": dataset.category_ids[int(index.labels[row])],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(index.areas[row]),
                "iscrowd": int(index.crowd[row]),
                "ignore": int(index.difficult[row]),
            }
            mask = index.mask(row)
            if mask != NO_MASK and height and width:
                rle = to_rle(mask, (height, width))
                counts = rle["counts"]
                entry["segmentation"] = {
                    "size": [int(side) for side in rle["size"]],
                    "counts": counts.decode() if isinstance(counts, bytes) else counts,
                }
            annotations.append(entry)
    categories: list[dict[str, Any]] = [
        {"id": own, "name": name} for own, name in zip(dataset.category_ids, dataset.classes, strict=True)
    ]
    if index.federated is not None:
        for category, frequency in zip(categories, index.federated.frequencies, strict=True):
            if frequency:
                category["frequency"] = frequency
    return {"images": images, "annotations": annotations, "categories": categories}
