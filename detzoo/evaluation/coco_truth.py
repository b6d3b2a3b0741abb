"""Ground truth and results in COCO form, prepared for both engines.

The traps of the format (annotation id 0, missing areas, no detections, text image ids) cannot bite after this.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from detzoo.errors import DataError
from detzoo.evaluation.annotation_flags import is_flagged
from detzoo.evaluation.engines import Engine, coco_object
from detzoo.evaluation.federation import Federation
from detzoo.ops.segmentation import pack_segmentation

CocoDict: TypeAlias = Mapping[str, Any]
IouType: TypeAlias = Literal["bbox", "segm"]

OUT_OF_EVERY_RANGE: Final = 1e12
"""An area beyond the largest range (1e5 squared): both engines then ignore the box at every size."""


@dataclass
class CocoGroundTruth:
    """Ground truth prepared once for both engines and any number of evaluations.

    Annotation ids are numbered from 1 (an id of 0 means "unmatched" to pycocotools), image ids from 1 in the order of
    the dataset's own sorted ids. A missing area is width times height. ``ignore: 1`` (VOC's difficult) is honoured:
    pycocotools itself would overwrite it with ``iscrowd``.

    Args:
        data: COCO ground truth: images, annotations, categories; never changed.
        honour_ignore: whether boxes flagged ``ignore`` count neither way. Official COCO files flag none.

    Attributes:
        federation: which classes were looked for in each image.
    """

    data: CocoDict
    honour_ignore: bool = True
    image_ids: list[Any] = field(init=False)
    warnings: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        require_keys(self.data)
        ids = [image["id"] for image in self.data["images"]]
        if len(set(ids)) != len(ids):
            twice = sorted(str(own) for own, count in Counter(ids).items() if count > 1)
            raise DataError(f"ground truth: image id {twice[0]} is used more than once; image ids must be unique")
        self.federation = Federation(self.data)
        self.image_ids = sorted(ids, key=sorting_key)  # pycocotools breaks ties of scores by image id
        self.number = {image_id: n for n, image_id in enumerate(self.image_ids, start=1)}
        self.category_ids = tuple(sorted(int(category["id"]) for category in self.data["categories"]))
        self._sizes = {image["id"]: (image.get("height"), image.get("width")) for image in self.data["images"]}
        self._annotations = [self._prepared(i, a) for i, a in enumerate(self.data["annotations"], start=1)]
        missing = sum(a.get("area") is None for a in self.data["annotations"])
        if missing:
            self.warnings.append(
                f"{missing} of {len(self._annotations)} annotations have no area; width x height is used, "
                "so that APs, APm and APl may differ from those of masks"
            )
        self._built: dict[tuple[Engine, IouType], Any] = {}

    def _prepared(self, new_id: int, annotation: CocoDict) -> dict[str, Any]:
        """A copy of one annotation with the fields that both engines read."""
        for key in ("image_id", "category_id", "bbox"):
            if key not in annotation:
                raise DataError(f"ground truth: annotation {annotation.get('id', new_id)} has no {key!r}")
        if annotation["image_id"] not in self.number:
            raise DataError(
                f"ground truth: annotation {annotation.get('id', new_id)} names image {annotation['image_id']!r}, "
                "which is not among the images"
            )
        _, _, width, height = annotation["bbox"]
        area = annotation.get("area")
        copied = {
            "id": new_id,  # from 1: pycocotools takes 0 for unmatched
            "image_id": self.number[annotation["image_id"]],
            "category_id": int(annotation["category_id"]),
            "bbox": [float(v) for v in annotation["bbox"]],
            "area": float(width) * float(height) if area is None else float(area),
            "iscrowd": int(is_flagged(annotation, "iscrowd")),
        }
        if annotation.get("segmentation") is not None:
            copied["segmentation"] = annotation["segmentation"]
        if self.honour_ignore and is_flagged(annotation, "ignore") and not copied["iscrowd"]:
            copied["area"] = OUT_OF_EVERY_RANGE  # ignored without iscrowd, whose IoU is another formula
        return copied

    @property
    def counted(self) -> dict[int, int]:
        """Category id -> boxes that count (neither crowd nor ignored)."""
        counts = dict.fromkeys(self.category_ids, 0)
        for a in self._annotations:
            if not a["iscrowd"] and a["area"] < OUT_OF_EVERY_RANGE:
                counts[a["category_id"]] = counts.get(a["category_id"], 0) + 1
        return counts

    def objects_of_images(self) -> dict[tuple[int, int | None], int]:
        """(image, category id) -> boxes that count; (image, None) where a limit holds for all classes together."""
        counted = (a for a in self._annotations if not a["iscrowd"] and a["area"] < OUT_OF_EVERY_RANGE)
        together = self.federation.applies
        return Counter((a["image_id"], None if together else a["category_id"]) for a in counted)

    def name_of(self, category: int) -> str:
        """The class name of a category id."""
        return next(str(c.get("name", category)) for c in self.data["categories"] if int(c["id"]) == category)

    @property
    def has_masks(self) -> bool:
        """Whether every annotation has a segmentation, and at least one annotation exists."""
        return bool(self._annotations) and all("segmentation" in a for a in self._annotations)

    def api(self, engine: Engine, iou_type: IouType) -> Any:
        """The engine's COCO object of this ground truth, made on first use.

        One per kind of IoU: segm turns the outlines into run lengths in place.
        """
        key = (engine, iou_type)
        if key not in self._built:
            self._built[key] = coco_object(engine, self._images(), self._categories(), self._copied(iou_type))
        return self._built[key]

    def _images(self) -> list[dict[str, Any]]:
        sizes = self._sizes
        return [{"id": self.number[i], "height": sizes[i][0], "width": sizes[i][1]} for i in self.image_ids]

    def _categories(self) -> list[dict[str, Any]]:
        return [{"id": i, "name": str(i)} for i in self.category_ids]

    def _copied(self, iou_type: IouType) -> list[dict[str, Any]]:
        if iou_type == "bbox":
            return [{k: v for k, v in a.items() if k != "segmentation"} for a in self._annotations]
        lacking = sum("segmentation" not in a for a in self._annotations)
        if lacking:
            raise DataError(
                f"mask AP needs a segmentation on every annotation; {lacking} of {len(self._annotations)} have none"
            )
        return [self._packed(a) for a in self._annotations]

    def _packed(self, annotation: dict[str, Any]) -> dict[str, Any]:
        """With its mask checked and as run lengths: pycocotools crashes on damaged ones."""
        height, width = self._sizes[self.image_ids[annotation["image_id"] - 1]]
        try:
            packed = pack_segmentation(annotation["segmentation"], (int(height or 0), int(width or 0)))
        except DataError as error:
            raise DataError(f"ground truth: the mask of annotation {annotation['id']}: {error}") from None
        return annotation | {"segmentation": packed}

    def results(self, detections: Sequence[CocoDict], engine: Engine, iou_type: IouType) -> Any:
        """The engine's COCO object of detections; an empty list is a normal case."""
        rows = list(prepared_results(detections, self, iou_type))
        if self.federation.applies:
            rows = [row for row in rows if row["area"] > 0]  # lvis-api passes over empty boxes
        return coco_object(engine, self._images(), self._categories(), rows)


