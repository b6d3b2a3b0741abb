"""``detzoo demo``: train, evaluate, benchmark and compare two detectors, without any download."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option(help="Output folder; an interrupted demo resumes from it.")] = Path("demo"),
    steps: Annotated[
        int | None, typer.Option(help="Training steps per detector, instead of the recipes' own.", min=1)
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps (default: the fastest available).")] = None,
) -> None:
    """Train two small detectors on generated images in minutes and compare them in one report."""
    from detzoo.comparison.demo import closing_words, demonstrate

    done = demonstrate(out, steps=steps, device=device, say=lambda line: print(line, file=sys.stderr, flush=True))
    typer.echo(done.comparison.table.terminal(shutil.get_terminal_size().columns))
    typer.echo("\n" + closing_words(done))
