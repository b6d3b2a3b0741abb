"""Detections: what ``predict`` returns for each image."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from detzoo.errors import DataError, DetzooError
from detzoo.runtime.foreign_files import is_folder, is_there
from detzoo.runtime.json_text import load_json
from detzoo.runtime.report_text import class_name

if TYPE_CHECKING:
    import fiftyone
    import pandas
    import supervision

    from detzoo.prediction.given_images import Channels

SAVED_AS: Final = frozenset({".bmp", ".jpeg", ".jpg", ".json", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Detection:
    """One detected object.

    Args:
        box: (x1, y1, x2, y2) px of the image.
        score: 0..1.
        label: 0..K-1.
        name: of the class.
        mask: bool [H,W], or None.
    """

    box: tuple[float, float, float, float]
    score: float
    label: int
    name: str
    mask: Tensor | None = None


@dataclass(frozen=True)
class Detections:
    """Detections of one image in its original pixels, best first, on the CPU.

    It is a list too: ``len(found)``, ``found[0]`` and ``for one in found`` give a ``Detection``, ``found[:5]`` and
    ``found[found.scores > 0.5]`` give ``Detections``.

    Args:
        boxes: float32 [D,4] xyxy, right and bottom exclusive, clipped to the image.
        scores: float32 [D].
        labels: int64 [D], 0..K-1.
        classes: class names by label; None for outputs that the training data never used.
        size: (height, width) of the image.
        masks: bool [D,H,W] or None.
        path: where the image came from, if it came from a file.
        image: what was given to ``predict`` where it came from none: an array, a tensor or a PIL image, not copied.
        channels: order of the colours in ``image``, as ``predict`` was told.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    classes: tuple[str | None, ...]
    size: tuple[int, int]
    masks: Tensor | None = None
    path: str | None = None
    image: Any = dataclasses.field(default=None, repr=False, compare=False)
    channels: Channels | None = dataclasses.field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return int(self.scores.numel())

    def __iter__(self) -> Iterator[Detection]:
        return (self[row] for row in range(len(self)))

    @overload
    def __getitem__(self, which: int) -> Detection: ...

    @overload
    def __getitem__(self, which: slice | Tensor) -> Detections: ...

    def __getitem__(self, which: int | slice | Tensor) -> Detection | Detections:
        """One detection by position; several by a slice, a bool [D] or positions [n]."""
        if not isinstance(which, int | slice | Tensor):
            raise TypeError(f"detections are chosen by a number, a slice or a tensor, not by {type(which).__name__}")
        if isinstance(which, int):
            if not -len(self) <= which < len(self):
                raise IndexError(f"detection {which} of {len(self)}")
            x1, y1, x2, y2 = self.boxes[which].tolist()
            mask = None if self.masks is None else self.masks[which]
            score, label = float(self.scores[which]), int(self.labels[which])
            return Detection((x1, y1, x2, y2), score, label, class_name(self.classes, label), mask)
        return dataclasses.replace(
            self,
            boxes=self.boxes[which],
            scores=self.scores[which],
            labels=self.labels[which],
            masks=None if self.masks is None else self.masks[which],
        )

    @property
    def names(self) -> list[str]:
        """Class name of each detection; ``class 7`` where the class has no name."""
        return [class_name(self.classes, label) for label in self.labels.tolist()]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON: ``path``, ``height``, ``width``, and ``detections``, best first.

        Each detection has ``name``, ``label``, ``score``, ``box`` [x1, y1, x2, y2] px, and where there are masks
        ``mask``, a COCO run-length encoding.
        """
        rows: list[dict[str, Any]] = [
            {"name": one.name, "label": one.label, "score": one.score, "box": list(one.box)} for one in self
        ]
        for row, mask in zip(rows, self.encoded_masks(), strict=False):
            row["mask"] = mask
        return {"path": self.path, "height": self.size[0], "width": self.size[1], "detections": rows}

    def to_coco(
        self, image_id: int, category_ids: Sequence[int] | Mapping[str, int] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of a COCO result file.

        Args:
            image_id: of the image in the annotation file.
            category_ids: id of each class there: by label (``dataset.category_ids``, where the dataset's classes are
                the detector's in the same order), or by name. By default 1..K in the order of the classes: the ids
                that detzoo gives datasets whose format has none, and writes with ``data convert --to coco``.

        Returns:
            one mapping per detection: ``image_id``, ``category_id``, ``bbox`` [x, y, width, height] px, ``score``, and
            ``segmentation`` where there are masks.

        Raises:
            DetzooError: a class has no id.
        """
        from detzoo.prediction.coco_and_pandas import to_coco

        return to_coco(self, image_id, category_ids)

    @classmethod
    def from_coco(
        cls,
        rows: Sequence[Mapping[str, Any]],
        *,
        classes: Sequence[str | None],
        size: tuple[int, int],
        category_ids: Sequence[int] | Mapping[str, int] | None = None,
        path: str | None = None,
    ) -> Detections:
        """Detections of the rows of one image in a COCO result file.

        Args:
            rows: as ``to_coco`` gives them; ``segmentation`` may be run lengths or polygons.
            classes: names by label.
            size: (height, width) of the image.
            category_ids: as for ``to_coco``.
            path: of the image, if ``draw`` is to find it.

        Raises:
            DetzooError: rows of several images, an id that belongs to no class, or values that are no detections.
        """
        from detzoo.prediction.coco_and_pandas import from_coco

        return from_coco(rows, classes=classes, size=size, category_ids=category_ids, path=path)

    def to_pandas(self) -> pandas.DataFrame:
        """A table with the columns ``name``, ``label``, ``score``, ``x1``, ``y1``, ``x2``, ``y2``.

        Raises:
            DetzooError: pandas is not installed.
        """
        from detzoo.prediction.coco_and_pandas import to_pandas

        return to_pandas(self)

    @classmethod
    def from_pandas(
        cls,
        table: pandas.DataFrame,
        *,
        size: tuple[int, int],
        classes: Sequence[str | None] | None = None,
        path: str | None = None,
    ) -> Detections:
        """Detections of a table with the columns of ``to_pandas``, in any order; without masks.

        Args:
            table: one row per detection.
            size: (height, width) of the image.
            classes: names by label; by default what the columns ``name`` and ``label`` say.
            path: of the image.

        Raises:
            DetzooError: a column is missing, or values are no detections.
        """
        from detzoo.prediction.coco_and_pandas import from_pandas

        return from_pandas(table, size=size, classes=classes, path=path)

    def to_supervision(self) -> supervision.Detections:
        """As those of supervision: ``xyxy``, ``confidence``, ``class_id``, ``mask``, ``data["class_name"]``.

        Raises:
            DetzooError: supervision is not installed.
        """
        from detzoo.prediction.supervision_and_fiftyone import to_supervision

        return to_supervision(self)

    @classmethod
    def from_supervision(
        cls,
        given: supervision.Detections,
        *,
        size: tuple[int, int],
        classes: Sequence[str | None] | None = None,
        path: str | None = None,
    ) -> Detections:
        """Detections of supervision's; tracker ids and other ``data`` are left out.

        Args:
            given: with ``confidence`` and ``class_id``.
            size: (height, width) of the image, which supervision does not keep.
            classes: names by label; by default what ``class_id`` and ``data["class_name"]`` say.
            path: of the image.

        Raises:
            DetzooError: ``confidence`` or ``class_id`` is None, or values are no detections.
        """
        from detzoo.prediction.supervision_and_fiftyone import from_supervision

        return from_supervision(given, size=size, classes=classes, path=path)

    def to_fiftyone(self) -> fiftyone.Detections:
        """As a label of FiftyOne, for a field of a sample: ``sample["found"] = found.to_fiftyone()``.

        Boxes are relative to the image. A mask fills its box with the corners cut to whole px, as FiftyOne draws it.

        Raises:
            DetzooError: FiftyOne is not installed.
        """
        from detzoo.prediction.supervision_and_fiftyone import to_fiftyone

        return to_fiftyone(self)

    @classmethod
    def from_fiftyone(
        cls,
        given: fiftyone.Detections,
        *,
        classes: Sequence[str | None],
        size: tuple[int, int],
        path: str | None = None,
    ) -> Detections:
        """Detections of a label of FiftyOne.

        Args:
            given: each with a ``confidence``.
            classes: names by label; FiftyOne keeps names alone.
            size: (height, width) of the image, to which FiftyOne's boxes are relative.
            path: of the image.

        Raises:
            DetzooError: a label that is no class, a ``confidence`` that is None, or values that are no detections.
        """
        from detzoo.prediction.supervision_and_fiftyone import from_fiftyone

        return from_fiftyone(given, classes=classes, size=size, path=path)

    def draw(self, image: Any = None, *, min_score: float = 0.0, channels: Channels | None = None) -> NDArray[np.uint8]:
        """Boxes, names and scores drawn on a copy of the image.

        Args:
            image: as for ``predict``; by default the one that was given to it.
            min_score: detections below it are left out. ``detzoo predict`` leaves out those below 0.3; recipes keep
                those from 0.01 on, which AP needs.
            channels: order of the colours in an array; by default what ``predict`` was told, else RGB.

        Returns:
            uint8 [H,W,3] RGB.

        Raises:
            DetzooError: no image is given, and the detections were not made by ``predict``.
        """
        from detzoo.prediction.given_images import read_given
        from detzoo.runtime.drawing import draw_detections

        shown = next((one for one in (image, self.path, self.image) if one is not None), None)
        if shown is None:
            raise DetzooError("these detections were not made by predict: add image=, the one that they belong to")
        return draw_detections(read_given(shown, channels or self.channels or "rgb"), self, min_score=min_score)

    def save(
        self, path: str | Path, image: Any = None, *, min_score: float = 0.0, channels: Channels | None = None
    ) -> Path:
        """Write the drawn image, or the values if ``path`` ends in ``.json``.

        Args:
            path: ``.jpg``, ``.png``, ``.webp``, ``.bmp`` or ``.tif``, or ``.json`` (see ``to_dict``).
            image: as in ``draw``.
            min_score: as in ``draw``.
            channels: as in ``draw``.

        Returns:
            ``path``.

        Raises:
            DataError: the name or its folder does not fit, or a file is there that ``save`` did not write: nobody's
                photograph is replaced.
        """
        from detzoo.runtime.own_drawings import write_drawing

        out = Path(path)
        if not is_folder(out.parent):
            raise DataError(f"{out.parent}: no such folder; make it first")
        if out.suffix.lower() not in SAVED_AS:
            raise DataError(f"{out}: the name must end in one of {', '.join(sorted(SAVED_AS))}")
        if out.suffix.lower() == ".json":
            _write_values(out, self[self.scores >= min_score].to_dict())
        else:
            write_drawing(out, self.draw(image, min_score=min_score, channels=channels), by="save")
        return out

    def encoded_masks(self) -> list[dict[str, Any]]:
        """Masks as COCO's compressed run lengths; an empty list without masks."""
        from detzoo.ops.mask_encoding import run_lengths

        return [] if self.masks is None else run_lengths(self.masks.numpy())

    def _repr_html_(self) -> str:
        """A notebook shows the image with its boxes, or a table if the file cannot be read."""
        from detzoo.runtime.drawing import detections_html

        return detections_html(self)


def _write_values(path: Path, values: dict[str, Any]) -> None:
    from detzoo.runtime.atomic_files import write_text

    if is_there(path) and not _is_written_values(path, values):
        raise DataError(f"{path}: a file is there that save did not write; choose another name, or remove it first")
    write_text(path, json.dumps(values, indent=1) + "\n")


def _is_written_values(path: Path, values: dict[str, Any]) -> bool:
    try:
        found = load_json(path)
    except DataError:
        return False
    return isinstance(found, dict) and found.keys() == values.keys()
