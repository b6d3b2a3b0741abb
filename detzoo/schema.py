"""The schema of a component's configuration: JSON that says what each key may hold.

It is derived from the class (``signature.py``), written into the plugin's manifest by ``detzoo registry sync``, and
read back here without importing torch. pydantic checks the values; this module turns its findings into sentences.

Type expressions, all plain JSON::

    {"is": "bool" | "int" | "float" | "str" | "null"}        with ge, gt, le, lt, min_length, max_length where they hold
    {"is": "literal", "values": [...]}
    {"is": "list" | "dict", "of": T}      {"is": "tuple", "items": [T, ...]}      {"is": "tuple", "of": T}
    {"is": "union", "of": [T, ...]}       {"is": "component", "kind": "head", "scope": {"num_classes": 1}}
    {"is": "settings", "fields": {name: {"type": T, "default": value}}}
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from detzoo.yaml_source import Key

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

_PLAIN: Final[dict[str, type]] = {"bool": bool, "int": int, "float": float, "str": str}
_NOUNS: Final = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text", "null": "null"}
_SIGNS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: where (a path of keys) and what."""

    key: Key
    message: str


def nearest(name: str, known: Iterable[str]) -> str:
    """`` did you mean "x"?`` for the closest known names, else an empty string."""
    close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(json.dumps(c) for c in close)}?" if close else ""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is not among the known ones."""
    names = sorted(known)
    hint = nearest(name, names)
    allowed = f"allowed: {', '.join(names)}" if names else "nothing is allowed here"
    return f'unknown {what} "{name}"; {hint + " " if hint else ""}{allowed}'


def shown(value: Any) -> str:
    """A value as YAML would write it, shortened."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


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
        return f"a {expr['kind']}, written as {{type: NAME, ...}}"
    if form == "settings":
        return f"a mapping with the keys {', '.join(expr['fields'])}"
    if form == "dict":
        return f"a mapping whose values are {describe(expr['of'])}"
    if "items" in expr:
        return f"a list of {len(expr['items'])}: {', '.join(describe(item) for item in expr['items'])}"
    least = f" of at least {expr['min_length']}" if expr.get("min_length") else ""
    return f"a list{least}, each {describe(expr['of'])}"


def check_fields(fields: Fields, config: dict[str, Any], key: Key, *, what: str) -> list[Problem]:
    """Compare a mapping with the fields it may have; nested components are not entered.

    Args:
        fields: name -> {"type": T, "default": value if it has one}.
        config: the mapping, without its ``type``.
        key: where it stands.
        what: ``head "ssd"``, for messages.
    """
    try:
        _model(fields).model_validate(config)
    except ValidationError as error:
        found: dict[Key, Problem] = {}
        for item in error.errors(include_url=False):
            problem = _problem(fields, config, key, item, what)
            found.setdefault(problem.key, problem)
        return list(found.values())
    return []


def json_schema(fields: Fields) -> dict[str, Any]:
    """JSON Schema of a mapping with these fields, for editors."""
    return _model(fields).model_json_schema()


def components_in(expr: TypeExpr, value: Any, key: Key) -> Iterator[tuple[TypeExpr, Any, Key]]:
    """Every place inside ``value`` where ``expr`` expects a component, with what stands there."""
    form = expr["is"]
    if form == "component":
        yield expr, value, key
    elif form == "union" and value is not None:
        for member in expr["of"]:
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


def _problem(fields: Fields, config: dict[str, Any], key: Key, item: Any, what: str) -> Problem:
    loc, kind = item["loc"], item["type"]
    if kind in ("extra_forbidden", "missing"):
        inside = _at(fields, loc[:-1])
        names = inside["fields"] if inside["is"] == "settings" else fields
        where = what if len(loc) == 1 else f"`{loc[-2]}`"
        if kind == "missing":
            wanted = describe(names[loc[-1]]["type"])
            return Problem((*key, *loc[:-1]), f'missing key "{loc[-1]}" of {where}; expected {wanted}')
        return Problem((*key, *loc), unknown(f"key of {where}:", str(loc[-1]), names).replace(': "', ' "', 1))
    path, expr = _reach({"is": "settings", "fields": fields}, loc)
    value: Any = config
    for part in path:
        value = value[part]
    return Problem((*key, *path), f"found {shown(value)}; expected {describe(expr)}")


def _at(fields: Fields, loc: tuple[Any, ...]) -> TypeExpr:
    return _reach({"is": "settings", "fields": fields}, loc)[1]


def _reach(expr: TypeExpr, loc: tuple[Any, ...]) -> tuple[tuple[Any, ...], TypeExpr]:
    """Follow pydantic's location as far as it names places in the value rather than members of a union."""
    path: tuple[Any, ...] = ()
    for part in loc:
        inner = _unwrap(expr)
        form = inner["is"]
        if form == "settings" and part in inner["fields"]:
            expr = inner["fields"][part]["type"]
        elif form in ("list", "tuple") and isinstance(part, int):
            items = inner.get("items")
            if items is not None and part >= len(items):
                break
            expr = items[part] if items else inner["of"]
        elif form == "dict" and isinstance(part, str) and part != "[key]":
            expr = inner["of"]
        else:
            break
        path = (*path, part)
    return path, _unwrap(expr) if len(path) < len(loc) and _unwrap(expr)["is"] == "settings" else expr


def _unwrap(expr: TypeExpr) -> TypeExpr:
    """``T | None`` -> T; other unions stay."""
    if expr["is"] == "union":
        members = [m for m in expr["of"] if m["is"] != "null"]
        if len(members) == 1:
            return _unwrap(members[0])
    return expr


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


def _model(fields: Fields) -> type[BaseModel]:
    """The pydantic model of a set of fields; keys are aliases, so that any name can be one."""
    definitions: dict[str, Any] = {}
    for i, (name, field) in enumerate(fields.items()):
        default = field.get("default", ...)
        definitions[f"field_{i}"] = (_annotation(field["type"]), Field(default=default, alias=name))
    return create_model("Configuration", __base__=_Strict, **definitions)


def _annotation(expr: TypeExpr) -> Any:
    form = expr["is"]
    bounds = {b: expr[b] for b in BOUNDS if b in expr}
    if form in _PLAIN:
        extra: dict[str, Any] = {"allow_inf_nan": False} if form == "float" else {}
        return Annotated[_PLAIN[form], Field(strict=True, **bounds, **extra)]
    if form == "null":
        return None
    if form == "literal":
        return Literal[tuple(expr["values"])]
    if form == "union":
        return Union[tuple(_annotation(member) for member in expr["of"])]  # noqa: UP007 - members known at run time
    if form == "component":
        return Annotated[Any, Field(json_schema_extra={"$ref": f"#/$defs/{expr['kind']}"})]
    if form == "settings":
        return _model(expr["fields"])
    if form == "dict":
        return dict[str, _annotation(expr["of"])]  # type: ignore[misc]
    if "items" in expr:
        return tuple[tuple(_annotation(item) for item in expr["items"])]  # type: ignore[misc]
    return Annotated[list[_annotation(expr["of"])], Field(**bounds)]  # type: ignore[misc]
