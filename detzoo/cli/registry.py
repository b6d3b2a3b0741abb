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
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Plugins or distributions (default: all that are installed with `pip install -e`)."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if something would change.")
    ] = False,
    index: Annotated[
        Path | None, typer.Option(help="Index file of the zoo to write; leave it out for your own plugin.")
    ] = None,
) -> None:
    """Write what the classes of your plugins tell (kind, name, signature) next to their manifests."""
    from detzoo.errors import PluginError
    from detzoo.plugins.sync import sync as run

    done = run(names or [], index=index, write=not check)
    for path in done.changed:
        typer.echo(f"{'differs' if check else 'written'}: {path}")
    if done.problems:
        raise PluginError("\n".join(done.problems))
    if not done.changed:
        typer.echo(f"up to date: {', '.join(done.plugins)}")
    if check and done.changed:
        raise typer.Exit(1)
