"""``detzoo schema``: JSON Schema of recipe files, for editors."""

from __future__ import annotations

import json

import typer


def command() -> None:
    """Print the JSON Schema of recipe files, with every installed component."""
    from detzoo.recipes.editor_schema import recipe_file_schema

    typer.echo(json.dumps(recipe_file_schema(), indent=2))
