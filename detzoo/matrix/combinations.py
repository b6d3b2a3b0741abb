"""What is combined with what, and the recipes by which each combination is tried."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from detzoo.matrix.frames import PARTS, Frame, frames
from detzoo.plugins.registry import get_registry
from detzoo.recipes.compatibility import heads

KINDS: Final = ("backbone", "neck", "head", "matcher", "loss", "postprocess")
MOST_ATTEMPTS: Final = 6
"""Starting points that are tried before a combination counts as refused."""


@dataclass(frozen=True)
class Combination:
    """Components that are to work in one detector.

    Args:
        parts: kind -> name; ``backbone``, ``neck`` and ``head``, or two of any kinds.
    """

    parts: Mapping[str, str]

    @property
    def key(self) -> str:
        """``backbone resnet18, neck fpn, head ssd``."""
        return ", ".join(f"{kind} {self.parts[kind]}" for kind in KINDS if kind in self.parts)


@dataclass(frozen=True)
class Start:
    """Where an attempt begins.

    Args:
        frame: the recipe, seen from a head.
        carry: as for ``Frame.swap``.
    """

    frame: Frame
    carry: bool

    def overrides(self, combination: Combination) -> tuple[str, ...]:
        """That put the combination's parts into the recipe."""
        swaps = (self.frame.swap(k, n, carry=self.carry) for k, n in combination.parts.items() if k != "head")
        return tuple(swap for swap in swaps if swap is not None)


def all_combinations() -> list[Combination]:
    """Every backbone x neck x head, then every pair with a matcher, loss or postprocess."""
    names = component_names()
    cube = itertools.product(names["backbone"], names["neck"], names["head"])
    whole = [Combination(dict(zip(KINDS[:3], point, strict=True))) for point in cube]
    kinds = [pair for pair in itertools.combinations(KINDS, 2) if pair[1] in KINDS[3:]]
    return whole + list(_pairs(kinds, names))


def chosen(combinations: Iterable[Combination], only: Mapping[str, tuple[str, ...]]) -> list[Combination]:
    """Those whose components are among the wanted ones of each kind; kinds that are not named stay whole."""
    return [one for one in combinations if all(one.parts.get(kind) in names for kind, names in only.items())]


def _pairs(kinds: Iterable[tuple[str, str]], names: Mapping[str, list[str]]) -> Iterator[Combination]:
    for one, other in kinds:
        for pair in itertools.product(names[one], names[other]):
            yield Combination(dict(zip((one, other), pair, strict=True)))


def component_names() -> dict[str, list[str]]:
    """kind -> every registered name, full where the short one means another; heads of regions are heads."""
    names: dict[str, list[str]] = {}
    registry = get_registry()
    for kind in KINDS:
        of_kind = heads(registry) if kind == "head" else registry.entries(kind)
        names[kind] = sorted(map(registry.canonical, of_kind))
    return names


def starts(combination: Combination) -> list[Start]:
    """Recipes from which a combination is tried: those that hold most of it first.

    A head that is not swapped decides the recipes. Where none is named, every recipe counts that holds a part of it.
    """
    parts = {kind: name for kind, name in combination.parts.items() if kind in PARTS}
    fit = [frame for frame in frames(combination.parts.get("head")) if all(kind in frame.slots for kind in parts)]

    def lacking(frame: Frame) -> tuple[int, bool]:
        held = [frame.has(kind, name) for kind, name in parts.items()]
        return held.count(False), "neck" in parts and not frame.has("neck", parts["neck"])

    if "head" not in combination.parts:
        fit = [frame for frame in fit if lacking(frame)[0] < len(parts)] or fit
    ordered = sorted(fit, key=lacking)
    found: dict[tuple[str, tuple[str, ...]], Start] = {}
    for start in (Start(frame, carry) for frame in ordered for carry in (True, False)):
        found.setdefault((start.frame.recipe, start.overrides(combination)), start)
    return list(found.values())[:MOST_ATTEMPTS]


def no_place(combination: Combination) -> str:
    """Why nothing can be started from: which part no recipe combines with the head."""
    head = combination.parts.get("head")
    if not frames(head):
        return f"no recipe uses head {head}"
    known = {kind for frame in frames(head) for kind in frame.slots}
    lacking = [kind for kind in combination.parts if kind in PARTS and kind not in known]
    beside = f"head {head}" if head else "any head"
    return f"no recipe has a {' or '.join(lacking) or 'place for these parts'} beside {beside}"


__all__ = ["KINDS", "Combination", "Start", "all_combinations", "chosen", "component_names", "no_place", "starts"]
