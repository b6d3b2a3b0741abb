"""``detzoo plugins``: what is installed and in which state."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def show(
    ctx: typer.Context,
    json_: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """List plugins with their status; `detzoo plugins check` activates all of them."""
    if ctx.invoked_subcommand is None:
        _print(json_=json_, traces=False)


@app.command()
def check(json_: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False) -> None:
    """Activate every plugin and load every component; leave with exit code 1 if one fails."""
    from detzoo.plugin_check import check_all

    problems = check_all()
    _print(json_=json_, traces=True)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)


def _print(*, json_: bool, traces: bool) -> None:
    from detzoo.plugin_check import rows

    found = rows()
    if json_:
        typer.echo(json.dumps(found, indent=2))
        return
    for row in found:
        typer.echo(f"{row['name']:<12} {row['status']:<13} {row['distribution']:<24} {row['holds']}")
        if row["message"]:
            typer.echo(f"    {row['message']}")
        if traces and row["trace"]:
            typer.echo("".join(f"    {line}\n" for line in row["trace"].splitlines()), nl=False)
