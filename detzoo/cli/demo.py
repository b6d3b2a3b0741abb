"""``detzoo demo``: train, evaluate, benchmark and compare two detectors, without any download."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option(help="Folder; an interrupted demo goes on in it.")] = Path("demo"),
    steps: Annotated[int | None, typer.Option(help="Of training each, instead of the recipes'.", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the best there is without it.")] = None,
) -> None:
    """See it work: two small detectors learn generated images in minutes, and are compared in one report."""
    from detzoo.comparison.demo import closing_words, demonstrate

    done = demonstrate(out, steps=steps, device=device, say=lambda line: print(line, file=sys.stderr, flush=True))
    typer.echo(done.comparison.table.terminal(shutil.get_terminal_size().columns))
    typer.echo("\n" + closing_words(done))
