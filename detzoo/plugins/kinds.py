"""Kinds of components: the core's, and those that plugins bring with their manifests.

A kind is an abstract class with ``kind: ClassVar[str]``; a parameter annotated with it takes a built component.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from detzoo.schema.describing import unknown
from detzoo.schema.nodes import Field, Fields, Null, Text, Union

CORE_KINDS: Final = (
    "anchors", "backbone", "box_coder", "box_loss", "class_loss", "head", "architecture", "loss", "mask_head",
    "mask_loss", "matcher", "miner", "neck", "normaliser", "postprocess", "proposals", "proposer", "roi_head",
    "roi_pool", "sampler", "settings", "suppress", "transform",
)  # fmt: skip
_TEXT: Final = Text(min_length=1)
FIELDS: Final[Fields] = {
    "kind": Field(_TEXT),
    "interface": Field(_TEXT),
    "conformance": Field(Union((_TEXT, Null())), default=None),
}


@dataclass(frozen=True)
class OwnKind:
    """A kind that a plugin brings.

    Args:
        plugin: that brings it.
        name: as manifests and recipes' errors write it.
        interface: ``package.module:Class``, abstract, whose ``kind`` is the name.
        conformance: module whose functions ``check_*`` are the kit's checks of such components; None: there are none.
    """

    plugin: str
    name: str
    interface: str
    conformance: str | None = None


def unknown_kind(name: str, known: Iterable[str], zoo: Mapping[str, Any], why_not: Mapping[str, str]) -> str:
    """The sentence for a kind that is not registered.

    Args:
        name: of the kind.
        known: those that are.
        zoo: the zoo's index: plugin -> what it holds.
        why_not: why plugins that are installed are not used, by name.
    """
    for plugin, holds in zoo.items():
        if name in holds.get("kinds", ()):
            distribution = holds["distribution"]
            reason = why_not.get(plugin, f"provided by {distribution}: pip install {distribution}")
            return f'kind "{name}" is not installed; {reason}'
    return unknown("kind", name, known)


__all__ = ["CORE_KINDS", "FIELDS", "OwnKind", "unknown_kind"]
