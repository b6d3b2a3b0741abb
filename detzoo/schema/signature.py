"""From a class to the schema of its configuration: the signature is the schema.

Keyword-only parameters are the keys; positional-only parameters are supplied by the build, by name.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Union

from pydantic.fields import FieldInfo

from detzoo.errors import PluginError
from detzoo.schema.expressions import BOUNDS, Fields, TypeExpr

SUPPLIES: Final = ("features", "num_classes", "input_size")
"""Names of positional-only parameters that the build can supply."""


@dataclass(frozen=True)
class Scope:
    """Written in ``Annotated[Head, Scope(num_classes=1)]``: what is supplied differently below this parameter."""

    num_classes: int


def schema_of(cls: type[Any]) -> dict[str, Any]:
    """The schema of a component or settings class.

    Returns:
        ``{"supplies": [...], "fields": {...}}``; see ``schema.py``.

    Raises:
        PluginError: a parameter cannot be configured from YAML.
    """
    if dataclasses.is_dataclass(cls):
        return {"supplies": [], "fields": _dataclass_fields(cls)}
    where = f"{cls.__module__}:{cls.__qualname__}"
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if owner is object or owner.__module__.startswith("torch."):  # the class adds no constructor of its own
        return {"supplies": [], "fields": {}}
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
    return {"supplies": supplies, "fields": fields}


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


def _field(hint: Any, default: Any, empty: Any, where: str) -> dict[str, Any]:
    field: dict[str, Any] = {"type": _expr(hint, where)}
    if default is not empty:
        if default is not None and field["type"]["is"] == "component":
            name, interface = where.rpartition("(")[2].rstrip(")"), getattr(hint, "__name__", hint)
            raise PluginError(
                f"{where}: a component has no default, so that the recipe names every class; "
                f"write `{name}: {interface}` or `{name}: {interface} | None = None`"
            )
        field["default"] = plain(default)
    return field


def plain(value: Any) -> Any:
    """A default as YAML would hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def _expr(hint: Any, where: str) -> TypeExpr:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _annotated(args, where)
    if hint is None or hint is type(None):
        return {"is": "null"}
    if hint in (bool, int, float, str):
        return {"is": hint.__name__}
    if origin is Literal:
        return {"is": "literal", "values": list(args)}
    if origin in (Union, types.UnionType):
        return {"is": "union", "of": [_expr(a, where) for a in args]}
    if origin is list:
        return {"is": "list", "of": _expr(args[0], where)}
    if origin is tuple:
        if args[-1] is Ellipsis:
            return {"is": "tuple", "of": _expr(args[0], where)}
        return {"is": "tuple", "items": [_expr(a, where) for a in args]}
    if origin is dict and args[0] is str:
        return {"is": "dict", "of": _expr(args[1], where)}
    kind = getattr(hint, "kind", None)
    if isinstance(hint, type) and isinstance(kind, str):
        return {"is": "component", "kind": kind}
    if dataclasses.is_dataclass(hint):
        return {"is": "settings", "fields": _dataclass_fields(typing.cast("type[Any]", hint))}
    raise PluginError(
        f"{where}: the annotation {_written(hint)} cannot be configured from YAML; allowed: bool, int, float, str, "
        "Literal, list[...], tuple[...], dict[str, ...], None, frozen dataclasses, and detzoo's interfaces"
    )


def _written(hint: Any) -> str:
    if not isinstance(hint, type) or typing.get_args(hint):
        return repr(hint)
    return hint.__qualname__ if hint.__module__ == "builtins" else f"{hint.__module__}.{hint.__qualname__}"


def _annotated(args: tuple[Any, ...], where: str) -> TypeExpr:
    expr = dict(_expr(args[0], where))
    for extra in args[1:]:
        if isinstance(extra, Scope):
            expr["scope"] = {"num_classes": extra.num_classes}
        elif isinstance(extra, FieldInfo):
            for rule in extra.metadata:
                expr |= {b: getattr(rule, b) for b in BOUNDS if getattr(rule, b, None) is not None}
    return expr
