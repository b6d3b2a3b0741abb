"""Where a resolved recipe names components: found by their schemas, so that a plugin's own kinds are found too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detzoo.schema.yaml_source import Key

if TYPE_CHECKING:
    from detzoo.plugins.registry import Registry


@dataclass(frozen=True)
class Place:
    """One component of a resolved recipe.

    Args:
        kind: of the component.
        type: its name, as the recipe writes it.
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
        """Whether it is the component of a kind with a short name."""
        return self.kind == kind and self.type.rpartition("/")[2] == name.rpartition("/")[2]


def places(values: Mapping[str, Any], registry: Registry | None = None) -> list[Place]:
    """Every component of a resolved recipe, in the order in which the build makes them, those of training last."""
    if registry is None:
        from detzoo.plugins.registry import get_registry

        registry = get_registry()
    slots = registry.schema(registry.find("architecture", values["architecture"]))["fields"]
    plan = registry.schema(registry.find("settings", "train"))["fields"]
    search = _Search(registry)
    return [*search.fields(slots, values, (), None), *search.fields(plan, values.get("train") or {}, ("train",), None)]


@dataclass(frozen=True)
class _Search:
    registry: Registry

    def fields(
        self, fields: Mapping[str, Any], values: Mapping[str, Any], key: Key, classes: int | None
    ) -> Iterator[Place]:
        for name, item in fields.items():
            yield from self.value(item["type"], values.get(name), (*key, name), classes)

    def value(self, expr: Mapping[str, Any], value: Any, key: Key, classes: int | None) -> Iterator[Place]:
        form = expr["is"]
        if form == "component" and isinstance(value, Mapping):
            classes = expr.get("scope", {}).get("num_classes", classes)
            yield Place(expr["kind"], value["type"], key, value, classes)
            schema = self.registry.schema(self.registry.find(expr["kind"], value["type"]))
            yield from self.fields(schema["fields"], value, key, classes)
        elif form == "settings" and isinstance(value, Mapping):
            yield from self.fields(expr["fields"], value, key, classes)
        elif form == "union":
            for member in expr["of"]:
                yield from self.value(member, value, key, classes)
        elif form in ("list", "tuple") and isinstance(value, list | tuple):
            members = expr.get("items") or [expr["of"]] * len(value)
            for i, (member, one) in enumerate(zip(members, value, strict=False)):
                yield from self.value(member, one, (*key, i), classes)
        elif form == "dict" and isinstance(value, Mapping):
            for name, one in value.items():
                yield from self.value(expr["of"], one, (*key, name), classes)
