"""A dataset of painted rectangles on the disk, which a detector of the tests finds exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SIZE = (48, 64)
COUNT = 4
NAMES = ("red", "green")


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO file of four images, each with a red and a green rectangle."""
    root = tmp_path_factory.mktemp("painted")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(COUNT):
        pixels = np.zeros((*SIZE, 3), np.uint8)
        for label, (x, y, w, h) in enumerate(((2 + number, 3, 20, 12), (30, 20 + number, 25, 18))):
            pixels[y : y + h, x : x + w, label] = 255
            box = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": [x, y, w, h]}
            annotations.append(box | {"area": w * h, "iscrowd": 0})
        Image.fromarray(pixels).save(root / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": SIZE[0], "width": SIZE[1]})
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(NAMES)]
    path = root / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
