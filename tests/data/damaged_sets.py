"""Small datasets with one defect each, for the tests of ``data check``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detzoo.data.checking.check import check

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>12</ymax></bndbox>"


CAT = f"<object>\n<name>cat</name>{BOX}</object>"


def image(path: Path, width: int = 40, height: int = 30, seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def xml(body: str, size: str = "<width>40</width><height>30</height>", head: str = "") -> str:
    return f"{head}<annotation>\n<size>{size}</size>\n{body}\n</annotation>\n"


def voc(folder: Path, body: str = CAT, **options: str) -> Path:
    """One good pair, ``a``, and one, ``b``, with the given body."""
    for seed, name in enumerate("ab"):
        image(folder / f"{name}.png", seed=seed)
    (folder / "a.xml").write_text(xml(CAT))
    (folder / "b.xml").write_text(xml(body, **options))
    return folder


def report(spec: Path, root: Path | None = None) -> list[str]:
    """The problems, with paths relative to the dataset."""
    return [str(problem).replace(f"{root or spec}/", "") for problem in check(spec)]


def boxed(x1: object, y1: object, x2: object, y2: object, name: str = "cat") -> str:
    box = f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
    return f"<object><name>{name}</name>{box}</object>"


def convert_b(folder: Path, mode: str, name: str = "b.png", **options: Any) -> None:
    with Image.open(folder / "b.png") as opened:
        converted = opened.convert(mode)
    converted.save(folder / name, **options)
