"""The command line. Each command is a file of this folder, imported when it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from detzoo import __version__
from detzoo.errors import DetzooError

COMMANDS: Final = (
    "list", "show", "diff", "plugins", "registry", "schema",
    "train", "eval", "predict", "bench", "compare", "data", "weights", "doctor", "demo",
)  # fmt: skip
"""In the order of ``detzoo --help``."""


class _LazyGroup(TyperGroup):
    """Loads a command's module only when that command, or the help of all, is wanted."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a module: its ``app``, or its function ``command``."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"detzoo.cli.{cmd_name}")
        app = getattr(module, "app", None)
        if app is None:
            app = typer.Typer(add_completion=False, rich_markup_mode=None)
            app.command(name=cmd_name)(module.command)
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command


app = typer.Typer(cls=_LazyGroup, add_completion=True, no_args_is_help=True, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    """A plugin-based zoo of object detectors: list, build, train, evaluate and compare them in one way."""
    if version:
        typer.echo(f"detzoo {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of ``detzoo``: a user's mistake is one message on stderr and exit code 2."""
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
