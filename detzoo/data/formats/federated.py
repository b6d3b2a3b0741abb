"""Federated annotations, as LVIS has them: in each image only some classes were looked for.

A class was looked for where it has a box, or where the image is stated to have none of it. Even then not every
object of it may have a box.

Source: Gupta, Dollar, Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019, section 3;
the names are those of its files, version 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.errors import DataError

NEGATIVE: Final = "neg_category_ids"
"""Key of an image: categories that it has none of."""
NOT_EXHAUSTIVE: Final = "not_exhaustive_category_ids"
"""Key of an image: categories of which not every object has a box."""
FREQUENCIES: Final = ("r", "c", "f")
"""Rare, common, frequent: what a category's ``frequency`` says of the images of the training set that have it."""


def is_federated(images: Iterable[Any]) -> bool:
    """Whether COCO's entries of images say what was looked for; one that does is enough."""
    return any(isinstance(entry, Mapping) and (NEGATIVE in entry or NOT_EXHAUSTIVE in entry) for entry in images)


@dataclass(frozen=True)
class LabelLists:
    """A list of labels for each image.

    Args:
        labels: int64 [*], all lists one after the other.
        ends: int64 [I]: where the list of each image ends.
    """

    labels: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> LabelLists:
        """From one list per image."""
        ends = np.cumsum([len(labels) for labels in lists], dtype=np.int64)
        return cls(np.array([label for labels in lists for label in labels], np.int64), ends)

    def image(self, image: int) -> list[int]:
        """The list of an image."""
        start = int(self.ends[image - 1]) if image else 0
        return [int(label) for label in self.labels[start : int(self.ends[image])]]

    def lists(self) -> list[list[int]]:
        """One list per image."""
        return [self.image(image) for image in range(len(self.ends))]


@dataclass(frozen=True)
class Federated:
    """What was looked for in the images of a split.

    Args:
        negative: labels of the classes that an image is stated to have none of.
        not_exhaustive: labels of which not every object has a box.
        frequencies: ``r``, ``c`` or ``f`` by label; "" where nothing is said.
    """

    negative: LabelLists
    not_exhaustive: LabelLists
    frequencies: tuple[str, ...]

    def select(self, images: Sequence[int]) -> Federated:
        """Of the given images (positions), in the given order."""
        negative, not_exhaustive = (
            LabelLists.of([lists.image(at) for at in images]) for lists in (self.negative, self.not_exhaustive)
        )
        return Federated(negative, not_exhaustive, self.frequencies)

    def image_keys(self, image: int, category_ids: Sequence[int]) -> dict[str, list[int]]:
        """What LVIS writes into an image's entry, in a dataset's own category ids."""
        return {
            NEGATIVE: [category_ids[label] for label in self.negative.image(image)],
            NOT_EXHAUSTIVE: [category_ids[label] for label in self.not_exhaustive.image(image)],
        }


def join_federated(parts: Sequence[Federated | None]) -> Federated | None:
    """One after the other.

    Raises:
        DataError: some are not federated, or they differ on how frequent a class is.
    """
    known = [part for part in parts if part is not None]
    if not known:
        return None
    if len(known) < len(parts):
        raise DataError(
            f"some of the files say in which images each class was looked for (LVIS: {NEGATIVE}), others do not: they "
            "cannot be one split; open each alone"
        )
    if len({part.frequencies for part in known}) > 1:
        raise DataError("the files differ on the `frequency` of a category: they cannot be one split; open each alone")
    return Federated(
        LabelLists.of([labels for part in known for labels in part.negative.lists()]),
        LabelLists.of([labels for part in known for labels in part.not_exhaustive.lists()]),
        known[0].frequencies,
    )
