"""``--set lr=0.01,0.02 --set backbone=resnet18,resnet34``: the grid of overrides, and a name for each of its points."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from detzoo.errors import RecipeError
from detzoo.recipes.short_keys import full_key
from detzoo.schema.yaml_source import parse_value

OPENING: Final = {"[": "]", "{": "}"}
LONGEST_NAME: Final = 120
"""Characters of a run's name; file systems allow 255 bytes, and the names of its files come on top."""


@dataclass(frozen=True)
class Axis:
    """One ``--set``.

    Args:
        typed: the key as it was written, for names.
        key: its full path in the recipe, for overrides.
        texts: its values as they were written, each YAML of its own.
    """

    typed: str
    key: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """One element of the grid.

    Args:
        name: ``lr=0.01,backbone=resnet18``; fit for a folder.
        overrides: ``("train.optimizer.lr=0.01", "backbone.type=resnet18")``.
    """

    name: str
    overrides: tuple[str, ...]


def grid(texts: Sequence[str], recipe: Mapping[str, Any]) -> list[Point]:
    """Every combination of the given values; the last ``--set`` changes fastest.

    Args:
        texts: ``key=a,b,c`` each; commas within brackets, braces or quotes belong to a value.
        recipe: resolved values of the recipe, in which short keys are looked up.

    Raises:
        RecipeError: a text cannot be read, a key or a value stands there twice, or a short key is ambiguous.
    """
    axes = [read_axis(text, recipe) for text in texts]
    keys = [axis.key for axis in axes]
    for axis in axes:
        if keys.count(axis.key) > 1:
            raise RecipeError(
                f"--set {axis.typed}: given more than once; put all of its values into one: --set {axis.typed}=a,b"
            )
    points = []
    for chosen in itertools.product(*(axis.texts for axis in axes)):
        pairs = list(zip(axes, chosen, strict=True))
        overrides = tuple(f"{override_key(axis.key, text, recipe)}={text}" for axis, text in pairs)
        points.append(Point(point_name([(axis.typed, text) for axis, text in pairs]), overrides))
    times = Counter(point.name for point in points)  # a/b and a_b, 1 and "1" are written alike in a folder's name
    return [
        point if times[point.name] == 1 else Point(f"{point.name}~{digest(str(point.overrides))}", point.overrides)
        for point in points
    ]


def read_axis(text: str, recipe: Mapping[str, Any]) -> Axis:
    """``lr=0.01,0.02`` -> its key and values.

    Raises:
        RecipeError: no ``=``, a missing value, the same value twice, or a value that is not YAML.
    """
    typed, equals, right = text.partition("=")
    typed = typed.strip()
    if not equals or not typed:
        raise RecipeError(f"--set {text}: expected key=value,value,... for example --set lr=0.001,0.01")
    texts = split_values(right, typed)
    values = [parse_value(value, f"--set {typed}") for value in texts]
    for place, value in enumerate(values):
        # true == 1 in Python
        if any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values[:place]):
            raise RecipeError(f"--set {text}: {texts[place]} is given twice; each value makes one run")
    return Axis(typed, full_key(typed, recipe, f"--set {typed}"), tuple(texts))


def split_values(text: str, key: str) -> list[str]:
    """Cut at the commas outside of brackets, braces and quotes.

    Raises:
        RecipeError: a value is empty, or a bracket or quote is not closed.
    """
    parts, start = [], 0
    for at in outer_commas(text, key):
        parts.append(text[start:at].strip())
        start = at + 1
    parts.append(text[start:].strip())
    if "" in parts:
        raise RecipeError(
            f"--set {key}={text}: value {parts.index('') + 1} of {len(parts)} is empty; write null for none, "
            'or "" for an empty text'
        )
    return parts


def outer_commas(text: str, key: str) -> Iterator[int]:
    """Positions of the commas that separate values."""
    open_: list[str] = []
    quote = ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and (at == 0 or text[at - 1] in " ,[{:"):
            quote = char  # within a word it is an apostrophe
        elif char in OPENING:
            open_.append(OPENING[char])
        elif open_ and char == open_[-1]:
            open_.pop()
        elif char == "," and not open_:
            yield at
    if quote or open_:
        raise RecipeError(f"--set {key}={text}: {(quote or open_[-1])!r} is missing at the end")


def override_key(key: str, text: str, recipe: Mapping[str, Any]) -> str:
    """A word for a component names its type: ``backbone=resnet18`` means ``backbone.type=resnet18``."""
    here: Any = recipe
    for part in key.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    named = isinstance(here, Mapping) and "type" in here
    return f"{key}.type" if named and isinstance(parse_value(text, f"--set {key}"), str) else key


def point_name(pairs: Sequence[tuple[str, str]]) -> str:
    """A name for a folder: a long one is cut and made unique by a digest, unwritable characters become ``_``."""
    name = ",".join(f"{key}={value_label(key, text)}" for key, text in pairs) or "as-it-is"
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 9]}~{digest(name)}"
    return re.sub(r"[^\w.,+=~\[\]-]", "_", name)


def value_label(key: str, text: str) -> str:
    """A value in a name: words and numbers as written, lists joined by x, mappings by their type."""
    value = parse_value(text, f"--set {key}")
    if isinstance(value, dict):
        named = str(value.get("type", "mapping"))
        return named if set(value) == {"type"} else f"{named}~{digest(text)}"
    if isinstance(value, list):
        plain = all(isinstance(v, int | float | str) for v in value)
        return "x".join(str(v) for v in value) if value and plain else f"list~{digest(text)}"
    return text.strip("'\"") or "empty"


def digest(text: str) -> str:
    """Eight letters that tell texts apart; spaces do not count."""
    return hashlib.sha256(re.sub(r"\s+", "", text).encode()).hexdigest()[:8]
