"""``detzoo diff``: how two recipes, runs or results differ."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    a: Annotated[str, typer.Argument(help="A name, a recipe file, a run folder, or a results.json.")],
    b: Annotated[str, typer.Argument(help="What to compare it with.")],
) -> None:
    """Print the settings in which two recipes or runs differ; for runs and results also curves and metrics."""
    from detzoo.experiments.run_diff import contrast

    typer.echo(contrast(a, b))
