"""From a class to the schema of its configuration: the signature is the schema.

Keyword-only parameters are the keys; positional-only parameters are supplied by the build, by name.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from typing import Annotated, Any, Final

from pydantic.fields import FieldInfo

from detzoo.errors import PluginError
from detzoo.schema import nodes
from detzoo.schema.nodes import BOUNDS, LENGTHS, LIMITS, WHOLE, Field, Fields, Node, Schema, Scope

SUPPLIES: Final = ("features", "num_classes", "input_size")
"""Names of positional-only parameters that the build can supply."""

_SCALARS: Final[tuple[tuple[Any, Node], ...]] = (
    (bool, nodes.Boolean()),
    (int, nodes.Integer()),
    (float, nodes.Number()),
    (str, nodes.Text()),
    (None, nodes.Null()),
    (type(None), nodes.Null()),
)


def schema_of(cls: type[Any]) -> Schema:
    """The schema of a component or settings class.

    Raises:
        PluginError: a parameter cannot be configured from YAML.
    """
    if dataclasses.is_dataclass(cls):
        return Schema(fields=_dataclass_fields(cls))
    where = f"{cls.__module__}:{cls.__qualname__}"
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if owner is object or owner.__module__.startswith("torch."):  # the class adds no constructor of its own
        return Schema()
    hints = _hints(cls.__init__, where)
    supplies: list[str] = []
    fields: Fields = {}
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        name = parameter.name
        if parameter.kind is parameter.POSITIONAL_ONLY:
            if name not in SUPPLIES:
                raise PluginError(
                    f'{where}: positional-only parameter "{name}" cannot be supplied; known: {", ".join(SUPPLIES)}'
                )
            supplies.append(name)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if name not in hints:
                raise PluginError(f'{where}: parameter "{name}" has no type annotation')
            fields[name] = _field(hints[name], parameter.default, parameter.empty, f"{where}({name})")
        elif parameter.kind is parameter.VAR_KEYWORD:
            raise PluginError(
                f"{where}: **{name} takes any key; write each key out, so that a misspelt one is an error"
            )
        else:
            raise PluginError(
                f'{where}: parameter "{name}" must be keyword-only (after `*`): it is a key of the recipe'
            )
    return Schema(tuple(supplies), fields)


def _hints(function: Any, where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise PluginError(
            f"{where}: an annotation cannot be resolved at run time ({error}); import it outside TYPE_CHECKING"
        ) from None


def _dataclass_fields(cls: type[Any]) -> Fields:
    hints = _hints(cls, cls.__qualname__)
    fields: Fields = {}
    for item in dataclasses.fields(cls):
        default = item.default
        if item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        fields[item.name] = _field(hints[item.name], default, dataclasses.MISSING, f"{cls.__qualname__}({item.name})")
    return fields


def _field(hint: Any, default: Any, empty: Any, where: str) -> Field:
    node = _node(hint, where)
    if default is empty:
        return Field(node)
    if default is not None and isinstance(node, nodes.ComponentOf):
        name, interface = where.rpartition("(")[2].rstrip(")"), getattr(hint, "__name__", hint)
        raise PluginError(
            f"{where}: a component has no default, so that the recipe names every class; "
            f"write `{name}: {interface}` or `{name}: {interface} | None = None`"
        )
    return Field(node, plain(default))


def plain(value: Any) -> Any:
    """A default as YAML would hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def _node(hint: Any, where: str) -> Node:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _annotated(args, where)
    for scalar, node in _SCALARS:
        if hint is scalar:
            return node
    if origin is typing.Literal:
        return nodes.Literal(args)
    if origin in (typing.Union, types.UnionType):
        return nodes.Union(tuple(_node(member, where) for member in args))
    if origin is list:
        return nodes.ListOf(_node(args[0], where))
    if origin is tuple:
        if args[-1] is Ellipsis:
            return nodes.TupleOf(_node(args[0], where))
        return nodes.FixedTuple(tuple(_node(item, where) for item in args))
    if origin is dict and args[0] is str:
        return nodes.DictOf(_node(args[1], where))
    kind = getattr(hint, "kind", None)
    if isinstance(hint, type) and isinstance(kind, str):
        return nodes.ComponentOf(kind)
    if dataclasses.is_dataclass(hint):
        cls = typing.cast("type[Any]", hint)
        return nodes.Settings(_dataclass_fields(cls), cls)
    raise PluginError(
        f"{where}: the annotation {_written(hint)} cannot be configured from YAML; allowed: bool, int, float, str, "
        "Literal, list[...], tuple[...], dict[str, ...], None, frozen dataclasses, and interfaces of kinds"
    )


def _written(hint: Any) -> str:
    if not isinstance(hint, type) or typing.get_args(hint):
        return repr(hint)
    return hint.__qualname__ if hint.__module__ == "builtins" else f"{hint.__module__}.{hint.__qualname__}"


def _annotated(args: tuple[Any, ...], where: str) -> Node:
    node = _node(args[0], where)
    for extra in args[1:]:
        if isinstance(extra, Scope) and isinstance(node, nodes.ComponentOf):
            node = dataclasses.replace(node, scope=extra)
        elif isinstance(extra, FieldInfo):
            node = _limited(node, extra, where)
    return node


def _limited(node: Node, info: FieldInfo, where: str) -> Node:
    """The node with the bounds that pydantic's ``Field`` states; one that would not be checked is an error."""
    takes = {item.name for item in dataclasses.fields(node)}
    limits: dict[str, Any] = {}
    for rule in info.metadata:
        stated = {name: limit for name in LIMITS if (limit := getattr(rule, name, None)) is not None}
        if not stated or not stated.keys() <= takes:
            raise PluginError(
                f"{where}: {rule!r} would not be checked; allowed: {', '.join(BOUNDS)} on a number, "
                f"{', '.join(WHOLE)} on a whole one, {', '.join(LENGTHS)} on text or a list of any length"
            )
        limits |= stated
    return dataclasses.replace(node, **limits)
