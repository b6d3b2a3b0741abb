"""``detzoo new-plugin``: create a plugin package of your own, ready to install."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="Name of the plugin; the package is called detzoo-NAME.")],
    kind: Annotated[
        str,
        typer.Option(
            help="backbone, neck, head, matcher, loss, postprocess, proposals, detector, or kind: one of your own.",
            show_default=False,
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Output folder (default: detzoo-NAME).")] = None,
) -> None:
    """Create a plugin that installs and passes the conformance kit; then replace its parts with your own."""
    from detzoo.plugins.new_plugin import write_plugin

    folder = out or Path(f"detzoo-{name}")
    written = write_plugin(name, kind, folder)
    for path in written:
        typer.echo(f"written: {path}")
    typer.echo(f"""
next:
  pip install -e '{folder}[dev]'
  pytest {folder}    # the conformance kit
The class in {folder / "src"} is yours to change.""")
