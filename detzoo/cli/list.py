"""``detzoo list``: installed and available detectors and components. Imports no plugin and no torch."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Only rows that contain all of these words: `yolo`, `retinanet resnet50`; or a plugin."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="List components of a kind (backbone, head, ...).")] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Every column: profile, all reported results, summary.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List detectors by plugin, with their best reported AP; or the components of a kind."""
    from detzoo.plugins.listing import (
        component_rows,
        detector_rows,
        matching,
        not_installed,
        plugin_lines,
        plugins_called,
        render,
    )

    rows = detector_rows() if kind is None else component_rows(kind)
    rows = matching(rows, words or [])
    missing = not_installed(words or []) if kind is None else None
    called = plugins_called(words or []) if kind is None else []
    if rows or json_ or not called:
        typer.echo(render(rows, missing, as_json=json_, wide=wide))
    for record in called:
        text = "\n".join(plugin_lines(record))
        typer.echo(text if json_ or not rows else f"\n{text}", err=json_)
