"""``detzoo weights``: import weights of other implementations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detzoo.runtime.foreign_files import is_there

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def root() -> None:
    """Import weights of other implementations."""


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="A state dict: .pth (read without unpickling objects), .safetensors, .onnx or .weights (darknet)."
        ),
    ],
    detector: Annotated[str, typer.Option(help="The recipe the weights belong to.")],
    from_: Annotated[str, typer.Option("--from", help="Whose names the layers have: torchvision, yolox, darknet, ...")],
    out: Annotated[Path, typer.Option(help="Output checkpoint: FILE.safetensors.")],
    num_classes: Annotated[int | None, typer.Option(min=1, help="Replaces the recipe's number of classes.")] = None,
) -> None:
    """Convert another implementation's state dict into a detzoo checkpoint; every key is accounted for."""
    from detzoo.builder import build
    from detzoo.errors import WeightsError
    from detzoo.runtime.atomic_files import check_writable
    from detzoo.weights.checkpoint import save_model
    from detzoo.weights.detector import convert_weights

    if out.suffix != ".safetensors":
        raise WeightsError(f"{out}: a checkpoint's name must end in .safetensors; choose another --out")
    if is_there(out):
        raise WeightsError(f"{out} exists already; choose another --out")
    check_writable(out.parent)  # before the slow work
    built = build(detector, num_classes=num_classes, weights=None)
    convert_weights(built, file, source=from_)
    save_model(built, out)
    typer.echo(f"written: {out}; try `detzoo predict {out} IMAGE --out found`")