def require_keys(data: CocoDict) -> None:
    """Reject what is not COCO ground truth."""
    missing = [key for key in ("images", "annotations", "categories") if key not in data]
    if missing:
        raise DataError(
            f"ground truth: not COCO form, {' and '.join(map(repr, missing))} missing; "
            "allowed: an object with images, annotations, categories"
        )


def sorting_key(image_id: Any) -> tuple[int, int, str]:
    """Numbers by value, then text by letters: pycocotools orders images by id, which decides ties of scores."""
    return (0, image_id, "") if isinstance(image_id, int) else (1, 0, str(image_id))


def prepared_results(detections: Sequence[CocoDict], truth: CocoGroundTruth, iou_type: IouType) -> Iterator[CocoDict]:
    """COCO result rows -> annotations with id, area and renumbered image, in the given order."""
    shape = "bbox" if iou_type == "bbox" else "segmentation"
    for new_id, row in enumerate(detections, start=1):
        if shape not in row or row["image_id"] not in truth.number:
            raise DataError(refusal(row, new_id, shape))
        score = float(row["score"])
        if not math.isfinite(score):
            raise DataError(f"detections: row {new_id} of image {row['image_id']!r} has the score {score}")
        done = {
            "id": new_id,
            "image_id": truth.number[row["image_id"]],
            "category_id": int(row["category_id"]),
            "score": score,
            "iscrowd": 0,
            shape: row[shape],
        }
        # COCO sorts unmatched detections into size ranges by it
        done["area"] = row["bbox"][2] * row["bbox"][3] if iou_type == "bbox" else mask_area(row["segmentation"])
        if done["area"] and done["category_id"] in truth.federation.forgiven(row["image_id"]):
            done["area"] = OUT_OF_EVERY_RANGE  # ignored at every size, unless it finds a box
        yield done


def refusal(row: CocoDict, number: int, shape: str) -> str:
    """Why a result row cannot be counted."""
    if shape not in row:
        return f"detections: row {number} of image {row.get('image_id')!r} has no {shape!r}"
    return (
        f"detections: row {number} names image {row['image_id']!r}, which the dataset does not have; "
        "check that the detections were made on this dataset and split"
    )


def mask_area(segmentation: Any) -> float:
    """Pixels of a run-length mask."""
    from pycocotools import mask

    return float(mask.area(segmentation))
