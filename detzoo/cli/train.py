"""``detzoo train``: train a detector with its recipe's training plan on your own data."""

from __future__ import annotations

from typing import Any

import typer

from detzoo.cli.options import with_options
from detzoo.training.options import TrainCommand


@with_options(TrainCommand, arguments=["target"], leave_out=["progress", "checkpoint_seconds"])
def command(**given: Any) -> None:
    """Train a detector. Under torchrun, training is distributed over all processes."""
    from detzoo.training.train_command import train_target

    try:
        summary = train_target(TrainCommand.of(given))
    except KeyboardInterrupt as error:
        typer.echo(f"\n{error}" if str(error) else "\nstopped", err=True)
        raise typer.Exit(130) from None
    typer.echo(summary)
