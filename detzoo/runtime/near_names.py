"""Which name was probably meant: the one place where messages get their suggestions."""

from __future__ import annotations

import difflib
import itertools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

_MOST: Final = 3
_LONGEST: Final = 200
"""Letters of a name; the comparison takes the square of them, and nobody types more."""
_SHORTEST_PART: Final = 3
_OF_PATHS: Final = 0.75
"""Likeness of paths: endings are alike anyway."""
_LOOKED_AT: Final = 1000
"""Files of a folder."""


def near_names(name: str, known: Iterable[str], *, most: int = _MOST, likeness: float = 0.6) -> list[str]:
    """The known names that are most like another, the most alike first; case, ``-`` and ``_`` mean little.

    Names that begin with the given one, then those that differ in a few letters; else those that contain it.

    Args:
        name: that is not known.
        known: names.
        most: of the result.
        likeness: 0..1, as ``difflib`` measures it: twice the letters in common by the letters of both.
    """
    plain: dict[str, list[str]] = {}
    for one in sorted(set(known)):
        plain.setdefault(_plain(one), []).append(one)
    wanted = _plain(name)
    if len(wanted) > _LONGEST:
        return []
    longer = sorted((one for one in plain if wanted in one), key=len) if len(wanted) >= _SHORTEST_PART else []
    close = [one for one in longer if one.startswith(wanted)]
    close += difflib.get_close_matches(wanted, plain, n=most, cutoff=likeness)
    return [one for key in dict.fromkeys(close or longer) for one in plain[key]][:most]


def nearest(name: str, known: Iterable[str], *, most: int = _MOST) -> str:
    """``did you mean "x"?`` for the closest known names, else an empty string."""
    close = near_names(name, known, most=most)
    return f"did you mean {' or '.join(json.dumps(c, ensure_ascii=False) for c in close)}?" if close else ""


def nearest_path(path: Path, fits: Callable[[Path], bool] = lambda _: True) -> str:
    """``nearest`` for a path at which nothing stands: what lies beside it.

    Args:
        path: of nothing.
        fits: whether something could have been meant.
    """
    try:
        with os.scandir(path.parent) as entries:
            beside = [path.parent / entry.name for entry in itertools.islice(entries, _LOOKED_AT)]
        names = {one.name: str(one) for one in beside if not one.name.startswith(".") and fits(one)}
    except OSError:  # no such folder, or not ours to list
        return ""
    close = near_names(path.name, names, likeness=_OF_PATHS)
    return (
        f"did you mean {' or '.join(json.dumps(names[name], ensure_ascii=False) for name in close)}?" if close else ""
    )


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")
