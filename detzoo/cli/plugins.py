"""``detzoo plugins``: installed plugins and their status."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def show(
    ctx: typer.Context,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List plugins with their status; `detzoo plugins check` activates all of them."""
    if ctx.invoked_subcommand is None:
        _print(json_=json_, traces=False)


@app.command()
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Plugins or distributions to run the conformance kit on (default: only load all)."),
    ] = None,
    all_recipes: Annotated[
        bool, typer.Option("--all-recipes", help="Also build and run the recipes that the manifest leaves out.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Load everything that plugins declare, or run the conformance kit on the named ones; exit code 1 on failure."""
    from detzoo.errors import DetzooError
    from detzoo.plugins.naming import plugins_named
    from detzoo.testing.plugin_check import check_all

    if names:
        _conformance(plugins_named(names), all_recipes=all_recipes, json_=json_)
        return
    if all_recipes:
        raise DetzooError("--all-recipes belongs to the conformance kit: name the plugins to check")
    problems = check_all()
    _print(json_=json_, traces=True)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)


def _conformance(plugins: list[str], *, all_recipes: bool, json_: bool) -> None:
    """Print every finding (expected, found, page that explains it), then one line per plugin."""
    from dataclasses import asdict

    from detzoo.testing import findings
    from detzoo.testing.plugin_check import conformance, recipes_not_run, tally

    found = {}
    for plugin in plugins:
        found[plugin] = conformance(plugin, all_recipes=all_recipes)
        if not json_:
            for finding in findings(found[plugin]):
                typer.echo(finding)
            typer.echo(f"{plugin}: {tally(found[plugin])}")
            left = 0 if all_recipes else recipes_not_run(plugin)
            if left:
                typer.echo(f"{plugin}: {left} of its recipes left out; --all-recipes builds and runs them too")
    if json_:
        typer.echo(json.dumps({name: [asdict(one) for one in results] for name, results in found.items()}, indent=2))
    if any(result.bad for results in found.values() for result in results):
        raise typer.Exit(1)


def _print(*, json_: bool, traces: bool) -> None:
    from detzoo.testing.plugin_check import rows

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
