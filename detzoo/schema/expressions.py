"""The schema of a component's configuration: JSON that says what each key may hold.

It is derived from the class (``signature.py``), written into the plugin's manifest by ``detzoo registry sync``, and
read back here without importing torch. Values are checked against it directly: making a pydantic model costs more than
the whole of ``detzoo list``, and its errors do not say which key of which component is meant. The models that
``editor_schema.py`` derives from the same expressions accept the same values, which a test compares.

Type expressions, all plain JSON::

    {"is": "bool" | "int" | "float" | "str" | "null"}        with ge, gt, le, lt, min_length, max_length where they hold
    {"is": "literal", "values": [...]}
    {"is": "list" | "dict", "of": T}      {"is": "tuple", "items": [T, ...]}      {"is": "tuple", "of": T}
    {"is": "union", "of": [T, ...]}       {"is": "component", "kind": "head", "scope": {"num_classes": 1}}
    {"is": "settings", "fields": {name: {"type": T, "default": value}}}
    {"is": "any"}        in manifests alone: keys of a component, which are checked when it is built
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from detzoo.schema.yaml_source import Key, show_key

TypeExpr: TypeAlias = dict[str, Any]
Fields: TypeAlias = dict[str, dict[str, Any]]

BOUNDS: Final = ("ge", "gt", "le", "lt", "min_length", "max_length")
BACKBONE_KEYS: Final[Fields] = {
    "weights": {"type": {"is": "union", "of": [{"is": "str"}, {"is": "null"}]}, "default": None},
    "freeze": {
        "type": {"is": "union", "of": [{"is": "bool"}, {"is": "list", "of": {"is": "str"}}]},
        "default": False,
    },
}
"""Keys that every backbone has and the build reads itself: where its weights lie, what of it is not trained."""
_SHARE: Final[TypeExpr] = {"is": "float", "ge": 0, "le": 1}
TRANSFORM_KEYS: Final[Fields] = {
    "active": {"type": {"is": "tuple", "items": [_SHARE, _SHARE]}, "default": [0.0, 1.0]},
}
"""The key that every transform has: the share of the training in which it is used, from and up to."""
RESERVED_KEYS: Final[dict[str, Fields]] = {"backbone": BACKBONE_KEYS, "transform": TRANSFORM_KEYS}
"""By kind: the keys that the build reads itself."""

_PLAIN: Final[dict[str, type]] = {"bool": bool, "int": int, "float": float, "str": str}
_NOUNS: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "null": "null",
    "any": "anything",
}
_SIGNS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: where (a path of keys) and what."""

    key: Key
    message: str


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean "x"?`` for the closest known names, else an empty string."""
    close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(json.dumps(c) for c in close)}?" if close else ""


def unknown(what: str, name: str, known: Iterable[str], *, of: str = "") -> str:
    """The sentence for a name that is not among the known ones."""
    names = sorted(known)
    hint = nearest(name, names)
    allowed = f"allowed: {', '.join(names)}" if names else "it has no keys"
    return f"unknown {what} {shown(name)}{' of ' + of if of else ''}; {hint + ' ' if hint else ''}{allowed}"


def shown(value: Any, *, limit: int | None = 60) -> str:
    """A value as YAML would write it, shortened to ``limit`` characters."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if limit is None or len(text) <= limit else text[: limit - 3] + "..."


def describe(expr: TypeExpr) -> str:
    """What a type expression allows, in words."""
    form = expr["is"]
    bounds = " and ".join(f"{_SIGNS[b]} {expr[b]:g}" for b in _SIGNS if b in expr)
    if form in _NOUNS:
        return f"{_NOUNS[form]} {bounds}".rstrip()
    if form == "literal":
        return "one of " + ", ".join(shown(v) for v in expr["values"])
    if form == "union":
        return " or ".join(describe(member) for member in expr["of"])
    if form == "component":
        return f"{'an' if expr['kind'][0] in 'aeiou' else 'a'} {expr['kind']} component: {{type: NAME, ...}}"
    if form == "settings":
        return f"a mapping with the keys {', '.join(expr['fields'])}"
    if form == "dict":
        return f"a mapping, each value {describe(expr['of'])}"
    if "items" in expr:
        return f"a list of {len(expr['items'])}: {', '.join(describe(item) for item in expr['items'])}"
    least = f" of at least {expr['min_length']}" if expr.get("min_length") else ""
    return f"a list{least}, each element {describe(expr['of'])}"


