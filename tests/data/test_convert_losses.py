"""What a format cannot say is left out of a conversion and counted in a message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from detzoo.cli.data import app
from detzoo.data import list_splits, open_dataset


def source(folder: Path) -> Path:
    """One image with an ordinary, a difficult and a crowd box, each with a mask."""
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    outline = [[1, 2, 9, 2, 9, 10, 1, 10]]
    box = {"image_id": 1, "category_id": 1, "area": 64, "segmentation": outline}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "bbox": [1, 2, 8, 8], **box},
            {"id": 2, "bbox": [2, 2, 8, 8], "ignore": 1, **box},
            {"id": 3, "bbox": [3, 2, 8, 8], "iscrowd": 1, **box},
        ],
    }
    (folder / "train.json").write_text(json.dumps(content))
    return folder / "train.json"


@pytest.mark.parametrize(
    ("target", "flags", "told"),
    [
        ("coco", [(False, False), (True, False), (False, True)], []),
        ("voc", [(False, False), (True, False)], ["1 crowd regions", "3 masks"]),
        ("yolo", [(False, False)], ["1 crowd regions", "1 difficult boxes", "3 masks"]),
    ],
)
def test_crowds_difficult_boxes_and_masks(
    tmp_path: Path, target: str, flags: list[tuple[bool, bool]], told: list[str]
) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["convert", str(source(tmp_path / "in")), "--to", target, "--out", str(out)])
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert [line.startswith(f"left out: train: {text}") for line, text in zip(lines, told, strict=True)] == [
        True
    ] * len(told)
    index = open_dataset(out, list_splits(out)[0]).annotations()
    assert list(zip(index.difficult.tolist(), index.crowd.tolist(), strict=True)) == flags
