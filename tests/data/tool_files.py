"""What the tests of annotation tools' files have in common: small images, and what was read of them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from detzoo.data import Dataset, open_dataset

WIDTH, HEIGHT = 40, 20


def image(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 80, 90)).save(path)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def opened(spec: Path, split: str | None = None) -> Dataset:
    return open_dataset(spec, split, quiet=True, lines=True)


def objects(data: Dataset) -> list[tuple[str, list[float]]]:
    index = data.annotations()
    return [(data.classes[label], box.round(6).tolist()) for label, box in zip(index.labels, index.boxes, strict=True)]


def codes(data: Dataset) -> list[tuple[str, int | None]]:
    return [(problem.code, problem.line) for problem in data.problems]
