"""A data.yaml of YOLO without class names says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from detzoo.data import open_dataset
from detzoo.errors import DataError


@pytest.mark.parametrize("other", ["", "name: [cat]\n"])
def test_without_names(other: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"train: images/train\nval: images/val\n{other}")
    with pytest.raises(DataError, match=r"data\.yaml: `names` is missing: .*names: \[cat, dog\]"):
        open_dataset(tmp_path / "data.yaml")
