"""``detzoo sweep``: train a grid of overrides, and rank the runs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(  # noqa: PLR0917  # typer turns parameters into options: their order means nothing
    target: Annotated[str, typer.Argument(help="A name from `detzoo list`, or a recipe file.")],
    data: Annotated[str, typer.Option(help="data.yaml, a COCO json, a VOC or YOLO folder, or `shapes`.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the sweep; an interrupted one goes on, a larger grid adds runs.")
    ],
    set_: Annotated[list[str], typer.Option("--set", help="key=a,b,c; may be repeated: every combination is a run.")],
    devices: Annotated[
        str | None, typer.Option(help="cuda:0,cuda:1: one run at a time on each; all GPUs without it.")
    ] = None,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster: auto, host:port, or local.")] = None,
    ray_cpus: Annotated[float, typer.Option(min=0, help="Processor cores of each run on the cluster.")] = 1,
    ray_gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs of each; 1 without it, where there are any.")
    ] = None,
    train_split: Annotated[str | None, typer.Option(help="train, train+val, ...")] = None,
    val_split: Annotated[str | None, typer.Option(help="That ranks the runs; val or test without it.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of every run, instead of the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="The same, in optimiser steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images a step; the learning rate follows.")] = None,
    accumulate: Annotated[int | None, typer.Option(min=1, help="Parts into which a step is cut.")] = None,
    weights: Annotated[str, typer.Option(help="backbone, published, none, or a file.")] = "backbone",
    seed: Annotated[int | None, typer.Option(min=0, help="Of every run, instead of the recipe's.")] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that load images, for each run.")] = None,
) -> None:
    """Train what is missing of a grid of overrides, and rank all runs by AP."""
    from detzoo.experiments.sweep import SweepPlan, check_all_done, sweep

    plan = SweepPlan(
        target=target,
        set_=tuple(set_),
        data=data,
        out=out,
        devices=devices,
        ray=ray,
        ray_cpus=ray_cpus,
        ray_gpus=ray_gpus,
        train_split=train_split,
        val_split=val_split,
        weights=weights,
        seed=seed,
        epochs=epochs,
        steps=steps,
        batch=batch,
        accumulate=accumulate,
        precision=precision,
        workers=workers,
    )
    done = sweep(plan, lambda line: print(line, file=sys.stderr, flush=True))
    typer.echo(done.table.terminal(shutil.get_terminal_size().columns))
    typer.echo("\n".join(["", *(f"wrote {path}" for path in done.files)]))
    if done.stopped:
        typer.echo("stopped; to go on, repeat the command", err=True)
        raise typer.Exit(130)
    check_all_done(done)
