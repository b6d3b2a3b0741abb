"""``detzoo push``: upload a trained detector to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(  # typer turns parameters into options: their order means nothing
    run: Annotated[Path, typer.Argument(help="A run folder or a checkpoint.")],
    target: Annotated[str, typer.Argument(help="hf:OWNER/NAME, a model repository; made if it is not there.")],
    licence: Annotated[str | None, typer.Option(help="Of the weights, as the Hub writes it: apache-2.0, mit.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="results.json for the card (default: the one in the run folder).")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Detections are drawn on it for the card; it is uploaded so.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="A repository that is made may be seen by all (default: private).")
    ] = False,
    onto: Annotated[
        str | None, typer.Option(help="The commit whose files may be replaced, if you did not push it from here.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Name what would be uploaded, and send no request.")
    ] = False,
) -> None:
    """Upload weights, recipe, class names, results and a model card. `detzoo.load("hf:OWNER/NAME")` reads them."""
    from detzoo.publishing.push import prepare_push, push

    prepared = prepare_push(run, target, licence=licence, results=results, image=image)
    for line in prepared.lines():
        typer.echo(line)
    if licence is None:
        typer.echo("no licence was given, and the card says so: nobody may use the weights. Give --licence", err=True)
    if dry_run:
        typer.echo("nothing was sent (--dry-run)")
        return
    typer.echo(f"uploading to {target}; a repository that is made is {'public' if public else 'private'}", err=True)
    typer.echo(f"pushed: {target}@{push(prepared, onto=onto, public=public)}")
