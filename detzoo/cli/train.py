"""``detzoo train``: train a detector by its recipe's plan on one's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(  # noqa: PLR0917  # typer turns parameters into options: their order means nothing
    target: Annotated[str, typer.Argument(help="A name from `detzoo list`, or a recipe file.")],
    data: Annotated[str, typer.Option(help="data.yaml, a COCO json, a VOC or YOLO folder, or `shapes`.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an existing run is never written over.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value of the recipe; may be repeated.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Replaces the recipe's length.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="The same, in optimiser steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images a step; the learning rate follows.")] = None,
    accumulate: Annotated[int | None, typer.Option(min=1, help="Parts into which a step is cut.")] = None,
    train_split: Annotated[str | None, typer.Option(help="train, train+val, ...")] = None,
    val_split: Annotated[
        str | None, typer.Option(help="Evaluated after each epoch, or `none`; val or test without it.")
    ] = None,
    weights: Annotated[str, typer.Option(help="backbone, published, none, or a file.")] = "backbone",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the best there is without it.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that load images.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replaces the recipe's.")] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the network first.")] = False,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="NHWC memory layout.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard files.")] = False,
    checkpoint_steps: Annotated[int | None, typer.Option(min=1, help="Steps between checkpoints.")] = None,
) -> None:
    """Train a detector. Under torchrun it trains on all processes together."""
    from detzoo.training.train_command import train_target

    try:
        summary = train_target(
            target,
            data,
            out,
            train_split=train_split,
            val_split=val_split,
            overrides=set_ or (),
            weights=weights,
            seed=seed,
            resume=resume,
            epochs=epochs,
            steps=steps,
            batch=batch,
            accumulate=accumulate,
            device=device,
            workers=workers,
            precision=precision,
            compile=compile_,
            channels_last=channels_last,
            tensorboard=tensorboard,
            checkpoint_steps=checkpoint_steps,
        )
    except KeyboardInterrupt as error:
        typer.echo(f"\n{error}" if str(error) else "\nstopped", err=True)
        raise typer.Exit(130) from None
    typer.echo(summary)
