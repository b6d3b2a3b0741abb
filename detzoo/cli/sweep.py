"""``detzoo sweep``: train a grid of overrides, and rank the runs."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import typer

from detzoo.cli.options import with_options
from detzoo.experiments.sweep_plan import SweepPlan

NOT_OFFERED = ("device", "resume", "progress", "checkpoint_steps", "checkpoint_seconds")


@with_options(SweepPlan, arguments=["target"], leave_out=NOT_OFFERED)
def command(**given: Any) -> None:
    """Train the missing runs of a grid of overrides, and rank all runs by AP."""
    from detzoo.experiments.run_sweep import check_all_done, sweep

    plan = SweepPlan.of(given)
    done = sweep(plan, lambda line: print(line, file=sys.stderr, flush=True))
    typer.echo(done.table.terminal(shutil.get_terminal_size().columns))
    typer.echo("\n".join(["", *(f"wrote {path}" for path in done.files)]))
    if done.stopped:
        typer.echo("stopped; repeat the command to resume", err=True)
        raise typer.Exit(130)
    check_all_done(done)
