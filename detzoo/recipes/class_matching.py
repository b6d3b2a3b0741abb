"""Which of two lists' class names mean the same: equal names first, other spellings only for what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

ALIASES: Final[dict[str, str]] = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""VOC's names that COCO spells otherwise; both sides are looked up, so that either may have either."""

_SAME_LETTERS: Final = 3
_PAIR: Final = 2
_LONGEST: Final = 100


@dataclass(frozen=True)
class NameMatches:
    """For each wanted name, where it stands among the known ones.

    Args:
        places: position among the known names; None where there is no such name.
        respelled: (wanted, known) of the matches between different spellings.
        unclear: (wanted, known names) where several names are spelled alike and none is equal.
    """

    places: tuple[int | None, ...]
    respelled: tuple[tuple[str, str], ...] = ()
    unclear: tuple[tuple[str, tuple[str, ...]], ...] = ()


def spelled_alike(name: str) -> str:
    """A name without case, and with spaces for underscores and hyphens."""
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())


def with_aliases(name: str) -> str:
    """The name under which the spellings of VOC and COCO meet."""
    plain = spelled_alike(name)
    return ALIASES.get(plain, plain)


def match_names(wanted: Sequence[str], known: Sequence[str | None]) -> NameMatches:
    """Find each wanted name among the known ones.

    Equal names are taken first. Of the rest, names that differ in case, spaces, underscores or hyphens are taken for
    the same, and then VOC's and COCO's names of one class; each only where one name on either side can be meant.

    Args:
        wanted: names, each once.
        known: names by position; None is never found.
    """
    places: dict[str, int] = {}
    respelled: list[tuple[str, str]] = []
    unclear: dict[str, tuple[str, ...]] = {}
    equal = {name: place for place, name in enumerate(known) if name is not None}
    for name in wanted:
        if name in equal:
            places[name] = equal[name]
    folds: tuple[Callable[[str], str], ...] = (spelled_alike, with_aliases)
    for fold in folds:
        taken = set(places.values())
        free: dict[str, list[int]] = {}
        for place, other in enumerate(known):
            if other is not None and place not in taken:
                free.setdefault(fold(other), []).append(place)
        left = [name for name in wanted if name not in places and name not in unclear]
        for name in left:
            there = free.get(fold(name), [])
            rivals = [other for other in left if fold(other) == fold(name)]
            if len(there) == 1 and len(rivals) == 1:
                places[name] = there[0]
                respelled.append((name, str(known[there[0]])))
            elif there:
                unclear[name] = tuple(str(known[place]) for place in there)
    return NameMatches(tuple(places.get(name) for name in wanted), tuple(respelled), tuple(unclear.items()))


def near_equal(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of different names that are spelled alike, or that VOC and COCO use for one class."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault(with_aliases(name), {})[name] = None
    return [tuple(group) for group in groups.values() if len(group) > 1]


def one_letter_apart(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that one letter too many, too few, wrong or swapped tells apart: ``queen`` and ``qeen``.

    Digits are left out (``class1`` and ``class2`` are meant), and short words, of which many are neighbours (``cat``,
    ``bat``): three letters must be the same, four where a letter is another one. A plural is meant too.
    """
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(spelled_alike(name), name)
    by_rest: dict[str, list[str]] = {}
    for one in plain:
        if len(one) <= _LONGEST:
            for rest in {one, *(one[:at] + one[at + 1 :] for at in range(len(one)))}:
                by_rest.setdefault(rest, []).append(one)
    pairs = {(a, b): None for near in by_rest.values() for a, b in combinations(near, 2) if _one_slip(a, b)}
    return [(plain[a], plain[b]) for a, b in pairs]


def _one_slip(a: str, b: str) -> bool:
    """Whether one letter is in the way of two names being equal; an s at the end makes a plural, and is meant."""
    same = _common(a, b)
    tail = _common(a[same:][::-1], b[same:][::-1])
    x, y = (name[same : len(name) - tail] for name in (a, b))
    if not (x + y).isalpha():
        return False
    if len(x) + len(y) == 1:
        return same + tail >= _SAME_LETTERS and not (x + y == "s" and tail == 0)
    swapped = len(x) == len(y) == _PAIR and x == y[::-1]
    return (len(x) == len(y) == 1 and same + tail > _SAME_LETTERS) or (swapped and same + tail + 1 >= _SAME_LETTERS)


def _common(a: str, b: str) -> int:
    """Letters that two texts begin with together."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
