"""``detzoo matrix``: which components work together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[
        Path, typer.Option(help="Output folder of the tables; an interrupted matrix resumes from it.")
    ] = Path("matrix"),
    backbone: Annotated[
        list[str] | None, typer.Option(help="Only combinations with this backbone; may be repeated.")
    ] = None,
    neck: Annotated[list[str] | None, typer.Option(help="Only combinations with this neck; may be repeated.")] = None,
    head: Annotated[list[str] | None, typer.Option(help="Only combinations with this head; may be repeated.")] = None,
    matcher: Annotated[
        list[str] | None, typer.Option(help="Only combinations with this matcher; may be repeated.")
    ] = None,
    loss: Annotated[list[str] | None, typer.Option(help="Only combinations with this loss; may be repeated.")] = None,
    postprocess: Annotated[
        list[str] | None, typer.Option(help="Only combinations with this post-processing; may be repeated.")
    ] = None,
    again: Annotated[
        bool, typer.Option(help="Also retry combinations that have a result; broken ones are always retried.")
    ] = False,
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
        typer.echo("stopped; repeat the command to resume", err=True)
        raise typer.Exit(130)
    if any(row.outcome.status == "broken" for row in done.rows):
        raise typer.Exit(1)
