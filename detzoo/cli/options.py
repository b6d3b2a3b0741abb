"""Options of a command, made from the fields of a dataclass, which holds their names, types, limits and help once."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection
from typing import Annotated, Any, Final, Literal, get_origin, get_type_hints

import typer

GROUPS: Final = (
    "Groups of images that intervals resample as a whole, in place of the data.yaml's: folder, a .csv of image,group, "
    "a regular expression for the file name with one part in brackets, or none."
)
NAMES: Final = {"overrides": "--set"}
"""Options with another name on the command line."""


def with_options(
    *options: type, arguments: Collection[str] = (), leave_out: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the last parameter of a command, ``**given``, by options made from dataclasses.

    Args:
        options: the dataclasses.
        arguments: fields that are arguments.
        leave_out: fields that the command does not offer.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        there = {*leave_out, *(parameter.name for parameter in own)}
        made = [
            _parameter(one, source, one.name in arguments)
            for source in options
            for one in dataclasses.fields(source)
            if one.name not in there
        ]
        # arguments come first, in the order of the usage line, then required options
        first = sorted([*own, *made], key=lambda parameter: parameter.default is not inspect.Parameter.empty)
        parameters = sorted(first, key=lambda parameter: parameter.name not in arguments)
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _parameter(one: dataclasses.Field[Any], options: type, argument: bool) -> inspect.Parameter:
    hint = _plain(get_type_hints(options)[one.name])
    text = first_sentences(options)[one.name]
    extra: dict[str, Any] = {name: one.metadata[name] for name in ("min", "max") if name in one.metadata}
    name = NAMES.get(one.name, "--" + one.name.replace("_", "-"))
    names = (name,) if hint is bool or one.name in NAMES else ()
    mark = typer.Argument(help=text) if argument else typer.Option(*names, help=text, **extra)
    required = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else one.default if hint != list[str] else [],
        annotation=Annotated[hint, mark],
    )


def _plain(hint: Any) -> Any:
    """Literals become plain strings, which the dataclass checks; tuples of strings, repeated options."""
    if get_origin(hint) is Literal:
        return str
    if hint == tuple[str, ...]:
        return list[str]
    return hint


def first_sentences(options: type) -> dict[str, str]:
    """The first sentence of each entry below ``Args:`` in a dataclass's docstring, its parents' among them."""
    found: dict[str, str] = {}
    for one in reversed(options.__mro__):
        entries = inspect.getdoc(one) or ""
        body = entries.partition("Args:\n")[2].partition("\nRaises:")[0]
        for name, text in re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", body, re.MULTILINE):
            found[name] = re.split(r"(?<=\.)\s", " ".join(text.split()))[0]
    return found
