"""Which image of the dataset a row of a result file means: by its id, or by what others call an image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from detzoo.errors import DataError
from detzoo.evaluation.classes import listed
from detzoo.evaluation.result_content import matched_categories

ImageIds: TypeAlias = Literal["own", "name", "stem", "number"]
"""What a result file calls images by: the dataset's ids, file names, file names without ending, numbers in them."""
Row: TypeAlias = dict[str, Any]
_FEW: Final = 5
"""Boxes that answer an object: with fewer, chance may decide."""


def _number(image: Mapping[str, Any]) -> str:
    stem = Path(image["file_name"]).stem
    digits = re.findall(r"\d+", stem)
    return (digits[-1].lstrip("0") or "0") if digits else stem


IMAGE_KEYS: Final[dict[str, tuple[ImageIds, Callable[[Mapping[str, Any]], str]]]] = {
    "their text": ("own", lambda image: str(image["id"])),
    "file name": ("name", lambda image: Path(image["file_name"]).name),
    "file name without its ending": ("stem", lambda image: Path(image["file_name"]).stem),
    "the number in the file name": ("number", _number),
}
"""Ways in which others call an image, each tried for all rows together."""


def match_images(
    rows: list[Row], truth: Mapping[str, Any], path: Path, *, wanted: ImageIds | None = None
) -> tuple[list[Row], list[str]]:
    """Bring image ids into the dataset's own.

    A number may be an id of the dataset as well as the number in the name of another image. Where both readings are
    possible, the boxes decide: they must answer objects of the images.

    Args:
        rows: of the file.
        truth: COCO ground truth.
        path: of the file, for messages.
        wanted: what the ids are; None tries everything.

    Returns:
        the rows, and what was assumed.

    Raises:
        DataError: some rows name images that the dataset does not have; or what the ids are remains open.
    """
    if wanted is not None and wanted not in get_args(ImageIds):
        raise DataError(f"--image-ids {wanted}: allowed are {', '.join(get_args(ImageIds))}")
    used = {str(row["image_id"]) for row in rows}
    readings = _readings(used, truth, wanted)
    if not readings:
        raise DataError(_refusal(rows, truth, path, wanted))
    how = next(iter(readings))
    if len(readings) > 1:
        how = _decided(rows, readings, truth, path)
    own = {image["id"] for image in truth["images"]}
    plain = IMAGE_KEYS[how][0] == "own" and all(row["image_id"] in own for row in rows)
    found = [row | {"image_id": readings[how][str(row["image_id"])]} for row in rows]
    return found, [] if plain else [f"{path.name}: image ids were matched by {how}"]


def _readings(used: set[str], truth: Mapping[str, Any], wanted: ImageIds | None) -> dict[str, dict[str, Any]]:
    """The ways that give every row an image, without those that mean the same images as an earlier one."""
    found: dict[str, dict[str, Any]] = {}
    for what, (name, key) in IMAGE_KEYS.items():
        known = unique((key(image), image["id"]) for image in truth["images"])
        if wanted in (None, name) and used <= known.keys():  # all or none: a mixture would be a guess
            meant = {image: known[image] for image in used}
            if meant not in found.values():
                found[what] = meant
    return found


def _decided(
    rows: Sequence[Row], readings: Mapping[str, Mapping[str, Any]], truth: Mapping[str, Any], path: Path
) -> str:
    answered = {
        what: len(matched_categories([row | {"image_id": meant[str(row["image_id"])]} for row in rows], truth))
        for what, meant in readings.items()
    }
    first, best = next(iter(readings)), max(answered, key=lambda what: answered[what])
    if 2 * answered[first] >= answered[best]:
        return first
    others = [count for what, count in answered.items() if what != best]
    if answered[best] >= _FEW and answered[best] > 2 * max(others):
        return best
    said = ", ".join(f"{count} boxes answer an object with {what}" for what, count in answered.items())
    raise DataError(
        f"{path}: the image ids can be read in several ways ({said}); say which with --image-ids "
        f"{', '.join(IMAGE_KEYS[what][0] for what in readings)}"
    )


def _refusal(rows: Sequence[Row], truth: Mapping[str, Any], path: Path, wanted: ImageIds | None) -> str:
    images = truth["images"]
    own = {image["id"] for image in images}
    strangers = [row["image_id"] for row in rows if wanted not in (None, "own") or row["image_id"] not in own]
    said = f" by --image-ids {wanted}" if wanted is not None else ""
    return (
        f"{path}: {len(strangers)} of {len(rows)} rows name {len(set(strangers))} image ids that the dataset does not "
        f"have{said} ({listed(sorted({str(i) for i in strangers}), 5)}); it has {len(own)}: "
        f"{listed([str(image['id']) for image in images], 5)}. Is this the right dataset and --split?"
    )


def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping without the keys that stand for several values."""
    pairs = list(pairs)
    times = Counter(key for key, _ in pairs)
    return {key: value for key, value in pairs if times[key] == 1}
