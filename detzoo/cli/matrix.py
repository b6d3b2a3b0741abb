"""``detzoo matrix``: which components work together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option(help="Folder of the tables; an interrupted matrix goes on.")] = Path("matrix"),
    backbone: Annotated[list[str] | None, typer.Option(help="Only with this one; may be repeated.")] = None,
    neck: Annotated[list[str] | None, typer.Option(help="The same for necks.")] = None,
    head: Annotated[list[str] | None, typer.Option(help="The same for heads.")] = None,
    matcher: Annotated[list[str] | None, typer.Option(help="The same for matchers.")] = None,
    loss: Annotated[list[str] | None, typer.Option(help="The same for losses.")] = None,
    postprocess: Annotated[list[str] | None, typer.Option(help="The same for post-processing.")] = None,
    again: Annotated[bool, typer.Option(help="Try what was tried before, too; what was broken always is.")] = False,
) -> None:
    """Build, train one step and predict with every combination of registered components.

    Every backbone x neck x head, and every pair with a matcher, loss or postprocess: hours for all of them, minutes for
    what one component takes part in (`detzoo matrix --head mine`). The tables show all that the folder holds.
    """
    from detzoo.matrix.run_matrix import MatrixPlan, counted, run

    asked = {
        "backbone": backbone, "neck": neck, "head": head,
        "matcher": matcher, "loss": loss, "postprocess": postprocess,
    }  # fmt: skip
    only = {kind: tuple(names) for kind, names in asked.items() if names}
    done = run(MatrixPlan(out, only, again), lambda line: print(line, file=sys.stderr, flush=True))
    typer.echo(counted(done.rows))
    typer.echo("\n".join(f"wrote {path}" for path in done.files))
    if done.stopped:
        typer.echo("stopped; to go on, repeat the command", err=True)
        raise typer.Exit(130)
    if any(row.outcome.status == "broken" for row in done.rows):
        raise typer.Exit(1)
