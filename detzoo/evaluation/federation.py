"""LVIS's federated evaluation: a detection counts only where somebody looked for its class.

In an image, detections of classes that have no box and are not stated to be absent are left out. Where a class was
not annotated exhaustively, a detection without a box is neither right nor wrong. Of an image, the detections of highest
score count, over all classes together: there are many classes, and each has few objects.

Source: Gupta, Dollar, Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019, section 3.3
and lvis-api 0.5.3 (``lvis/eval.py``, ``lvis/results.py``), which agrees number for number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from detzoo.data.formats.federated import FREQUENCIES, NEGATIVE, NOT_EXHAUSTIVE, is_federated
from detzoo.data.formats.values import shown
from detzoo.errors import DataError

Row = Mapping[str, Any]

MAX_DETECTIONS: Final = 300
"""Of each image, over all classes: LVIS's own limit."""


class Federation:
    """What was looked for in the images of COCO ground truth; of ordinary ground truth: everything.

    Args:
        truth: COCO ground truth; it is federated where its images have LVIS's ``neg_category_ids``.

    Attributes:
        applies: whether the ground truth is federated.

    Raises:
        DataError: some images say what was looked for in them, others do not.
    """

    def __init__(self, truth: Mapping[str, Any]) -> None:
        images = truth["images"]
        self.applies = is_federated(images)
        self._looked_for: dict[Any, set[int]] = {}
        self._forgiven: dict[Any, frozenset[int]] = {}
        self._frequency: dict[int, Any] = {}
        if not self.applies:
            return
        for image in images:
            self._looked_for[image["id"]] = set(_ids(image, NEGATIVE))
            self._forgiven[image["id"]] = frozenset(_ids(image, NOT_EXHAUSTIVE))
        for annotation in truth["annotations"]:
            if annotation["image_id"] in self._looked_for:
                self._looked_for[annotation["image_id"]].add(int(annotation["category_id"]))
        self._frequency = {int(category["id"]): category.get("frequency") for category in truth["categories"]}

    def forgiven(self, image: Any) -> frozenset[int]:
        """Categories of which an image may hold more objects than have boxes."""
        return self._forgiven.get(image, frozenset())

    def counted(self, detections: Sequence[Row], limit: int = MAX_DETECTIONS) -> Sequence[Row]:
        """The detections that are right or wrong, in the given order.

        Args:
            detections: COCO result rows.
            limit: of each image, the highest scores first; taken before the classes are looked at.
        """
        if not self.applies:
            return detections
        places: dict[Any, list[int]] = defaultdict(list)
        for place, row in enumerate(detections):
            places[row["image_id"]].append(place)
        kept: set[int] = set()
        for of_image in places.values():
            best = sorted(of_image, key=lambda place: -float(detections[place]["score"]))  # ties: as given
            kept.update(best[:limit])
        return [row for place, row in enumerate(detections) if place in kept and self._was_looked_for(row)]

    def _was_looked_for(self, row: Row) -> bool:
        known = self._looked_for.get(row["image_id"])  # None: an image of another dataset, which its reader rejects
        return known is None or int(row["category_id"]) in known

    def of_frequency(self, category_ids: Sequence[int]) -> dict[str, list[int]]:
        """APr, APc, APf -> places of the categories that are rare, common, frequent."""
        return {
            f"AP{key}": [place for place, own in enumerate(category_ids) if self._frequency.get(own) == key]
            for key in FREQUENCIES
        }


def words(limit: int) -> str:
    """The protocol's name for results and tables."""
    return f"LVIS federated, {limit} detections per image"


def _ids(image: Mapping[str, Any], key: str) -> list[int]:
    found = image.get(key)
    if not isinstance(found, list | tuple) or not all(type(own) is int for own in found):
        raise DataError(
            f"ground truth: {key} of image {shown(image['id'])} must be a list of category ids, not {shown(found)}; "
            "either every image has LVIS's lists or none"
        )
    return list(found)
