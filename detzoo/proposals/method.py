"""A proposal method by name: its parameters checked as a recipe's, every default written out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from detzoo.builder import build_component
from detzoo.plugins.registry import get_registry
from detzoo.recipes.component_values import load_component
from detzoo.recipes.recipe import check_component

if TYPE_CHECKING:
    from detzoo.interfaces import Proposer

KEPT: Final = "kept_boxes"
"""Recorded with a method's own parameters where only the best boxes of an image are kept."""
_BETWEEN: Final = re.compile(r",(?![^\[{]*[\]}])")  # commas outside brackets


@dataclass(frozen=True)
class Method:
    """A registered proposer with its parameters.

    Args:
        name: as registered.
        parameters: all of them, as plain values.
        kept: best boxes of an image that are kept; None for all.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    kept: int | None = None

    @property
    def recorded(self) -> dict[str, Any]:
        """What a file of its proposals says of them."""
        return dict(self.parameters) | ({} if self.kept is None else {KEPT: self.kept})

    def build(self) -> Proposer:
        """The proposer."""
        return cast("Proposer", build_component("proposer", {"type": self.name, **self.parameters}))


def find_method(text: str, overrides: Sequence[str] = (), kept: int | None = None) -> Method:
    """The method that a command line names.

    Args:
        text: ``uniform``, or with parameters ``uniform:count=500,scale=[0.1,1]``.
        overrides: further ``key=value``, which win.
        kept: best boxes of an image that are kept; None for all.

    Raises:
        RecipeError: no such proposer, or parameters that it does not have; the nearest names are in the message.
    """
    name, _, written = text.partition(":")
    inline = [part for part in _BETWEEN.split(written) if part]
    values = load_component("proposer", name, [*inline, *overrides])
    del values["type"]
    return Method(get_registry().canonical(get_registry().find("proposer", name)), values, kept)


def method_of_file(method: str, recorded: Mapping[str, Any]) -> Method | None:
    """The method that made a file, from what the file records; None where it is not installed, or has changed."""
    parameters = dict(recorded)
    kept = parameters.pop(KEPT, None)
    problems = check_component("proposer", {"type": method, **parameters}, (), get_registry())
    return None if problems else Method(method, parameters, kept)
