"""What components need of those beside them, and what those give: declared in manifests, checked before the build.

The words are names of fields (``quality_logits``) and of a few properties of what is handed on:

- ``class_logits``, ``quality_logits``, ``mask_logits``: that the head's predictions have them;
- ``one_box``: one box for all classes, not one for each;
- ``levels``: a dense head, whose candidates lie on the maps' grids;
- ``one_grid``: candidates that are the cells of one map;
- ``predictions``: that a matcher is shown what was predicted.

A head whose manifest declares nothing gives ``MINIMUM``. A plugin may use words of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from detzoo.recipes.places import Place, places
from detzoo.schema.expressions import Problem
from detzoo.schema.yaml_source import Key, Mark

if TYPE_CHECKING:
    from detzoo.plugins.registry import Registry

MINIMUM: Final = ("class_logits", "one_box")


def unmet_needs(
    values: Mapping[str, Any], registry: Registry, marks: Mapping[Key, Mark] | None = None
) -> Iterator[Problem]:
    """Every component of a recipe that lacks something of the head that it serves, or of what holds it.

    Args:
        values: the recipe's.
        registry: that knows its components.
        marks: where its keys were written, in that order: a child that exchanges the head is told of the head.
    """
    named = places(values, registry)
    for place in named:
        needs = registry.find(place.kind, place.type).needs
        if not needs:
            continue
        heads = _heads(place, named, head_kinds(registry))
        providers = [*((head.kind, head.type) for head in heads), _holder(place, named, values)]
        given = {word for kind, name in providers for word in gives(kind, name, registry)}
        for word in needs:
            if word not in given:
                beside = " and ".join(f'{kind} "{name}"' for kind, name in providers)
                yield Problem(
                    _changed_last(place.key, [head.key for head in heads], marks or {}),
                    f'{place.kind} "{place.type}" needs {word}, which {beside} {_do(providers)} not give; '
                    f"given by {_who(word, registry)}",
                )


def head_kinds(registry: Registry) -> tuple[str, ...]:
    """Kinds whose components serve what stands beside them as a head does: a plugin's own may say so."""
    return ("head", *(kind.name for kind in registry.plugins.kinds.values() if kind.counts_as == "head"))


def gives(kind: str, name: str, registry: Registry) -> tuple[str, ...]:
    """What a component gives."""
    declared = registry.find(kind, name).gives
    return declared or (MINIMUM if kind in head_kinds(registry) else ())


def _changed_last(key: Key, heads: list[Key], marks: Mapping[Key, Mark]) -> Key:
    """The component, or its head where another file, or ``--set``, wrote that later."""
    order = list(marks)

    def last(of: Key) -> int:
        return max((i for i, written in enumerate(order) if written[: len(of)] == of), default=-1)

    for head in heads:
        if last(head) > last(key) and (last(key) < 0 or marks[order[last(head)]].file != marks[order[last(key)]].file):
            return head
    return key


def _heads(place: Place, named: list[Place], kinds: tuple[str, ...]) -> list[Place]:
    """The head that a component serves: the nearest one, beside it or beside what holds it."""
    around = place.key[:-1]
    serving = [one for one in named if one.kind in kinds and around[: len(one.key) - 1] == one.key[:-1]]
    nearest = max(serving, key=lambda one: len(one.key), default=None)
    return [] if nearest is None or nearest is place else [nearest]


def _holder(place: Place, named: list[Place], values: Mapping[str, Any]) -> tuple[str, str]:
    """The component around a component, else the meta-architecture."""
    around = [one for one in named if len(one.key) < len(place.key) and place.key[: len(one.key)] == one.key]
    return (around[-1].kind, around[-1].type) if around else ("architecture", values["architecture"])


def _do(providers: list[tuple[str, str]]) -> str:
    return "does" if len(providers) == 1 else "do"


def _who(word: str, registry: Registry) -> str:
    """``head fcos, yolo_anchor``."""
    found: dict[str, list[str]] = {}
    for entry in registry.entries():
        if word in gives(entry.kind, entry.id, registry):
            found.setdefault(entry.kind, []).append(entry.name)
    return (
        "; ".join(f"{kind} {', '.join(sorted(names))}" for kind, names in sorted(found.items())) or "nothing installed"
    )


__all__ = ["MINIMUM", "gives", "head_kinds", "unmet_needs"]
