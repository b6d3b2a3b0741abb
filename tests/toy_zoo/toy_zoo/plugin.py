"""Hooks of the toy plugin: one extra command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detzoo.plugins import hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def detzoo_cli(commands: typer.Typer) -> None:
    """Add ``detzoo toy-greet``."""

    @commands.command("toy-greet")
    def greet(name: str = "zoo") -> None:
        """Say hello from a plugin."""
        print(f"hello {name}")
