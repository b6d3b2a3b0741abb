"""Where a resolved recipe names components: found by their schemas, so that a plugin's own kinds are found too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detzoo.schema.nodes import Fields
from detzoo.schema.searching import components_in
from detzoo.schema.yaml_source import Key

if TYPE_CHECKING:
    from detzoo.plugins.registry import Registry


@dataclass(frozen=True)
class Place:
    """One component of a resolved recipe.

    Args:
        kind: of the component.
        type: its name: the one by which a user means it, full where the short one means another.
        key: where it stands.
        values: its configuration, with its type.
        num_classes: K as it is supplied there: an RPN's head knows one class, object. None is the recipe's own.
    """

    kind: str
    type: str
    key: Key
    values: Mapping[str, Any]
    num_classes: int | None

    def is_of(self, kind: str, name: str) -> bool:
        """Whether it is the component of a kind with a name, as ``Registry.canonical`` gives it."""
        return self.kind == kind and self.type == name


def places(values: Mapping[str, Any], registry: Registry | None = None) -> list[Place]:
    """Every component of a resolved recipe, in the order in which the build makes them, those of training last."""
    if registry is None:
        from detzoo.plugins.registry import get_registry

        registry = get_registry()
    slots = registry.schema(registry.find("architecture", values["architecture"])).fields
    plan = registry.schema(registry.find("settings", "train")).fields
    return [
        *_inside(slots, values, (), None, registry),
        *_inside(plan, values.get("train") or {}, ("train",), None, registry),
    ]


def _inside(
    fields: Fields, values: Mapping[str, Any], key: Key, classes: int | None, registry: Registry
) -> Iterator[Place]:
    for name, item in fields.items():
        for node, value, at in components_in(item.type, values.get(name), (*key, name)):
            if isinstance(value, Mapping):  # None where the component is optional
                here = classes if node.scope is None else node.scope.num_classes
                yield Place(node.kind, value["type"], at, value, here)
                schema = registry.schema(registry.find(node.kind, value["type"]))
                yield from _inside(schema.fields, value, at, here, registry)
