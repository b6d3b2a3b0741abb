"""What typer, and pydantic below it, say of a command line, in detzoo's words: found, expected, nearest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import typer

from detzoo.errors import shortened
from detzoo.runtime.near_names import near_names, nearest
from detzoo.schema.describing import shown, unknown

UsageError: Final[type[Any]] = typer.BadParameter.__mro__[1]
"""Of the click that this typer brings or uses; it has no name of its own that is public."""
_EXPECTED: Final = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "greater_than_equal": "a number >= {ge}",
    "greater_than": "a number > {gt}",
    "less_than_equal": "a number <= {le}",
    "less_than": "a number < {lt}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
"""By pydantic's names of its errors; what stands in braces is in their context."""
_ONE_OF: Final = re.compile(r"'.*' is not one of (?P<choices>.*?)\.?", re.DOTALL)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the command line that pass get detzoo's words."""
    try:
        yield
    except UsageError as error:
        error.message = shortened(_message(error))
        if isinstance(error, _with_option()):
            error.possibilities = None
        raise


def _with_option() -> type[Any]:
    """The class of errors of an unknown option, of the same click."""
    return next(cls for cls in UsageError.__subclasses__() if cls.__name__ == "NoSuchOption")


def _message(error: Any) -> str:
    text: str = error.message or ""
    if isinstance(error, _with_option()):
        options = [] if error.ctx is None else [name for one in error.ctx.command.params for name in one.opts]
        known = {name.removeprefix("--"): name for name in options if name.startswith("--")}
        near = near_names(error.option_name.removeprefix("--"), known)
        hint = f"; did you mean {' or '.join(known[name] for name in near)}?" if near else ""
        if not near and "set" in known:
            hint = "; settings of the recipe are given as --set, such as --set train.optimizer.lr=0.001 (detzoo show)"
        return f"No such option: {error.option_name}{hint}"
    command = re.match(r"No such command '(.*?)'", text)
    if command is not None and error.ctx is not None:
        return unknown("command", command[1], error.ctx.command.list_commands(error.ctx))
    cause = error.__cause__
    problems = cause.errors() if type(cause).__name__ == "ValidationError" else []
    return "; ".join(_problem(one) for one in problems) if problems else text


def _problem(problem: Mapping[str, Any]) -> str:
    """One entry of pydantic's list."""
    said = str(problem["msg"]).removeprefix("Value error, ")
    choices = _ONE_OF.fullmatch(said)
    if choices is not None:
        names = re.findall(r"'([^']*)'", choices["choices"])
        hint = nearest(str(problem["input"]), names)
        return f"found {shown(problem['input'])}; expected {' or '.join(names)}{f'; {hint}' if hint else ''}"
    expected = _EXPECTED.get(problem["type"])
    if expected is None:
        return said.replace("Input should be", "expected")
    return f"found {shown(problem['input'])}; expected {expected.format_map(problem.get('ctx', {}))}"
