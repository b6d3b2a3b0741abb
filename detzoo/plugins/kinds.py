"""Kinds of components: the core's, and those that plugins bring with their manifests.

A kind is an abstract class with ``kind: ClassVar[str]``; a parameter annotated with it takes a built component.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from detzoo.schema.checking import Problem
from detzoo.schema.describing import shown, unknown
from detzoo.schema.nodes import Field, Fields, Null, Text, Union
from detzoo.schema.yaml_source import Key

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


def check_kinds(kinds: list[dict[str, Any]]) -> list[Problem]:
    """What is wrong with the checked value of ``kinds:``."""
    problems = []
    for i, item in enumerate(kinds):
        name, key = item["kind"], ("kinds", i)
        if not name.isidentifier():
            told = f"found {shown(name)}; expected a name of letters, digits and _"
            problems.append(Problem((*key, "kind"), told))
        if name in CORE_KINDS:
            problems.append(Problem((*key, "kind"), f'"{name}" is one of detzoo\'s own kinds; choose another name'))
        if name in [other["kind"] for other in kinds[:i]]:
            problems.append(Problem(key, f'kind "{name}" is declared twice'))
        problems += check_target(item["interface"], (*key, "interface"))
    return problems


def check_target(target: str, key: Key) -> list[Problem]:
    """A problem where a target is not ``package.module:Class``."""
    if target.count(":") == 1:
        return []
    return [Problem(key, f'found {shown(target)}; expected "package.module:Class"')]


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


__all__ = ["CORE_KINDS", "FIELDS", "OwnKind", "check_kinds", "check_target", "unknown_kind"]
