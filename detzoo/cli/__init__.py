"""The command line. Each command is a file in this folder, imported only when it is called."""

from __future__ import annotations

import errno
import gc
import importlib
import io
import logging
import os
import sys
import warnings
from functools import cache
from typing import Any, Final

import typer
from typer.core import TyperGroup

from detzoo.errors import DetzooError, MachineError, shortened
from detzoo.runtime.machine_failures import machine_failure
from detzoo.runtime.version import __version__

COMMANDS: Final = (
    "list", "show", "diff", "matrix", "plugins", "new-plugin", "registry", "schema",
    "train", "sweep", "eval", "predict", "bench", "compare",
    "data", "proposals", "pretrain", "weights", "export", "push", "doctor", "demo",
)  # fmt: skip
"""In the order of ``detzoo --help``."""
_SHORT: Final = ("list", "show", "diff", "plugins", "new-plugin", "registry", "schema")
"""Short commands run without garbage collection, which takes a tenth of the time of ``detzoo list``."""

_NEXT_STEPS: Final = {
    errno.EACCES: "; change its permissions (`chmod`, `chown`), or name another place",
    errno.EPERM: "; change its permissions (`chmod`, `chown`), or name another place",
    errno.EROFS: "; name a place on another disk",
    errno.ENOENT: "; correct the path, or make its folder first",
    errno.ENOTDIR: "; a part of the path is a file; name another place",
    errno.ENAMETOOLONG: "; choose a shorter name",
}


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

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The options before the command's name."""
        from detzoo.cli.usage import translated

        with translated():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """A reader of the output that has ended is told here: click would leave without a word."""
        from detzoo.cli.usage import translated

        try:
            with translated():
                result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()  # while a failure can still be told
        except BrokenPipeError:
            raise MachineError(
                "standard output: the program that reads it has ended; not everything was printed"
            ) from None
        return result


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
    """Entry point of ``detzoo``: one message on stderr, with exit code 2 for a user's mistake, 1 for the machine's."""
    gc.disable()
    _tell_plainly()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold bytes that are no letters
    try:
        app()
    except Exception as error:
        told = _told(error)
        if told is None or os.environ.get("DETZOO_DEBUG") == "1":
            raise
        message, code = told
        _leave(message, code)
    finally:
        gc.enable()


def _tell_plainly() -> None:
    """Python's warnings, and those of loggers, are told as errors are: no long names, no control characters."""
    warnings.showwarning = lambda message, *_, **__: _write(f"warning: {message}")
    logging.lastResort = _Plain(logging.WARNING)


class _Plain(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _write(self.format(record))


def _write(text: str) -> None:
    from detzoo.runtime.report_text import terminal_text

    if sys.stderr is not None:
        sys.stderr.write(terminal_text(shortened(text)) + "\n")


def _told(error: Exception) -> tuple[str, int] | None:
    """The message and the exit code of an error; None for a bug of ours, which shows its traceback."""
    if isinstance(error, DetzooError):
        return str(error), error.exit_code
    place = "" if not isinstance(error, OSError) or error.filename is None else f"{error.filename}: "
    reason = machine_failure(error)
    if reason is not None:
        if isinstance(error, OSError) and error.filename2 is not None:  # of a copy: the one that is written
            place = f"{error.filename2}: "
        return shortened(
            f"{place}{reason}; what was being written is not complete. Mend this and repeat the command"
        ), 1
    if isinstance(error, OSError) and place:
        return shortened(f"{place}{error.strerror}{_NEXT_STEPS.get(error.errno or 0, '')}"), 2
    return None


def _leave(message: str, code: int) -> None:
    from detzoo.runtime.report_text import terminal_text

    for stream, text in ((sys.stdout, ""), (sys.stderr, terminal_text(f"error: {message}\n"))):
        try:
            if stream is not None:
                stream.write(text)
                stream.flush()
        except OSError:  # a full device or a closed pipe: Python would try, and fail, once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)
