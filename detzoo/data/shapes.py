"""``shapes``: a procedural dataset, so that the zoo trains, evaluates and compares with no download.

Textured scenes with up to six objects of five shapes; colour, size, angle and texture say nothing about the class.
Each image is a function of (seed, split, position) alone; boxes are the exact bounds of the visible masks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from detzoo.data.dataset import Dataset, groups_at
from detzoo.data.formats.index import Index, IndexBuilder
from detzoo.data.formats.values import shown
from detzoo.errors import DataError, UnknownSplitError
from detzoo.ops.mask_encoding import encode_rle
from detzoo.schema.describing import unknown
from detzoo.types import Sample

CLASSES: Final = ("circle", "square", "triangle", "star", "cross")
COUNTS: Final = {"train": 512, "val": 128, "test": 128}
_SIZES: Final = (32, 4096)  # px; a star is told from a circle
_COUNTS: Final = (1, 10_000_000)
_SEEDS: Final = (0, 2**63 - 1)
_SPLIT_SEEDS: Final = {"train": 1, "val": 2, "test": 3}
_MAX_OBJECTS: Final = 6
_EMPTY: Final = 0.04  # share of images without objects: a normal case that training must meet
_MAX_HIDDEN: Final = 0.2  # of the smaller of two boxes
_MIN_VISIBLE: Final = 40  # px


class ShapesDataset(Dataset):
    """A split of ``shapes``.

    Args:
        split: ``train``, ``val`` or ``test``; they share no image.
        count: images; the split's usual number by default.
        size: px; sides are sampled from 5/6 to 7/6 of it.
        seed: another seed is another dataset.
        positions: only these images of the split, in this order.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        count: int | None = None,
        size: int = 192,
        seed: int = 0,
        positions: Sequence[int] | None = None,
    ) -> None:
        if split not in COUNTS:
            raise UnknownSplitError(f"shapes: {unknown('split', split, COUNTS)}")
        for name, value, (least, most) in (("size", size, _SIZES), (split, count, _COUNTS), ("seed", seed, _SEEDS)):
            if value is not None and not least <= value <= most:
                raise DataError(f"shapes: {name}={shown(value)} is out of range: {least} to {most:,} is allowed")
        self.name, self.split = "shapes", split
        self.classes, self.category_ids = CLASSES, tuple(range(1, len(CLASSES) + 1))
        self.size, self.seed = size, seed
        self.positions = tuple(range(COUNTS[split] if count is None else count)) if positions is None else positions

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def image_ids(self) -> list[int]:
        """Position in the whole split, from 1."""
        return [position + 1 for position in self.positions]

    @property
    def paths(self) -> list[str]:
        """Made-up names."""
        return [self._path(position) for position in self.positions]

    def paths_of(self, positions: Sequence[int]) -> list[str]:
        """Made-up names of some images."""
        return [self._path(self.positions[position]) for position in positions]

    @property
    def on_disk(self) -> bool:
        """Never."""
        return False

    @property
    def has_masks(self) -> bool:
        """Always."""
        return True

    def sample(self, position: int, *, masks: bool = True) -> Sample:
        """Draw one image; see ``Dataset.sample``."""
        own = self.positions[position]
        rng = np.random.default_rng([self.seed, _SPLIT_SEEDS[self.split], own])
        image, visible, labels = draw_scene(rng, self.size)
        count = len(labels)
        return Sample(
            image=image,
            boxes=_bounds(visible),
            labels=labels,
            difficult=np.zeros(count, np.bool_),
            crowd=np.zeros(count, np.bool_),
            image_id=own + 1,
            path=self._path(own),
            masks=visible if masks else None,
        )

    def annotations(self) -> Index:
        """All annotations as arrays; draws every image the first time."""
        return self._index

    def subset(self, positions: Sequence[int]) -> ShapesDataset:
        """The same dataset with only the images at the given positions."""
        kept = tuple(self.positions[position] for position in positions)
        chosen = ShapesDataset(split=self.split, size=self.size, seed=self.seed, positions=kept)
        return chosen.grouped(groups_at(self.groups, positions))

    @functools.cached_property
    def _index(self) -> Index:
        from pycocotools import mask as coco_mask

        builder = IndexBuilder()
        for position in range(len(self)):
            sample = self.sample(position)
            assert isinstance(sample.image_id, int)
            assert sample.masks is not None
            size = (sample.image.shape[0], sample.image.shape[1])
            builder.image(sample.path, size, sample.image_id)
            for box, label, mask in zip(sample.boxes, sample.labels, sample.masks, strict=True):
                x1, y1, x2, y2 = (float(value) for value in box)
                counts = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
                builder.box((x1, y1, x2, y2), int(label), area=float(mask.sum()), mask=encode_rle(counts, size))
        return builder.build()

    def _path(self, position: int) -> str:
        return f"shapes-{self.split}-{position:05d}.png"


