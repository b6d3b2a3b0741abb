"""The command line. Each command is a file in this folder, imported only when it is called."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from functools import cache
from typing import Any, Final

import typer
from typer.core import TyperGroup

from detzoo.errors import DetzooError
from detzoo.runtime.version import __version__

COMMANDS: Final = (
    "list", "show", "diff", "matrix", "plugins", "new-plugin", "registry", "schema",
    "train", "sweep", "eval", "predict", "bench", "compare",
    "data", "proposals", "pretrain", "weights", "export", "doctor", "demo",
)  # fmt: skip
"""In the order of ``detzoo --help``."""
_SHORT: Final = ("list", "show", "diff", "plugins", "new-plugin", "registry", "schema")
"""Short commands run without garbage collection, which takes a tenth of the time of ``detzoo list``."""


class _LazyGroup(TyperGroup):
    """Loads a command's module only when that command runs, or the overview of all is printed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of COMMANDS, then those of plugins."""
        from detzoo.cli.from_plugins import commands

        return [*COMMANDS, *commands(COMMANDS)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a module (its ``app``, or its function ``command``), else a plugin's, else None."""
        if cmd_name not in _SHORT:
            gc.enable()
        if cmd_name not in COMMANDS:
            from detzoo.cli.from_plugins import commands

            return commands(COMMANDS).get(cmd_name)
        return _core_command(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """An unknown command name is reported with the nearest known ones."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from detzoo.schema.describing import unknown

            ctx.fail(unknown("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


@cache
def _core_command(name: str) -> Any:
    module = importlib.import_module(f"detzoo.cli.{name.replace('-', '_')}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name=name)(module.command)
    command = typer.main.get_command(app)
    command.name = name
    return command


app = typer.Typer(
    cls=_LazyGroup,
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # a bug in detzoo itself shows Python's full traceback
)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """A plugin-based zoo of object detectors: list, build, train, evaluate and compare them."""
    if version:
        typer.echo(f"detzoo {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of ``detzoo``: a user's mistake is one message on stderr and exit code 2."""
    gc.disable()
    try:
        app()
    except DetzooError as error:
        if os.environ.get("DETZOO_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.filename is None or os.environ.get("DETZOO_DEBUG") == "1":
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    finally:
        gc.enable()
