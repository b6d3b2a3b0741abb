"""``detzoo pretrain``: a backbone learns to classify, where there are no pretrained weights to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    backbone: Annotated[str, typer.Argument(help="A backbone: `detzoo list --kind backbone`.")],
    data: Annotated[Path, typer.Option(help="Folder with train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an existing run is never written over.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="size=160, optimizer.lr=0.1, backbone.KEY=...")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Images a step; the learning rate follows.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the best there is without it.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read images.")] = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Run the network in bfloat16.")] = False,
) -> None:
    """Train a backbone as a classifier; writes backbone.safetensors, which backbone.weights of a recipe takes."""
    from detzoo.training.pretrain import pretrain

    try:
        summary = pretrain(
            backbone,
            data,
            out,
            overrides=set_ or (),
            epochs=epochs,
            batch=batch,
            resume=resume,
            device=device,
            workers=workers,
            precision="bf16" if bf16 else "fp32",
        )
    except KeyboardInterrupt as error:
        typer.echo(f"\n{error}" if str(error) else "\nstopped", err=True)
        raise typer.Exit(130) from None
    typer.echo(summary)