def draw_scene(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    """One image.

    Args:
        rng: source of everything in it.
        size: px; each side is sampled from 5/6 to 7/6 of it.

    Returns:
        image uint8 [H,W,3] RGB, visible masks uint8 [M,H,W], labels int64 [M].
    """
    height, width = (int(side) for side in rng.integers(size * 5 // 6, size * 7 // 6 + 1, 2))
    image = _texture(rng, height, width)
    wanted = 0 if rng.random() < _EMPTY else int(rng.integers(1, _MAX_OBJECTS + 1))
    masks: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    boxes: list[NDArray[np.float64]] = []
    for _ in range(3 * wanted):  # some tries fail for want of room
        if len(masks) == wanted:
            break
        label = int(rng.integers(len(CLASSES)))
        outline = _outline(label, rng, height, width)
        box = np.concatenate([outline.min(axis=0), outline.max(axis=0)])
        if any(_hidden(box, other) > _MAX_HIDDEN for other in boxes):
            continue
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1)
        _paint(image, mask, rng)
        masks = [earlier & (1 - mask) for earlier in masks]
        masks.append(mask)
        labels.append(label)
        boxes.append(box)
    # later objects may have hidden nearly all of an earlier one
    seen = [row for row, mask in enumerate(masks) if int(mask.sum()) >= _MIN_VISIBLE]
    masks, labels = [masks[row] for row in seen], [labels[row] for row in seen]
    stacked = np.stack(masks) if masks else np.zeros((0, height, width), np.uint8)
    noise = rng.integers(-10, 11, (height, width, 1), np.int16)
    return np.clip(image + noise, 0, 255).astype(np.uint8), stacked, np.array(labels, np.int64)


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.int16]:
    """Smooth coloured clouds at two scales."""
    coarse = rng.integers(30, 226, (3, 3, 3), np.uint8)
    fine = rng.integers(0, 61, (12, 12, 3), np.uint8)
    clouds = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.asarray(clouds + cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR) - 30, np.int16)


def _outline(label: int, rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Corner points [P,2] (x, y) px of a shape inside the image."""
    radius = min(height, width) * float(rng.uniform(0.08, 0.26))
    centre = np.array([rng.uniform(radius + 1, width - radius - 2), rng.uniform(radius + 1, height - radius - 2)])
    turn = float(rng.uniform(0, 2 * math.pi))
    return centre + radius * _unit_shape(CLASSES[label], turn)


def _unit_shape(name: str, turn: float) -> NDArray[np.float64]:
    """Corner points [P,2] on or inside the unit circle, turned by ``turn`` radians."""
    if name == "circle":
        return _polar(np.ones(32), turn)
    if name == "square":
        return _polar(np.ones(4), turn)
    if name == "triangle":
        return _polar(np.ones(3), turn)
    if name == "star":
        return _polar(np.where(np.arange(10) % 2 == 0, 1.0, 0.42), turn)
    arm = 0.3  # half the width of the cross's arms
    long = math.sqrt(1 - arm * arm)
    quarter = np.array([[arm, arm], [arm, long], [-arm, long]])
    corners = np.concatenate([quarter @ _rotation(k * math.pi / 2).T for k in range(4)])
    return np.asarray(corners @ _rotation(turn).T)


def _polar(radii: NDArray[np.float64], turn: float) -> NDArray[np.float64]:
    angles = turn + np.arange(len(radii)) * (2 * math.pi / len(radii))
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _rotation(angle: float) -> NDArray[np.float64]:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _paint(image: NDArray[np.int16], mask: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Fill a mask with stripes of a random colour that stands out from what lies below it."""
    colour = rng.integers(0, 256, 3).astype(np.int16)
    below = image[mask > 0].mean(axis=0)
    if np.abs(colour - below).max() < 70:
        colour = np.where(below > 127, colour // 3, 255 - (255 - colour) // 3).astype(np.int16)
    period, depth = float(rng.uniform(4, 16)), float(rng.uniform(0, 35))
    rows, columns = np.nonzero(mask)
    along = np.cos(float(rng.uniform(0, math.pi))) * rows + columns
    image[rows, columns] = colour + (depth * np.sin(along * (2 * math.pi / period)))[:, None].astype(np.int16)


def _hidden(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Intersection over the smaller area."""
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(overlap / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()))


def _bounds(masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [M,4] xyxy px, right and bottom exclusive, of masks uint8 [M,H,W] that are not empty."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for row, mask in enumerate(masks):
        x, y, width, height = cv2.boundingRect(mask)
        boxes[row] = (x, y, x + width, y + height)
    return boxes
