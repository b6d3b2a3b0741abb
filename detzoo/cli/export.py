"""``detzoo export``: write a detector for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def command(  # typer turns parameters into options: their order means nothing
    target: Annotated[str, typer.Argument(help="A name from `detzoo list`, a recipe file or a run.")],
    out: Annotated[Path, typer.Option(help="Output file: FILE.onnx, or FILE.pt2 for torch.")],
    format_: Annotated[
        Literal["onnx", "torch"], typer.Option("--format", help="onnx, or torch (torch.export).")
    ] = "onnx",
    postprocess: Annotated[
        bool, typer.Option("--postprocess", help="Include post-processing: the ONNX graph returns detections.")
    ] = False,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH in pixels of the network input (default: the recipe's).")
    ] = None,
    dynamic_size: Annotated[
        bool,
        typer.Option(
            "--dynamic-size", help="Accept any multiple of the coarsest stride; only ONNX without --postprocess."
        ),
    ] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
) -> None:
    """Export as ONNX or through torch.export. The file carries class names and input settings."""
    from detzoo.detector_loading import load_detector
    from detzoo.export.export_detector import export
    from detzoo.runtime.sizes import parse_size

    wanted = None if size is None else parse_size(size)
    detector = load_detector(target, set_=set_)
    typer.echo(f"exporting {target}; a large network takes minutes", err=True)
    typer.echo(export(detector, out, format=format_, postprocess=postprocess, size=wanted, dynamic_size=dynamic_size))