def check_fields(fields: Fields, config: dict[str, Any], key: Key, *, what: str) -> list[Problem]:
    """Compare a mapping with the fields it may have; nested components are not entered.

    Args:
        fields: name -> {"type": T, "default": value if it has one}.
        config: the mapping, without its ``type``.
        key: where it stands.
        what: ``head "ssd"``, for messages.
    """
    return list(_mapping_problems(fields, config, key, what))


def fits(expr: TypeExpr, value: Any) -> bool:
    """Whether a value is allowed; whatever stands where a component belongs is."""
    return next(_problems(expr, value, ()), None) is None


def components_in(expr: TypeExpr, value: Any, key: Key) -> Iterator[tuple[TypeExpr, Any, Key]]:
    """Every place inside ``value`` where ``expr`` expects a component, with what stands there."""
    form = expr["is"]
    if form == "component":
        yield expr, value, key
    elif form == "union":
        for member in expr["of"] if value is not None else ():
            yield from components_in(member, value, key)
    elif form in ("list", "tuple") and isinstance(value, list):
        inner = expr.get("items") or [expr["of"]] * len(value)
        for i, (member, element) in enumerate(zip(inner, value, strict=False)):
            yield from components_in(member, element, (*key, i))
    elif form == "dict" and isinstance(value, dict):
        for name, element in value.items():
            yield from components_in(expr["of"], element, (*key, name))
    elif form == "settings" and isinstance(value, dict):
        for name, field in expr["fields"].items():
            if name in value:
                yield from components_in(field["type"], value[name], (*key, name))


def _mapping_problems(fields: Fields, config: dict[str, Any], key: Key, what: str) -> Iterator[Problem]:
    for name, value in config.items():
        if name not in fields:
            yield Problem((*key, name), unknown("key", name, fields, of=what))
        else:
            yield from _problems(fields[name]["type"], value, (*key, name))
    for name, item in fields.items():
        if name not in config and "default" not in item:
            yield Problem(key, f'missing key "{name}" of {what}; expected {describe(item["type"])}')


def _problems(expr: TypeExpr, value: Any, key: Key) -> Iterator[Problem]:
    form = expr["is"]
    if form in ("component", "any") or _scalar_fits(expr, value):
        return
    inner = _meant(expr, value) if form == "union" else expr
    if inner is None:
        if not any(fits(member, value) for member in expr["of"]):
            yield _refused(expr, value, key)
    elif inner["is"] == "settings" and isinstance(value, dict):
        yield from _mapping_problems(inner["fields"], value, key, show_key(key))
    elif inner["is"] == "dict" and isinstance(value, dict):
        for name, element in value.items():
            yield from _problems(inner["of"], element, (*key, name))
    elif inner["is"] in ("list", "tuple") and isinstance(value, list) and _sized(inner, value):
        for i, element in enumerate(value):
            yield from _problems(inner["items"][i] if "items" in inner else inner["of"], element, (*key, i))
    elif inner["is"] != "component":
        yield _refused(expr, value, key)


def _refused(expr: TypeExpr, value: Any, key: Key) -> Problem:
    expected = describe(expr)
    if isinstance(value, float) and not math.isfinite(value):
        expected = expected.replace("a number", "a finite number")
    return Problem(key, f"found {shown(value)}; expected {expected}")


def _meant(union: TypeExpr, value: Any) -> TypeExpr | None:
    """The member that a list or mapping is meant for, where only one can take it: its inner errors are the clearest."""
    forms = ("settings", "dict", "component") if isinstance(value, dict) else ("list", "tuple")
    able = [m for m in union["of"] if m["is"] in forms] if isinstance(value, (dict, list)) else []
    return able[0] if len(able) == 1 else None


def _scalar_fits(expr: TypeExpr, value: Any) -> bool:
    """Whether ``expr`` is a scalar's and allows the value; bool is no number, and a whole number is a float too."""
    form = expr["is"]
    if form == "literal":
        return any(value == v and type(value) is type(v) for v in expr["values"])
    if form not in _PLAIN:
        return form == "null" and value is None
    if type(value) is not _PLAIN[form] and not (form == "float" and type(value) is int):
        return False
    if isinstance(value, str):
        return _sized(expr, value)
    assert isinstance(value, (bool, int, float))
    low, high = expr.get("ge", value), expr.get("le", value)
    above, below = "gt" not in expr or value > expr["gt"], "lt" not in expr or value < expr["lt"]
    return bool(math.isfinite(value) and low <= value <= high and above and below)


def _sized(expr: TypeExpr, value: str | list[Any]) -> bool:
    if "items" in expr:
        return len(value) == len(expr["items"])
    return bool(expr.get("min_length", 0) <= len(value) <= expr.get("max_length", len(value)))
