"""``detzoo list``: installed and available detectors and components. Imports no plugin and no torch."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Only rows that contain all of these words: `yolo`, `retinanet resnet50`."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="List components of a kind (backbone, head, ...).")] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Every column: profile, all reported results, summary.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List detectors by plugin, with their best reported AP; or the components of a kind."""
    from detzoo.plugins.listing import component_rows, detector_rows, matching, not_installed, render

    rows = detector_rows() if kind is None else component_rows(kind)
    rows = matching(rows, words or [])
    missing = not_installed(words or []) if kind is None else None
    typer.echo(render(rows, missing, as_json=json_, wide=wide))
