"""``detzoo pretrain``: train a backbone as a classifier, where no pretrained weights exist."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from detzoo.cli.options import with_options
from detzoo.training.options import TrainOptions


@with_options(TrainOptions, leave_out=["minutes", "compile", "progress", "checkpoint_seconds"])
def command(
    backbone: Annotated[str, typer.Argument(help="A backbone: `detzoo list --kind backbone`.")],
    data: Annotated[Path, typer.Option(help="Folder with train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg.")],
    out: Annotated[Path, typer.Option(help="Output folder of the run; an existing run is never overwritten.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="size=160, optimizer.lr=0.1, backbone.KEY=...")
    ] = None,
    **given: Any,
) -> None:
    """Train a backbone as a classifier; writes backbone.safetensors for the recipe key backbone.weights."""
    from detzoo.training.pretraining import pretrain

    try:
        done = pretrain(backbone, data, out, overrides=set_ or (), **given)
    except KeyboardInterrupt as error:
        typer.echo(f"\n{error}" if str(error) else "\nstopped", err=True)
        raise typer.Exit(130) from None
    typer.echo(done)
