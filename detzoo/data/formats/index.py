"""One in-memory index for every format: arrays only, no Python object per box or image.

Loader workers that are forked share these pages; Python objects would be copied by mere reference counting.
Letters: I images, T boxes of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detzoo.data.formats.federated import Federated, join_federated
from detzoo.ops.mask_encoding import NO_MASK, mask_area


@dataclass(frozen=True)
class Index:
    """All annotations of a split.

    Args:
        image_ids: int64 [I], unique; the file's own where it has numbers, else 1, 2, 3, ...
        path_bytes: uint8 [*] all paths, as the system writes them; path_ends int64 [I] says where each ends.
        path_ends: see ``path_bytes``.
        sizes: int32 [I,2] (height, width) px as annotated; 0 where unknown.
        ends: int64 [I]: the boxes of image i are rows ends[i-1]..ends[i].
        boxes: float64 [T,4] xyxy px, as annotated (not clipped): evaluation must see the file's own numbers.
        labels: int64 [T], 0..K-1.
        difficult: bool [T].
        crowd: bool [T].
        areas: float64 [T] px: the annotation's area, which COCO's small, medium, large go by.
        mask_bytes: uint8 [*] encoded masks (``detzoo.ops.mask_encoding``); mask_ends int64 [T].
        mask_ends: see ``mask_bytes``.
        federated: which classes were looked for in each image; None: all of them in every image.
    """

    image_ids: NDArray[np.int64]
    path_bytes: NDArray[np.uint8]
    path_ends: NDArray[np.int64]
    sizes: NDArray[np.int32]
    ends: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    mask_bytes: NDArray[np.uint8]
    mask_ends: NDArray[np.int64]
    federated: Federated | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def has_masks(self) -> bool:
        """Whether any box has a mask."""
        return len(self.mask_bytes) > 0

    def path(self, image: int) -> str:
        """Path of an image's file."""
        start = int(self.path_ends[image - 1]) if image else 0
        return self.path_bytes[start : int(self.path_ends[image])].tobytes().decode("utf-8", "surrogateescape")

    def rows(self, image: int) -> slice:
        """Rows of the boxes of an image."""
        return slice(int(self.ends[image - 1]) if image else 0, int(self.ends[image]))

    def mask(self, row: int) -> bytes:
        """Encoded mask of a box; empty where it has none."""
        start = int(self.mask_ends[row - 1]) if row else 0
        return self.mask_bytes[start : int(self.mask_ends[row])].tobytes()


@dataclass
class IndexBuilder:
    """Collects images in order, then turns into an Index."""

    image_ids: list[int] = field(default_factory=list)
    paths: list[bytes] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    masks: list[bytes] = field(default_factory=list)

    def image(self, path: str, size: tuple[int, int], image_id: int | None = None) -> None:
        """Begin the next image; boxes added from now on are its own."""
        self.image_ids.append(len(self.image_ids) + 1 if image_id is None else image_id)
        self.paths.append(path.encode("utf-8", "surrogateescape"))  # names may be no UTF-8
        self.sizes.append(size)
        self.counts.append(0)

    def box(
        self,
        box: tuple[float, float, float, float],
        label: int,
        *,
        difficult: bool = False,
        crowd: bool = False,
        area: float | None = None,
        mask: bytes = NO_MASK,
    ) -> None:
        """Add a box xyxy px to the current image; ``area`` is by default its mask's, or the box's own without one."""
        self.counts[-1] += 1
        self.boxes.append(box)
        self.labels.append(label)
        self.difficult.append(difficult)
        self.crowd.append(crowd)
        if area is None and mask:
            area = mask_area(mask, self.sizes[-1])
        self.areas.append(area or (box[2] - box[0]) * (box[3] - box[1]))
        self.masks.append(mask)

    def build(self) -> Index:
        """The finished arrays."""
        return Index(
            image_ids=np.array(self.image_ids, np.int64),
            path_bytes=np.frombuffer(b"".join(self.paths), np.uint8),
            path_ends=_ends([len(path) for path in self.paths]),
            sizes=np.array(self.sizes, np.int32).reshape(-1, 2),
            ends=_ends(self.counts),
            boxes=np.array(self.boxes, np.float64).reshape(-1, 4),
            labels=np.array(self.labels, np.int64),
            difficult=np.array(self.difficult, np.bool_),
            crowd=np.array(self.crowd, np.bool_),
            areas=np.array(self.areas, np.float64),
            mask_bytes=np.frombuffer(b"".join(self.masks), np.uint8),
            mask_ends=_ends([len(mask) for mask in self.masks]),
        )


_PER_BOX: Final = ("boxes", "labels", "difficult", "crowd", "areas")


def join_indexes(indexes: Sequence[Index]) -> Index:
    """One index after the other; image ids are renumbered 1, 2, 3, ... where two sources share one.

    Raises:
        DataError: some are federated, others not.
    """
    ids = np.concatenate([index.image_ids for index in indexes])
    if len(np.unique(ids)) != len(ids):
        ids = np.arange(1, len(ids) + 1, dtype=np.int64)
    per_box = {name: np.concatenate([getattr(index, name) for index in indexes]) for name in _PER_BOX}
    return Index(
        image_ids=ids,
        path_bytes=np.concatenate([index.path_bytes for index in indexes]),
        path_ends=_shifted([index.path_ends for index in indexes]),
        sizes=np.concatenate([index.sizes for index in indexes]),
        ends=_shifted([index.ends for index in indexes]),
        mask_bytes=np.concatenate([index.mask_bytes for index in indexes]),
        mask_ends=_shifted([index.mask_ends for index in indexes]),
        federated=join_federated([index.federated for index in indexes]),
        **per_box,
    )


def select_images(index: Index, images: Sequence[int]) -> Index:
    """The given images (positions), in the given order."""
    builder = IndexBuilder()
    for image in images:
        height, width = (int(side) for side in index.sizes[image])
        builder.image(index.path(image), (height, width), int(index.image_ids[image]))
        rows = index.rows(image)
        for row in range(rows.start, rows.stop):
            x1, y1, x2, y2 = (float(value) for value in index.boxes[row])
            builder.box(
                (x1, y1, x2, y2),
                int(index.labels[row]),
                difficult=bool(index.difficult[row]),
                crowd=bool(index.crowd[row]),
                area=float(index.areas[row]),
                mask=index.mask(row),
            )
    federated = None if index.federated is None else index.federated.select(images)
    return replace(builder.build(), federated=federated)


def _ends(counts: list[int]) -> NDArray[np.int64]:
    return np.cumsum(np.array(counts, np.int64), dtype=np.int64)


def _shifted(ends: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    shifted, start = [], 0
    for part in ends:
        shifted.append(part + start)
        start += int(part[-1]) if len(part) else 0
    return np.concatenate(shifted) if shifted else np.zeros(0, np.int64)
