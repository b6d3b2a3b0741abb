"""Where two trees of plain values differ: a run and its resume, a file and what is asked of it."""

from __future__ import annotations

from typing import Any


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Where two trees of plain values differ: (path, old, new); tuples equal lists."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [
            item
            for key in keys
            for item in differences(
                old.get(key, "absent"), new.get(key, "absent"), f"{path}.{key}" if path else str(key)
            )
        ]
    # JSON turns tuples to lists
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        return [d for i, (a, b) in enumerate(zip(old, new, strict=True)) for d in differences(a, b, f"{path}[{i}]")]
    return [] if old == new else [(path, old, new)]
