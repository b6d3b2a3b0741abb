"""Merging recipes. One parent, root first; five rules, no deletion mark.

1. A mapping that writes ``type`` is a new component and replaces the inherited one whole.
2. A mapping without ``type`` edits the inherited mapping key by key, recursively.
3. Everything else (scalar, list, null) replaces.
4. ``reported``, ``weights``, ``summary`` and ``paper`` of a detector are never inherited.
5. ``a[2].b`` on the command line edits an existing element.

A layer that writes ``num_classes`` and no ``classes`` drops inherited class names of another number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from detzoo.errors import RecipeError
from detzoo.recipes.class_names import SETS
from detzoo.schema.describing import shown
from detzoo.schema.yaml_source import MAX_DEPTH, Key, Origin, parse_value, show_key

NOT_INHERITED: Final = ("reported", "weights", "summary", "paper")
_PART = re.compile(r"([^.\[\]]+)((?:\[[0-9]{1,9}\])*)")
_LONGEST_PATH: Final = 100


@dataclass(frozen=True)
class Layer:
    """One step of a chain: a zoo recipe, a file's recipe, or one override."""

    value: Any
    marks: dict[Key, Origin]
    label: str


@dataclass
class Merged:
    """The result so far, with the mark of every key that some layer wrote, and what was dropped on the way."""

    value: Any = field(default_factory=dict)
    marks: dict[Key, Origin] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def inherit(self) -> None:
        """Forget what a child does not inherit."""
        for name in NOT_INHERITED:
            if (value := self.value.pop(name, None)) is not None:
                self._forget((name,), value)

    def add(self, layer: Layer) -> None:
        """Merge one layer over the result."""
        self.value = self._merge(self.value, layer.value, (), layer.marks)
        if "num_classes" in layer.value and "classes" not in layer.value:
            self._drop_class_names(layer.marks[("num_classes",)])

    def override(self, path: str, value: Any, *, written: str | None = None) -> None:
        """Merge one ``--set path=value``.

        Args:
            path: of the key.
            value: new.
            written: how the user wrote the key, for messages; ``--set path`` where None.

        Raises:
            RecipeError: the path cannot be read, or names an element that does not exist.
        """
        mark = Origin(written or f"--set {shown_path(path)}")
        keys = _parse_path(path, str(mark))
        last = max((i for i, key in enumerate(keys) if isinstance(key, int)), default=-1)
        head, tail = keys[: last + 1], keys[last + 1 :]
        marks = {head + tail[:i]: mark for i in range(len(tail) + 1)}
        marks |= {head + tail + inner: mark for inner in keys_in(value)}
        for key in reversed(tail):
            value = {key: value}
        self.value = self._edit(self.value, head, value, marks, str(mark), ())
        if keys == ("num_classes",):
            self._drop_class_names(mark)

    def _drop_class_names(self, mark: Origin) -> None:
        """Another number of classes makes inherited names meaningless, unless it is their number."""
        names, number = self.value.get("classes"), self.value["num_classes"]
        names = SETS.get(names, ()) if isinstance(names, str) else names
        if names and isinstance(names, (list, tuple)) and len(names) != number:
            self._forget(("classes",), self.value["classes"])
            self.value = self.value | {"classes": None}
            self.marks[("classes",)] = mark
            self.dropped.append(f"{mark}: num_classes is {shown(number)}; dropped: the {len(names)} inherited classes")

    def _edit(self, base: Any, head: Key, value: Any, marks: dict[Key, Origin], written: str, at: Key) -> Any:
        """Walk down ``head`` to an existing element, copying what lies on the way, and merge there."""
        if not head:
            return self._merge(base, value, at, marks)
        key, here = head[0], (*at, head[0])
        if isinstance(key, int):
            if not isinstance(base, list):
                raise RecipeError(f"{written}: {show_key(at)} is not a list")
            if key >= len(base):
                raise RecipeError(f"{written}: {show_key(at)} has {len(base)} elements, so [{key}] does not exist")
            return [self._edit(v, head[1:], value, marks, written, here) if i == key else v for i, v in enumerate(base)]
        if not isinstance(base, dict) or key not in base:
            raise RecipeError(f"{written}: {show_key(here)} does not exist")
        return {k: self._edit(v, head[1:], value, marks, written, here) if k == key else v for k, v in base.items()}

    def _merge(self, base: Any, new: Any, key: Key, marks: dict[Key, Origin]) -> Any:
        if isinstance(base, dict) and isinstance(new, dict) and "type" not in new:
            merged = dict(base)
            for name, value in new.items():
                merged[name] = self._merge(base.get(name), value, (*key, name), marks)
            if key in marks and key not in self.marks:
                self.marks[key] = marks[key]
            return merged
        if isinstance(base, dict) and base:
            kept = new if isinstance(new, dict) else {}
            lost = [name for name in base if name not in kept and name != "type"]
            if lost:
                where = marks.get(key, Origin("?"))
                self.dropped.append(f"{where}: {show_key(key)} is replaced; dropped: {', '.join(lost)}")
        self._forget(key, base)
        written = (key, *((*key, *inner) for inner in keys_in(new)))
        self.marks |= {k: marks[k] for k in written if k in marks}
        return new

    def _forget(self, key: Key, value: Any) -> None:
        """Remove the marks of a key and of everything inside its value; all marks are looked through for none."""
        self.marks.pop(key, None)
        for inner in keys_in(value):
            self.marks.pop((*key, *inner), None)


def parse_override(text: str) -> tuple[str, Any]:
    """``a.b=1e-3`` -> (path, value); the value is read as YAML.

    Raises:
        RecipeError: there is no ``=``.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set {shown_path(text)}: expected key=value, for example --set loss.box.type=giou")
    return path, parse_value(value, f"--set {shown_path(path)}")


def _parse_path(path: str, written: str) -> Key:
    keys: list[str | int] = []
    for part in path.split("."):
        match = _PART.fullmatch(part)
        if match is None:
            raise RecipeError(f"{written}: cannot be read as a path; expected for example train.transforms[0].p")
        keys.append(match[1])
        keys += [int(i) for i in re.findall(r"[0-9]+", match[2])]
    if len(keys) > MAX_DEPTH:
        raise RecipeError(f"{written}: {len(keys)} keys deep; a recipe is at most {MAX_DEPTH} deep")
    return tuple(keys)


def shown_path(path: str) -> str:
    """A path of an override for a message: no control characters, and not longer than a line."""
    text = path.encode("unicode_escape").decode() if not path.isprintable() else path
    return text if len(text) <= _LONGEST_PATH else f"{text[:_LONGEST_PATH]}... ({len(text)} characters)"


def keys_in(value: Any) -> list[Key]:
    """Every path inside a value, of any depth: what holds another stands before it."""
    found: list[Key] = []
    left: list[tuple[Any, Key]] = [(value, ())]
    while left:
        node, key = left.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        inside = [(child, (*key, name)) for name, child in items]
        found += [path for _, path in inside]
        left += reversed(inside)
    return found
