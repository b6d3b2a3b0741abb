"""What components need of those around them: compared by their declared abilities, before anything runs.

When a recipe is read, the words are those of the classes, which ``detzoo registry sync`` has written down. When the
detector is built they are those of its objects: a head that can score in two ways has been set to one of them.

A component asks those that serve the same head, and the one that holds it. A head is whatever gives predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from detzoo.errors import PluginError
from detzoo.feature import SCORES, Abilities, Feature, abilities_of, in_order
from detzoo.recipes.places import Place, places
from detzoo.schema.checking import Problem
from detzoo.schema.yaml_source import Key, Origin

if TYPE_CHECKING:
    from detzoo.plugins.entries import Entry
    from detzoo.plugins.registry import Registry

PREDICTED: Final = frozenset({Feature.CLASS_LOGITS, Feature.QUALITY_LOGITS, Feature.MASK_LOGITS, Feature.DISTRIBUTION})
"""What only heads give."""


def unmet_needs(
    values: Mapping[str, Any],
    registry: Registry,
    marks: Mapping[Key, Origin] | None = None,
    made: Mapping[Key, object] | None = None,
) -> Iterator[Problem]:
    """Every component of a recipe that lacks something of those around it.

    Args:
        values: the recipe's.
        registry: that knows its components.
        marks: where its keys were written, in that order: a child that exchanges the head is told of the head.
        made: the objects by where they stand, the detector's own under (); None compares what the classes declare.
    """
    around = _Surroundings(values, registry, made or {})
    for place in around.places:
        for wanted in _alternatives(around.abilities(place).needs):
            givers = around.givers(place)
            if not any(wanted & around.abilities(giver).gives for giver in givers):
                head = around.head(place)
                heads = [] if head in (None, place) else [head.key] if head else []
                yield Problem(
                    _changed_last(place.key, heads, marks or {}),
                    f'{place.kind} "{place.type}" needs {around.refusal(wanted, givers, head)}',
                )


def heads(registry: Registry) -> list[Entry]:
    """Every component that gives predictions."""
    return [entry for entry in registry.entries() if _gives(entry, registry) & PREDICTED]


def is_head(place: Place, registry: Registry) -> bool:
    """Whether a component gives predictions."""
    return bool(registry.abilities(registry.find(place.kind, place.type)).gives & PREDICTED)


def _gives(entry: Entry, registry: Registry) -> frozenset[str]:
    """What a class gives; nothing where it cannot be loaded, which concerns only those who use it."""
    try:
        return registry.abilities(entry).gives
    except PluginError:
        return frozenset()


class _Surroundings:
    """A recipe's components, and who serves the same head as whom."""

    def __init__(self, values: Mapping[str, Any], registry: Registry, made: Mapping[Key, object]) -> None:
        self.registry, self.made = registry, made
        self.detector = Place("architecture", values["architecture"], (), values, None)
        self.places = places(values, registry)

    def abilities(self, place: Place) -> Abilities:
        """Those of the object, else of the class."""
        return abilities_of(self.made[place.key]) if place.key in self.made else self.declared(place)

    def declared(self, place: Place) -> Abilities:
        """Those of the class."""
        return self.registry.abilities(self.registry.find(place.kind, place.type))

    @cached_property
    def heads(self) -> list[Place]:
        """All that give predictions."""
        return [place for place in self.places if is_head(place, self.registry)]

    def head(self, place: Place) -> Place | None:
        """The head that a component serves: the nearest one, next to it or next to what holds it."""
        serving = [one for one in self.heads if place.key[: len(one.key) - 1] == one.key[:-1]]
        return max(serving, key=lambda one: len(one.key), default=None)

    def holder(self, place: Place) -> Place:
        """The component around a component, else the meta-architecture."""
        inside = [one for one in self.places if len(one.key) < len(place.key) and place.key[: len(one.key)] == one.key]
        return inside[-1] if inside else self.detector

    def givers(self, place: Place) -> list[Place]:
        """Whom a component asks: the head that it serves, all others that serve it, and the one that holds them."""
        head = self.head(place)
        same = [] if head is None else [one for one in self.places if self.head(one) is head and one is not place]
        holder = self.holder(place)
        return [*same, *([] if holder in same else [holder])]

    def refusal(self, wanted: frozenset[str], givers: list[Place], head: Place | None) -> str:
        """``levels, which head "roi_box" does not give; given by head fcos, retinanet``."""
        known: dict[str, list[str]] = {}
        for entry in self.registry.entries():
            if wanted & _gives(entry, self.registry):
                known.setdefault(entry.kind, []).append(entry.name)
        asked = [one for one in givers if one.kind in known] or [head or givers[-1]]
        named = " and ".join(f'{one.kind} "{one.type}"' for one in asked)
        by = "; ".join(f"{kind} {', '.join(sorted(names))}" for kind, names in sorted(known.items()))
        does = "does not" if len(asked) == 1 else "do not"
        if any(wanted & self.declared(one).gives for one in asked):
            named += ", as it is set here," if len(asked) == 1 else ", as they are set here,"
        given = {word for one in asked for word in self.abilities(one).gives}
        instead = f" (but {', '.join(in_order(given & SCORES))})" if wanted <= SCORES and given & SCORES else ""
        what = " or ".join(in_order(wanted))
        return f"{what}, which {named} {does} give{instead}; given by {by or 'nothing installed'}"


def _alternatives(needs: frozenset[str]) -> list[frozenset[str]]:
    """Each need with what would do in its place: of several ways of scoring, one is enough."""
    scores = needs & SCORES
    return [*([scores] if scores else []), *(frozenset({word}) for word in in_order(needs - SCORES))]


def _changed_last(key: Key, heads: list[Key], marks: Mapping[Key, Origin]) -> Key:
    """The component, or its head where another file, or ``--set``, wrote that later."""
    order = list(marks)

    def last(of: Key) -> int:
        return max((i for i, written in enumerate(order) if written[: len(of)] == of), default=-1)

    for head in heads:
        if last(head) > last(key) and (last(key) < 0 or marks[order[last(head)]].file != marks[order[last(key)]].file):
            return head
    return key


__all__ = ["PREDICTED", "heads", "is_head", "unmet_needs"]
