"""The JSON that manifests store, read into nodes; ``writing.py`` lists its forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from detzoo.errors import PluginError
from detzoo.schema import nodes
from detzoo.schema.describing import shown, unknown
from detzoo.schema.nodes import BOUNDS, LENGTHS, LIMITS, WHOLE, Field, Fields, Node, Schema
from detzoo.schema.yaml_source import Key, show_key

REPAIR: Final = "`detzoo registry sync` writes it again"


class _MalformedError(Exception):
    """A part that cannot be read: where, and what is wrong with it."""

    def __init__(self, key: Key, message: str) -> None:
        super().__init__(message)
        self.key = key


def read_schema(value: Any, where: str, key: Key = ()) -> Schema:
    """The schema of one component.

    Args:
        value: as ``write_schema`` makes it.
        where: ``file:line``, for messages.
        key: where it stands there.

    Raises:
        PluginError: it has a form that this detzoo does not know; with file, line and path.
    """
    try:
        _keys(value, key, required=("supplies", "fields"))
        supplies = _list(value["supplies"], (*key, "supplies"))
        return Schema(tuple(str(name) for name in supplies), _fields(value["fields"], (*key, "fields")))
    except _MalformedError as error:
        path = show_key(error.key)
        raise PluginError(f"{where}: {path}: {error}; {REPAIR}") from None


def _fields(value: Any, key: Key) -> Fields:
    return {name: _field(item, (*key, name)) for name, item in _mapping(value, key).items()}


def _field(value: Any, key: Key) -> Field:
    _keys(value, key, required=("type",), optional=("default",))
    node = _node(value["type"], (*key, "type"))
    return Field(node, value["default"]) if "default" in value else Field(node)


def _node(value: Any, key: Key) -> Node:
    form = _mapping(value, key).get("is")
    if not isinstance(form, str) or form not in _READERS:
        raise _MalformedError(key, unknown("type", str(form), _READERS))
    return _READERS[form](value, key)


def _plain(made: Callable[..., Node], limits: tuple[str, ...] = ()) -> Callable[[dict[str, Any], Key], Node]:
    def read(value: dict[str, Any], key: Key) -> Node:
        _keys(value, key, required=("is",), optional=limits)
        return made(**_limits(value, key))

    return read


def _literal(value: dict[str, Any], key: Key) -> Node:
    _keys(value, key, required=("is", "values"))
    return nodes.Literal(tuple(_list(value["values"], (*key, "values"))))


def _list_of(value: dict[str, Any], key: Key) -> Node:
    _keys(value, key, required=("is", "of"), optional=LENGTHS)
    return nodes.ListOf(_node(value["of"], (*key, "of")), **_limits(value, key))


def _tuple(value: dict[str, Any], key: Key) -> Node:
    if "items" in value:
        _keys(value, key, required=("is", "items"))
        return nodes.FixedTuple(_several(value["items"], (*key, "items")))
    _keys(value, key, required=("is", "of"), optional=LENGTHS)
    return nodes.TupleOf(_node(value["of"], (*key, "of")), **_limits(value, key))


def _dict_of(value: dict[str, Any], key: Key) -> Node:
    _keys(value, key, required=("is", "of"))
    return nodes.DictOf(_node(value["of"], (*key, "of")))


def _union(value: dict[str, Any], key: Key) -> Node:
    _keys(value, key, required=("is", "of"))
    return nodes.Union(_several(value["of"], (*key, "of")))


def _component(value: dict[str, Any], key: Key) -> Node:
    _keys(value, key, required=("is", "kind"), optional=("scope",))
    if not isinstance(value["kind"], str):
        raise _MalformedError((*key, "kind"), f"found {shown(value['kind'])}; expected the name of a kind")
    if "scope" not in value:
        return nodes.ComponentOf(value["kind"])
    scope = value["scope"]
    _keys(scope, (*key, "scope"), required=("num_classes",))
    if type(scope["num_classes"]) is not int:
        raise _MalformedError((*key, "scope"), f"found {shown(scope)}; expected a number of classes")
    return nodes.ComponentOf(value["kind"], nodes.Scope(scope["num_classes"]))


def _settings(value: dict[str, Any], key: Key) -> Node:
    _keys(value, key, required=("is", "fields"))
    return nodes.Settings(_fields(value["fields"], (*key, "fields")))


_READERS: Final[dict[str, Callable[[dict[str, Any], Key], Node]]] = {
    "bool": _plain(nodes.Boolean),
    "int": _plain(nodes.Integer, (*BOUNDS, *WHOLE)),
    "float": _plain(nodes.Number, BOUNDS),
    "str": _plain(nodes.Text, LENGTHS),
    "null": _plain(nodes.Null),
    "any": _plain(nodes.Anything),
    "literal": _literal,
    "list": _list_of,
    "tuple": _tuple,
    "dict": _dict_of,
    "union": _union,
    "component": _component,
    "settings": _settings,
}


def _several(value: Any, key: Key) -> tuple[Node, ...]:
    return tuple(_node(item, (*key, i)) for i, item in enumerate(_list(value, key)))


def _limits(value: dict[str, Any], key: Key) -> dict[str, Any]:
    found: dict[str, Any] = {name: value[name] for name in LIMITS if name in value}
    for name, limit in found.items():
        if type(limit) not in (int, float):
            raise _MalformedError((*key, name), f"found {shown(limit)}; expected a number")
    return found


def _mapping(value: Any, key: Key) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _MalformedError(key, f"found {shown(value)}; expected a mapping")
    return value


def _list(value: Any, key: Key) -> list[Any]:
    if not isinstance(value, list):
        raise _MalformedError(key, f"found {shown(value)}; expected a list")
    return value


def _keys(value: Any, key: Key, *, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Reject a mapping that lacks a key, or has one that nothing here reads."""
    for name in required:
        if name not in _mapping(value, key):
            raise _MalformedError(key, f'missing key "{name}"')
    known = (*required, *optional)
    for name in value:
        if name not in known:
            raise _MalformedError((*key, name), unknown("key", name, known))
