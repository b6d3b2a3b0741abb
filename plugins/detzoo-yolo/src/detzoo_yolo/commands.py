"""``detzoo darknet``: a recipe from a cfg file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def darknet(
    cfg: Annotated[Path, typer.Argument(help="A darknet cfg of YOLO v1, v2, v3, a tiny version or yolo-fastest.")],
    out: Annotated[Path, typer.Option(help="The recipe to write, a YAML file.")],
    names: Annotated[Path | None, typer.Option(help="Class names, one per line, like coco.names.")] = None,
) -> None:
    """Write the recipe that a darknet cfg describes."""
    import yaml

    from detzoo.errors import RecipeError
    from detzoo.runtime.atomic_files import write_text
    from detzoo_yolo.reader import recipe_of

    if out.exists():  # a recipe may have been edited by hand
        raise RecipeError(f"{out} exists already; choose another --out")
    name = "".join(letter if letter.isalnum() else "_" for letter in cfg.stem.lower()).strip("_") or "darknet"
    recipe = {"api": 1, "detectors": {name: recipe_of(cfg, names=names)}}
    write_text(out, yaml.safe_dump(recipe, sort_keys=False, width=120, allow_unicode=True))
    typer.echo(
        f"written: {out}; try `detzoo weights import WEIGHTS --from darknet --detector {out} --out mine.safetensors`"
    )
