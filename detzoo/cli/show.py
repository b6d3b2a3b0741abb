"""``detzoo show``: a resolved recipe, where each value came from, and drawings of candidates and matches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    target: Annotated[str, typer.Argument(help="A name from `detzoo list`, or mine.yaml, or mine.yaml#name.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    why: Annotated[bool, typer.Option("--why", help="Show where each value came from.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of YAML.")] = False,
    priors: Annotated[Path | None, typer.Option(help="Draw the candidates of each level to this image.")] = None,
    matches: Annotated[Path | None, typer.Option(help="Draw the matches of this annotated image of --data.")] = None,
    fields: Annotated[
        bool, typer.Option("--receptive-fields", help="Print the receptive field of each level next to its candidates.")
    ] = False,
    data: Annotated[str, typer.Option(help="Dataset for --matches.")] = "shapes",
    out: Annotated[Path, typer.Option(help="Output image of --matches.")] = Path("matches.png"),
) -> None:
    """Print a resolved recipe: every class that will run and every value it runs with."""
    from detzoo.recipes.recipe import load_recipe
    from detzoo.recipes.text import as_json, as_yaml, with_origins

    if priors is not None or matches is not None:
        from detzoo.inspection.matches import draw_matches_of, draw_priors_of

        if priors is not None:
            typer.echo(draw_priors_of(target, set_ or [], priors))
        if matches is not None:
            typer.echo(draw_matches_of(target, set_ or [], data, matches, out))
        return
    if fields:
        from detzoo.inspection.receptive_fields import shown

        typer.echo(shown(target, set_ or []))
        return
    recipe = load_recipe(target, set_)
    typer.echo(as_json(recipe) if json_ else with_origins(recipe) if why else as_yaml(recipe))
