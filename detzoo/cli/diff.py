"""``detzoo diff``: how two recipes differ."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    a: Annotated[str, typer.Argument(help="A name, a recipe file, or a run folder.")],
    b: Annotated[str, typer.Argument(help="What to compare it with.")],
) -> None:
    """Print the keys in which two resolved recipes differ."""
    from detzoo.recipe_text import difference, recipe_of

    typer.echo(difference(recipe_of(a), recipe_of(b)))
