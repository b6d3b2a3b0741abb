"""Detections as rows of a COCO result file and as a pandas table, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.errors import DataError, DetzooError
from detzoo.prediction.given_detections import classes_of, detections_of

if TYPE_CHECKING:
    import pandas

    from detzoo.prediction.detections import Detections

CategoryIds = Sequence[int] | Mapping[str, int]
_CORNERS: Final = ("x1", "y1", "x2", "y2")
COLUMNS: Final = ("name", "label", "score", *_CORNERS)


def to_coco(found: Detections, image_id: int, category_ids: CategoryIds | None) -> list[dict[str, Any]]:
    """See ``Detections.to_coco``."""
    ids = _ids_of(found, category_ids)
    rows: list[dict[str, Any]] = []
    for one in found:
        x1, y1, x2, y2 = one.box
        box = [x1, y1, x2 - x1, y2 - y1]
        rows.append({"image_id": image_id, "category_id": ids[one.label], "bbox": box, "score": one.score})
    for row, mask in zip(rows, found.encoded_masks(), strict=False):
        row["segmentation"] = mask
    return rows


def from_coco(
    rows: Sequence[Mapping[str, Any]],
    *,
    classes: Sequence[str | None],
    size: tuple[int, int],
    category_ids: CategoryIds | None,
    path: str | None,
) -> Detections:
    """See ``Detections.from_coco``."""
    images = {row["image_id"] for row in rows}
    if len(images) > 1:
        raise DetzooError(f"from_coco takes the rows of one image, here are those of {len(images)}: choose by image_id")
    label_of = {own: label for label, own in _all_ids(classes, category_ids).items()}
    unknown = sorted({row["category_id"] for row in rows} - label_of.keys())
    if unknown:
        known = ", ".join(map(str, label_of))
        raise DetzooError(
            f"from_coco: category_id {unknown[0]} belongs to no class; known are {known}: give category_ids"
        )
    boxes = [[x, y, x + width, y + height] for x, y, width, height in (row["bbox"] for row in rows)]
    return detections_of(
        boxes,
        [row["score"] for row in rows],
        [label_of[row["category_id"]] for row in rows],
        classes=classes,
        size=size,
        masks=_masks(rows, size),
        path=path,
        place="from_coco",
    )


def _masks(rows: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> NDArray[np.bool_] | None:
    from detzoo.ops.mask_encoding import decode_mask
    from detzoo.ops.segmentation import encode_segmentation

    outlines = [row.get("segmentation") for row in rows]
    if all(outline is None for outline in outlines):
        return None
    try:
        masks = [decode_mask(encode_segmentation(outline, size), size) for outline in outlines]
    except DataError as error:
        raise DetzooError(f"from_coco: {error}") from None
    return np.stack(masks).astype(np.bool_)


def _all_ids(classes: Sequence[str | None], category_ids: CategoryIds | None) -> dict[int, int]:
    """COCO's id by label; classes that a mapping leaves out have none."""
    if category_ids is None:
        return {label: label + 1 for label in range(len(classes))}
    if isinstance(category_ids, Mapping):
        named = ((label, category_ids.get(name or "")) for label, name in enumerate(classes))
        return {label: own for label, own in named if own is not None}
    if len(category_ids) != len(classes):
        raise DetzooError(
            f"category_ids has {len(category_ids)} ids, the detector {len(classes)} classes: give one for each"
        )
    return dict(enumerate(category_ids))


def _ids_of(found: Detections, category_ids: CategoryIds | None) -> dict[int, int]:
    """COCO's id of each label that was found."""
    ids = _all_ids(found.classes, category_ids)
    missing = [str(found.classes[label]) for label in sorted(set(found.labels.tolist())) if label not in ids]
    if missing:
        raise DetzooError(
            f"category_ids has no id for {', '.join(missing)}; it has {', '.join(map(str, category_ids or ()))}"
        )
    return ids


def to_pandas(found: Detections) -> pandas.DataFrame:
    """See ``Detections.to_pandas``."""
    try:
        import pandas
    except ImportError:
        raise DetzooError("to_pandas needs pandas: pip install detzoo[pandas]") from None
    corners = found.boxes.numpy()
    columns = {"name": found.names, "label": found.labels.numpy(), "score": found.scores.numpy()}
    return pandas.DataFrame(columns | {name: corners[:, at] for at, name in enumerate(_CORNERS)})


def from_pandas(
    table: pandas.DataFrame, *, size: tuple[int, int], classes: Sequence[str | None] | None, path: str | None
) -> Detections:
    """See ``Detections.from_pandas``."""
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise DetzooError(f"from_pandas: the table has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    labels = [int(label) for label in table["label"]]
    return detections_of(
        table[list(_CORNERS)].to_numpy(dtype=float),
        table["score"].to_numpy(dtype=float),
        labels,
        classes=classes_of(labels, [str(name) for name in table["name"]], "from_pandas")
        if classes is None
        else classes,
        size=size,
        path=path,
        place="from_pandas",
    )
