"""Values that nobody expects, and trees of JSON and YAML with one of them in some place."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from typing import Any, Final

DIGITS: Final = "<5000 digits>"
"""Becomes a whole number that long once the tree is text: Python itself would not write one."""
DEEP: Final = {"<deep>": 3000, "<less deep>": 900, "<just deep>": 300}
"""Become lists in lists: deeper than any parser goes by recursion, and as deep as what reads its result may not go."""
NUMBERS: Final = (
    0, -1, 1, 2, -0.0, 0.5, 1.5, 1e-320, 1e6, 1e9, 1e18, -1e18, 1e308, -1e308, math.nan, math.inf, -math.inf,
    2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400, DIGITS,
)  # fmt: skip
TEXTS: Final = (
    "", " ", "0", "1", "-1", "2.0", "nan", "inf", "-inf", "1e400", "true", "no", "null", "²", "١", "0x10", "1_000",
    "a", "é", "名前", "\ud800", "\0", "\x85", "\n", "\u2028", "a" * 300, "x" * 70_000, "/", "..", "../../x.png",
    "/etc/passwd", "/dev/zero", "C:\\images\\a.png", "images\\a.png", "http://[::1/x.png", "a.png/b", "%00", "~",
    "$HOME", "a,b", "a:b", "a/b", "a#b", "a.b", "[0]", "{}", "=cmd|' /C calc'!A0", "<b>x</b>", "9" * 40, ".",
    "a" * 5000,
)  # fmt: skip
OTHERS: Final[tuple[Any, ...]] = (
    None, True, False, [], {}, [[]], [{}], [None], [0], [1, 2], ["a"], {"a": 1}, {"": None}, {"type": "a"}, [[1, 2], 3],
    [0] * 1000, *DEEP,
)  # fmt: skip
Place = tuple[Any, Any]
"""A container, and the key or index of a value in it."""


def places(tree: Any) -> Iterator[Place]:
    """Every value below the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from places(value)


def strange(rng: random.Random) -> Any:
    """One value, of any type."""
    return copy.deepcopy(rng.choice(rng.choice((NUMBERS, TEXTS, OTHERS))))


def change_tree(rng: random.Random, tree: Any) -> tuple[Any, str]:
    """The tree with one change, and what it was.

    Args:
        rng: decides.
        tree: plain values; changed in place.
    """
    found = list(places(tree))
    if not found or rng.random() < 0.01:
        value = strange(rng)
        return value, f"all is {value!r:.60}"
    holder, key = rng.choice(found)
    old = holder[key]
    what = rng.choice(_CHANGES if isinstance(old, int | float | str) else _STRUCTURAL)
    if what == "strange":
        holder[key] = strange(rng)
    elif what == "near":
        holder[key] = near(rng, old)
    elif what == "wrap":
        holder[key] = rng.choice(([old], {"x": old}, [old] * 3))
    elif what == "swap":
        other, place = rng.choice(found)
        holder[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(old)
    elif what == "delete":
        del holder[key]
        return tree, f"{key!r} deleted"
    elif isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(old))
        return tree, f"element {key} twice"
    elif rng.random() < 0.5:
        holder[str(strange(rng))] = holder.pop(key)
        return tree, f"{key!r} has another name"
    else:
        holder[str(strange(rng))] = strange(rng)
        return tree, f"a key next to {key!r}"
    return tree, f"{what}: {key!r} is {holder.get(key) if isinstance(holder, dict) else holder[key]!r:.60}"


_CHANGES: Final = ("strange", "strange", "near", "near", "wrap", "swap", "delete", "other")
_STRUCTURAL: Final = ("strange", "wrap", "swap", "delete", "other", "other")


def near(rng: random.Random, value: Any) -> Any:
    """A value of the same or a similar type."""
    if isinstance(value, str):
        return rng.choice((value + " ", value.upper(), value[:-1], value * 2, value + "\0", [value], value[::-1]))
    number = float(value)
    options = (-number, number * 1e6, number / 1e3, number + 0.5, number + 1, str(value), f" {value} ", [value], number)
    whole = (value - 1, value + 1, value * 2, value * 1000) if type(value) is int else ()
    return rng.choice((*options, *whole))


def fitting(rng: random.Random, value: Any) -> Any:
    """Another value of the same type, which may do as well; nothing stays nothing, or becomes a small number."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice((-value, -1, 1, 2, 7, value, 1000))
    if isinstance(value, float):
        return value * rng.choice((0.5, 2.0, 0.9, 1.1, 0.0, -1.0, 1e3, 1e-3))
    if isinstance(value, str):
        return rng.choice((value, "none", "batch", "relu", "silu", "image", "giou", "l1", "after", "sgd", "step"))
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        other = [fitting(rng, value[at])] * rng.choice((0, 1, 1, 1, 2))
        return [*value[:at], *other, *value[at + 1 :]]
    if isinstance(value, dict) and value:
        key = rng.choice([key for key in value if key != "type"] or list(value))
        kept = {name: one for name, one in value.items() if name != key}
        return kept if rng.random() < 0.3 else kept | {key: fitting(rng, value[key])}
    return rng.choice((value, 0, 1, 0.5, 2))


def as_text(text: str) -> str:
    """The text of a tree, its placeholders filled in."""
    for quote in ('"', "'", ""):
        text = text.replace(f"{quote}{DIGITS}{quote}", "9" * 5000)
        for name, depth in DEEP.items():
            text = text.replace(f"{quote}{name}{quote}", "[" * depth + "]" * depth)
    return text
