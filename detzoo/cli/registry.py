"""``detzoo registry``: keep manifests and the zoo's index in step with the code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def root() -> None:
    """Keep manifests and the zoo's index in step with the code."""


@app.command()
def sync(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if something would change.")
    ] = False,
    index: Annotated[
        Path | None, typer.Option(help="Index file of the zoo to write; leave it out for your own plugin.")
    ] = None,
) -> None:
    """Write each component's schema into its plugin's manifest, and the index of all plugins."""
    from detzoo.plugins.sync import sync as run

    changed = run(index=index, write=not check)
    for path in changed:
        typer.echo(f"{'differs' if check else 'written'}: {path}")
    if not changed:
        typer.echo("manifests and index are up to date")
    if check and changed:
        raise typer.Exit(1)
