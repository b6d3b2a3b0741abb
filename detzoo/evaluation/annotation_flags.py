"""The flags of a COCO annotation, ``iscrowd`` and ``ignore``, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detzoo.data.formats.values import as_flag, shown
from detzoo.errors import DataError


def is_flagged(annotation: Mapping[str, Any], *keys: str) -> bool:
    """Whether one of some flags of an annotation is set; ``"0"`` and None are not.

    Raises:
        DataError: a value is neither 0 nor 1.
    """
    for key in keys:
        flag = as_flag(annotation.get(key))
        if flag is None:
            own = shown(annotation.get("id"))
            raise DataError(f"ground truth: annotation {own}: {key} must be 0 or 1, not {shown(annotation[key])}")
        if flag:
            return True
    return False
